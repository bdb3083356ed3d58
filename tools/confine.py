"""The web app's walls: what faces strangers runs without the Docker socket, without the platform's
secrets, without a capability, and with a system that it can't write to.

Bubblewrap builds them. The web app writes two things, its database and the state repo's objects;
what others run of the repo (hooks, configuration) it can't change, and no process outside is
visible to it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.machine import ROOT

# Of the data folder: the secrets, and everything that is the reconciler's or a container's alone.
HIDDEN = ("secrets", "pulumi", "config", "data", "backups", "logs", "run/edge")
SHOWN_SECRETS = "secrets/webapp"  # what it needs itself: the payment provider's keys, for one
READ_ONLY = ("instance.json", "run", "state.git/config", "state.git/hooks")


def walls(data: Path) -> list[str]:
    """The command that runs another one inside the walls; empty where they can't be built."""
    if shutil.which("bwrap") is None or subprocess.run(
            ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "true"],
            capture_output=True, check=False).returncode != 0:
        return []
    for folder in (*HIDDEN, SHOWN_SECRETS):  # those made later would be seen
        (data / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
               "--tmpfs", "/tmp", "--tmpfs", "/run",
               "--ro-bind", str(ROOT), str(ROOT),  # the code, should it lie in one of them
               "--bind", str(data), str(data)]
    for path in READ_ONLY:
        if (data / path).exists():
            command += ["--ro-bind", str(data / path), str(data / path)]
    for path in HIDDEN:
        command += ["--tmpfs", str(data / path)]
    command += ["--ro-bind", str(data / SHOWN_SECRETS), str(data / SHOWN_SECRETS)]
    for path in ("/run/postgresql", "/run/systemd/resolve"):  # a local database; names of hosts
        if Path(path).exists():
            command += ["--ro-bind", path, path]
    # The process is the first of its own tree: it gets the signals, and nobody's else.
    return [*command, "--cap-drop", "ALL", "--unshare-pid", "--as-pid-1"]
