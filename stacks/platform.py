"""The platform's stack: the host's rules, DNS, the edge and monitoring, all declared and healed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pulumi
import pulumi_docker as docker

from stacks import certificate, dns_zone, model_keys, model_proxy, monitoring_config
from stacks.container import Container, label_args
from stacks.edge_config import bootstrap, certificate_names, edge_config, is_signed_outside
from stacks.low_ports import lowest as low_ports_of
from stacks.resources import Certificate, ConfigFile, EdgeConfig, Firewall, Folder, LowPorts, Zone
from stacks.secret_files import reference
from state_repo.documents import Platform
from state_repo.instance import LABEL_INSTANCE, LABEL_PLATFORM, Instance

PARTS = ("edge", "dns", "model-proxy", "prometheus", "alertmanager", "blackbox", "node-exporter")
_UIDS = {"edge": certificate.UID, "dns": 10003, "monitoring": 10004, "model-proxy": model_keys.UID}
_IMAGES = ("edge", "dns", "monitoring", "model-proxy")
# Where each part is asked whether it works, and what it must say: the edge and the DNS answer
# whoever comes without a name or a key with an error, which will do.
_HEALTH = {"edge": ("edge", "/", "[1-5]??"), "dns": ("dns_api", "/", "[1-5]??"),
           "model-proxy": ("model_proxy", "/healthz", "2??"),
           "prometheus": ("prometheus", "/-/healthy", "2??"),
           "alertmanager": ("alertmanager", "/-/healthy", "2??"),
           "blackbox": ("blackbox", "/-/healthy", "2??"),
           "node-exporter": ("node_exporter", "/", "2??")}
_RELOADS = ("prometheus",)
Files = dict[str, str]


def firewall_inputs(instance: Instance) -> dict[str, Any]:
    return {"bridges": instance.bridge_prefix, "chain": instance.prefix.upper(),
            "proxyPort": instance.ports["model_proxy"]}


def zone_inputs(instance: Instance, platform: Platform) -> dict[str, Any]:
    dns = platform.dns
    return {"zone": instance.domain, "provider": dns.provider,
            "records": dns_zone.records(instance, dns.address, dns.ttl)}


def config_files(instance: Instance, platform: Platform) -> dict[str, Files]:
    """By part, each file below the data folder (path to content).

    Prometheus rereads its files when it is told. What the others read at their start is part of
    what they are: its folder is named by what it holds, so that a change makes a new container,
    and the one before still finds its own files if it has to run again.
    """
    found = {}
    for part, (folder, files) in _files(instance, platform).items():
        if part not in _RELOADS:
            folder += f"/{hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]}"
        found[part] = {f"config/{folder}/{name}": content for name, content in files.items()}
    return found


def _files(instance: Instance, platform: Platform) -> dict[str, tuple[str, Files]]:
    """By part, the name of its folder and its files in there (name to content)."""
    dns = "\n".join([
        "launch=gsqlite3", "gsqlite3-database=/data/pdns.sqlite3", "gsqlite3-dnssec=no",
        "socket-dir=/tmp", "local-address=" + ", ".join(["127.0.0.1", *platform.dns.listen]),
        f"local-port={instance.ports['dns']}",
        "api=yes", f"api-key={reference(dns_zone.API_KEY)}", "webserver=yes",
        "webserver-address=127.0.0.1", f"webserver-port={instance.ports['dns_api']}",
        "webserver-allow-from=127.0.0.1", "security-poll-suffix=", "version-string=anonymous",
        # Without caches a zone answers from its first second on.
        "query-cache-ttl=0", "negquery-cache-ttl=0", "cache-ttl=0",
        "zone-cache-refresh-interval=0", ""])
    return {
        "edge": ("edge", {"bootstrap.json": json.dumps(bootstrap())}),
        "dns": ("dns", {"pdns.conf": dns}),
        "model-proxy": ("model_proxy", {"config.yaml": model_proxy.config(platform)}),
        "prometheus": ("prometheus", {"prometheus.yml": monitoring_config.prometheus(instance),
                                      "rules.yml": monitoring_config.rules()}),
        "alertmanager": ("alertmanager", monitoring_config.alertmanager(platform.alerts)),
        "blackbox": ("blackbox", {"blackbox.yml": monitoring_config.blackbox(instance)}),
    }


def program(instance: Instance, platform: Platform) -> Callable[[], None]:
    """The Pulumi program of the platform."""
    def define() -> None:
        Firewall("firewall", **firewall_inputs(instance))
        files = config_files(instance, platform)
        if missing := [part for part in _IMAGES if part not in platform.images]:
            raise pulumi.RunError(f"platform.yaml names no image for {', '.join(missing)}; "
                                  "`make run` sets them")
        lowest = low_ports_of(instance, platform)
        low_ports = [LowPorts("low-ports", lowest=lowest)] if lowest is not None else []
        edge = _part(instance, platform, "edge", "edge", files["edge"],
                     ["caddy", "run", "--config", "/etc/edge/bootstrap.json"],
                     {"data/edge": "/data", "run/edge": "/run/edge"}, memory=512,
                     envs=["XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/data"], needs=low_ports)
        needs: list[pulumi.Resource] = [edge]
        if is_signed_outside(instance, platform.tls):
            needs.append(Certificate("certificate", depends_on=[edge],
                                     names=certificate_names(instance)))
        EdgeConfig("edge-config", depends_on=needs, config=edge_config(instance, platform.tls))
        if platform.dns.provider == "powerdns":
            dns = _part(instance, platform, "dns", "dns", files["dns"],
                        ["/opt/dns/start"], {"data/dns": "/data"}, memory=256,
                        needs=low_ports)
            zone_needs: list[pulumi.Resource] = [dns]
        else:
            zone_needs = []
        Zone("zone", depends_on=zone_needs, **zone_inputs(instance, platform))
        _part(instance, platform, "model-proxy", "model-proxy", files["model-proxy"],
              ["python3", "/opt/model-proxy/serve.py"], {"data/model_proxy": "/data"},
              read_only={model_keys.FOLDER: "/etc/model_proxy/keys"}, memory=1024,
              # Every bridge's own address of the host; the firewall closes it to all others.
              envs=["IW_HOST=0.0.0.0", f"IW_PORT={instance.ports['model_proxy']}"])
        _monitoring(instance, platform, files)
    return define


def _monitoring(instance: Instance, platform: Platform, files: dict[str, Files]) -> None:
    def listen(port: str) -> str:
        return f"127.0.0.1:{instance.ports[port]}"

    _part(instance, platform, "prometheus", "monitoring", files["prometheus"], [
        "prometheus", "--config.file=/etc/monitoring/prometheus.yml", "--web.enable-lifecycle",
        "--storage.tsdb.path=/data", "--storage.tsdb.retention.time=15d",
        f"--web.listen-address={listen('prometheus')}"], {"data/prometheus": "/data"}, memory=1024)
    _part(instance, platform, "alertmanager", "monitoring", files["alertmanager"], [
        "prometheus-alertmanager", "--config.file=/etc/monitoring/alertmanager.yml",
        "--storage.path=/data", "--cluster.listen-address=",
        f"--web.listen-address={listen('alertmanager')}"], {"data/alertmanager": "/data"})
    _part(instance, platform, "blackbox", "monitoring", files["blackbox"], [
        "prometheus-blackbox-exporter", "--config.file=/etc/monitoring/blackbox.yml",
        f"--web.listen-address={listen('blackbox')}"], {})
    _part(instance, platform, "node-exporter", "monitoring", {}, [
        "prometheus-node-exporter", f"--web.listen-address={listen('node_exporter')}"], {})


def _reload_url(instance: Instance, part: str) -> str:
    return f"http://127.0.0.1:{instance.ports[part]}/-/reload"


def _health(instance: Instance, part: str) -> docker.ContainerHealthcheckArgs:
    """Docker's own check. No image has curl: bash speaks enough HTTP."""
    port, path, wanted = _HEALTH[part]
    host = instance.edge_address if part == "edge" else "127.0.0.1"
    ask = (f"exec 3<>/dev/tcp/{host}/{instance.ports[port]} && "
           f"printf 'GET {path} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n' >&3 && "
           f"read -r -t 4 _ status _ <&3 && [[ $status == {wanted} ]]")
    return docker.ContainerHealthcheckArgs(tests=["CMD", "bash", "-c", ask], interval="30s",
                                           timeout="5s", start_period="60s", retries=3)


