# What changes seldom and weighs much: the system, Node, OpenClaw. `Dockerfile` adds our own files.
ARG BASE
FROM ${BASE}
# Docs, manuals and translations are 200 MB that no employee reads; LLVM and the Vulkan layer are 160 MB
# for drivers of graphics cards, which are not there; apt keeps 300 MB of what it installed.
RUN printf 'path-exclude=/usr/share/%s/*\n' doc man info locale > /etc/dpkg/dpkg.cfg.d/slim \
 && printf 'path-exclude=/usr/lib/chromium/locales/*\npath-include=/usr/lib/chromium/locales/en-US.pak*\n' >> /etc/dpkg/dpkg.cfg.d/slim \
 && apt-get update && apt-get install -y --no-install-recommends \
    chromium tigervnc-standalone-server matchbox-window-manager s6 fonts-dejavu-core fonts-noto-core \
    git ripgrep procps \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/share/icons \
    /usr/lib/*-linux-gnu/dri /usr/lib/*-linux-gnu/libLLVM-* /usr/lib/*-linux-gnu/libz3.so* \
    /usr/lib/chromium/libVkLayer_khronos_validation.so \
 && find / -xdev -perm /6000 -type f -exec chmod ug-s {} + \
 && echo 'employee:x:10001:10001::/data/home:/bin/bash' >> /etc/passwd \
 && echo 'employee:x:10001:' >> /etc/group
COPY node /usr/local/bin/node
COPY openclaw /opt/openclaw
COPY site /opt/site
# Node's compile cache, made by running the gateway once as the user that will run it (the user is
# part of the cache's key, and so are Node's flags). docs/benchmarks.md says what it brings.
ENV NODE_COMPILE_CACHE=/opt/compile-cache
COPY gateway /opt/gateway
RUN mkdir /opt/compile-cache && chown 10001:10001 /opt/compile-cache
USER 10001:10001
RUN python3 /opt/gateway/warm.py && chmod -R a-w /opt/compile-cache
USER 0:0
