"""The web app's walls: what faces strangers runs as a user of its own, without the Docker socket,
without the platform's secrets, without a capability, and with a system that it can't write to.

Bubblewrap builds them. The web app writes two things, its database and the state repo's objects;
what others run of the repo (hooks, configuration) it can't change, and no process outside is
visible to it. Where this process is not root there is no other user to be, and the walls alone
stand.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import stat
import subprocess
from pathlib import Path

from tools.machine import PYTHON, ROOT, VENV

# Of the data folder: the secrets, and everything that is the reconciler's or a container's alone.
HIDDEN = ("secrets", "pulumi", "config", "data", "backups", "disks", "logs", "cache",
          "run/edge")
# What it needs itself: the payment provider's keys, and in ssh/ a key for the state repo's remote.
SHOWN_SECRETS = "secrets/webapp"
DATABASE, STATE_REPO = "database", "state.git"
KNOWN = "config/webapp"  # what is told to the programs inside
READ_ONLY = ("state.git/config", "state.git/hooks")
# Users of the host's that nobody else hands out: above those of systemd's containers
# (https://systemd.io/UIDS-GIDS), below 2^31, a million of them.
FIRST_UID, UIDS = 1_900_000_000, 1_000_000


def walls(data: Path) -> list[str]:
    """The command that runs another one inside the walls; empty where they can't be built."""
    if shutil.which("bwrap") is None or subprocess.run(
            ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "true"],
            capture_output=True, check=False).returncode != 0:
        return []
    for folder in (*HIDDEN, SHOWN_SECRETS, DATABASE):  # those made later would be seen
        (data / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    # The interpreter and the code, should they lie in one of the folders that are masked.
    shown = (PYTHON.resolve().parent.parent, ROOT, data)
    own_user = os.geteuid() == 0 and shutil.which("setpriv") is not None and all(map(
        _is_open, (*shown[:2], VENV / "pyvenv.cfg", ROOT / "webapp" / "__main__.py")))
    masked = ["/tmp", "/run"]
    if own_user:  # folders on the way that no other user passes
        masked += [str(above) for above in sorted({*itertools.chain(*(p.parents for p in shown))})
                   if not above.stat().st_mode & stat.S_IXOTH]
    command = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
               *itertools.chain(*(("--perms", "1777", "--tmpfs", path) for path in masked)),
               "--setenv", "HOME", "/tmp"]
    for path in shown:
        for above in reversed(path.parents):
            command += ["--perms", "0755", "--dir", str(above)]  # unless it is there
        command += ["--ro-bind", str(path), str(path)]
    for name in (DATABASE, STATE_REPO):
        command += ["--bind-try", str(data / name), str(data / name)]
    for name in READ_ONLY:
        command += ["--ro-bind-try", str(data / name), str(data / name)]
    for name in HIDDEN:
        command += ["--tmpfs", str(data / name)]
    command += ["--ro-bind", str(data / SHOWN_SECRETS), str(data / SHOWN_SECRETS),
                "--ro-bind-try", str(data / SHOWN_SECRETS / "ssh"), "/tmp/.ssh"]
    for name in ("/run/postgresql", "/run/systemd/resolve"):  # a local database; names of hosts
        command += ["--ro-bind-try", name, name]
    # The process is the first of its own tree: it gets the signals, and nobody's else.
    command += ["--cap-drop", "ALL", "--unshare-pid", "--as-pid-1"]
    if not own_user:
        return command
    uid = user(data)
    _give(data, uid)
    known = data / KNOWN
    return [*command, "--ro-bind", str(known / "passwd"), "/etc/passwd",
            "--ro-bind", str(known / "gitconfig"), "/run/gitconfig",
            "--setenv", "GIT_CONFIG_SYSTEM", "/run/gitconfig",
            "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID",
            "setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups",
            "--inh-caps=-all", "--no-new-privs", "--"]


def user(data: Path) -> int:
    """The user and group of the web app whose data is in this folder; another one for each."""
    return FIRST_UID + int(hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8], 16) % UIDS


def _is_open(path: Path) -> bool:
    """Whether another user reads it (code that was cloned for one user alone is not), or it is
    not there at all."""
    if not path.exists():
        return True
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    return path.stat().st_mode & wanted == wanted


def _give(data: Path, uid: int) -> None:
    """Lets that user reach what it works with, and nobody else: all of the data folder is closed
    to the machine's other users."""
    for folder in (data, data / "run"):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, uid)
        folder.chmod(0o750)
    for socket in (data / "run").glob("*.sock"):  # those made later get the folder's group
        os.chown(socket, 0, uid)
    for secret in (data / SHOWN_SECRETS, *(data / SHOWN_SECRETS).rglob("*")):
        os.chown(secret, uid, uid)
    # SQLite, where root writes beside, gives the database's owner what it makes.
    _share(data / DATABASE, uid)
    for file in (data / DATABASE).iterdir():
        os.chown(file, uid, uid)
        file.chmod(0o660)
    repo = data / STATE_REPO
    if (repo / "config").exists() and repo.stat().st_gid != uid:
        subprocess.run(["git", "config", "--file", str(repo / "config"), "core.sharedRepository",
                        "group"], check=True)
        for path, _, _ in os.walk(repo, topdown=False):  # the repo itself last: then all is done
            _share(Path(path), uid)
        for file in repo.glob("*.lock"):
            os.chown(file, 0, uid)
            file.chmod(0o660)
    known = data / KNOWN
    known.mkdir(exist_ok=True)
    # Programs ask for a user's name (ssh does, to reach a remote); git trusts no repo of another's.
    (known / "passwd").write_text(f"root:x:0:0::/:/bin/false\n"
                                  f"instantworker:x:{uid}:{uid}::/tmp:/bin/false\n")
    (known / "gitconfig").write_text(f"[safe]\n\tdirectory = {repo}\n")


def _share(folder: Path, gid: int) -> None:
    os.chown(folder, 0, gid)
    folder.chmod(0o2770)
