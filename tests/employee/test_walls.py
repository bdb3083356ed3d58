"""The walls around the agent's commands, on the real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

WALLS = ROOT / "images" / "employee"
READABLE = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/opt", sys.prefix,
            sys.base_prefix, str(WALLS))

_TRY = """
import json, os, subprocess, sys
sys.path.insert(0, sys.argv[1])
import walls
workspace, secret, outside, readable = json.loads(sys.argv[2])
if not walls.enter((workspace,), tuple(readable)):
    print(json.dumps(None)); sys.exit()
def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0
found = {
    "read a secret": tried(lambda: open(secret).read()),
    "write a secret": tried(lambda: open(secret, "a")),
    "list its folder": tried(lambda: os.listdir(os.path.dirname(secret))),
    "read it through a link": tried(lambda: open(os.path.join(workspace, "door")).read()),
    "rename it": tried(lambda: os.rename(secret, os.path.join(workspace, "mine"))),
    "link it": tried(lambda: os.link(secret, os.path.join(workspace, "mine"))),
    "read another's environment": tried(lambda: open(f"/proc/{outside}/environ").read()),
    "go through another's root": tried(lambda: open(f"/proc/{outside}/root{secret}").read()),
    "signal another": tried(lambda: os.kill(outside, 0)),
    "write its own": tried(lambda: open(os.path.join(workspace, "note"), "w").write("x")),
    "rename its own": tried(lambda: os.rename(os.path.join(workspace, "note"),
                                              os.path.join(workspace, "folder", "note"))),
    "signal itself": tried(lambda: os.kill(os.getpid(), 0)),
    "its child reads a secret": subprocess.run(["cat", secret], capture_output=True).returncode,
    "its child runs": subprocess.run(["true"]).returncode,
}
print(json.dumps(found))
"""


@pytest.fixture
def found(tmp_path: Path) -> dict[str, int]:
    workspace, state = tmp_path / "workspace", tmp_path / "state"
    (workspace / "folder").mkdir(parents=True)
    state.mkdir()
    secret = state / "openclaw.json"
    secret.write_text("the gateway's password")
    (workspace / "door").symlink_to(secret)
    outside = subprocess.Popen(["sleep", "60"], env={"PASSWORD": "x", "PATH": os.defpath})
    try:
        # As in its container: a process that may measure performance reads any environment.
        powerless = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        done = subprocess.run(
            [*powerless, sys.executable, "-c", _TRY, str(WALLS),
             json.dumps([str(workspace), str(secret), outside.pid, READABLE])],
            capture_output=True, text=True, check=False)
    finally:
        outside.kill()
        outside.wait()
    assert done.returncode == 0, done.stderr
    tried = json.loads(done.stdout)
    if tried is None:
        pytest.skip("this kernel has no Landlock")
    assert secret.read_text() == "the gateway's password"
    return tried


def test_what_the_gateway_lives_by_is_out_of_reach(found):
    allowed = {what for what, error in found.items() if error == 0}
    assert allowed == {"write its own", "rename its own", "signal itself", "its child runs"}
