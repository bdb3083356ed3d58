"""Locks that a dead owner can't leave behind.

Only one reconciler may run an instance. Its lock is the kernel's (`flock`), so that it ends with
its process, however that ended. Pulumi's file backend has locks of its own, files without expiry;
such a file is removed here only when its owner is proved dead.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path

from reconciler import ReconcilerError


class LockedError(ReconcilerError):
    """Another reconciler runs this instance."""


class InstanceLock:
    """Held for the life of the process.

    Raises:
        LockedError: another live process holds it; the message names its pid.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+")  # noqa: SIM115 - kept open: closing it gives the lock up
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise LockedError(f"another reconciler (pid {owner}) runs this instance; stop it "
                              f"first (`make down`), or leave it running ({path})") from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def process_started_at(pid: int) -> float | None:
    """Unix time at which the process started, or None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] == "Z":
        return None  # dead, only not yet reaped
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def break_dead_pulumi_locks(folder: Path) -> list[Path]:
    """Removes the locks in `folder` whose owner is proved dead; returns those removed.

    Proof: the lock names this host, and no process with its pid runs, or the one that does was
    started after the lock was made (the pid was given away again).
    """
    broken: list[Path] = []
    for path in folder.glob("*.json"):
        try:
            owner = json.loads(path.read_text())
            made = datetime.fromisoformat(owner["timestamp"]).timestamp()
            here, pid = owner["hostname"] == socket.gethostname(), int(owner["pid"])
        except (OSError, ValueError, KeyError):
            continue  # being written or removed right now, or not a lock: the engine will tell
        started = process_started_at(pid)
        if here and (started is None or started > made + 2.0):  # 2 s: /proc counts in ticks
            path.unlink(missing_ok=True)
            broken.append(path)
    return broken