def _part(instance: Instance, platform: Platform, part: str, image: str, files: Files,
          command: list[str], folders: dict[str, str], *, memory: int = 256,
          read_only: dict[str, str] | None = None, envs: list[str] | None = None,
          needs: Sequence[pulumi.Resource] = ()) -> Container:
    """One service of the platform: on the host's network (the edge dials containers' addresses),
    everything else as tight as an employee."""
    uid = _UIDS[image]
    inside, closed = f"/etc/{image.replace('-', '_')}", read_only or {}
    made: list[pulumi.Resource] = [
        Folder(f"{part}-{path.replace('/', '-')}", path=path, uid=uid, mode="0750")
        for path in [*folders, *closed]]
    mounts = [docker.ContainerMountArgs(type="bind", source=str(instance.data / path), target=to,
                                        read_only=path in closed)
              for path, to in (folders | closed).items()]
    for path, content in files.items():
        name = path.rpartition("/")[2]
        more: dict[str, Any] = {"reload": _reload_url(instance, part)} if part in _RELOADS else {}
        made.append(ConfigFile(f"{part}-{name}", path=path, content=content, uid=uid, **more))
        mounts.append(docker.ContainerMountArgs(type="bind", source=str(instance.data / path),
                                                target=f"{inside}/{name}", read_only=True))
    return Container(
        part, depends_on=[*made, *needs], name=instance.platform_container(part),
        image=platform.images[image], command=command, user=f"{uid}:{uid}", init=True,
        read_only=True, network_mode="host", mounts=mounts,
        tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"},
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true"], memory=memory, memory_swap=memory, cpus="1",
        pids_limit=256, ulimits=[docker.ContainerUlimitArgs(name="nofile", soft=8192, hard=8192)],
        restart="unless-stopped", envs=envs or [], healthcheck=_health(instance, part),
        labels=label_args({LABEL_INSTANCE: instance.id, LABEL_PLATFORM: part}),
        log_driver="json-file", log_opts={"max-size": "5m", "max-file": "2"})
