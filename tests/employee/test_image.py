"""The image itself."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.parts

_VERSION = """mkdir -p /tmp/data/workspace
sed -e 's/exec env -i/& NODE_DEBUG_NATIVE=COMPILE_CACHE/' \
    -e 's/openclaw.mjs gateway/openclaw.mjs --version/' /opt/gateway/openclaw > /tmp/version
exec sh /tmp/version /tmp/data"""


def test_the_compile_cache_is_accepted(images):
    """V8 refuses cached code if one flag differs from when it was compiled, and is slower without a
    word."""
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:mode=1777",
         images["employee"].partition("@")[2], "sh", "-c", _VERSION],
        capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert "OpenClaw 20" in said
    assert "was accepted" in said
    assert "was rejected" not in said
