"""The two processes: started detached, ended by a pid that is proved to be theirs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tools import confine
from tools.machine import PYTHON, ROOT
from tools.steps import StepError

NAMES = ("reconciler", "webapp")
CONFINED = frozenset({"webapp"})


def started_at(pid: int) -> str | None:
    """The kernel's start time of a live process, in clock ticks since boot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def pid_of(data: Path, name: str) -> int | None:
    """The pid recorded at start, when that very process still lives."""
    try:
        pid, began = (data / "run" / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if started_at(int(pid)) == began else None


def start(data: Path, name: str, env: dict[str, str] | None = None) -> int:
    """Starts `python -m <name>`; returns its pid (of the one that runs already, if any)."""
    running = pid_of(data, name)
    if running is not None:
        return running
    for folder in ("run", "logs"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    command = [str(PYTHON), "-m", name, "--data", str(data)]
    walls = confine.walls(data) if name in CONFINED else []
    with (data / "logs" / f"{name}.log").open("ab") as log:
        told, tells = os.pipe()
        try:
            process = subprocess.Popen(
                [*walls[:1], *(["--info-fd", str(tells)] if walls else []), *walls[1:],
                 *command], cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | (env or {}), pass_fds=[tells] if walls else [])
        finally:
            os.close(tells)
        with os.fdopen(told) as info:
            said = info.read()
        if walls and not said:
            raise StepError(f"{name} could not be started within its walls:\n"
                            + "\n".join(_last_lines(data, name)), "`iw doctor` looks at the rest")
        pid = json.loads(said)["child-pid"] if walls else process.pid
    (data / "run" / f"{name}.pid").write_text(f"{pid} {started_at(pid)}\n")
    return pid


def stop(data: Path, name: str, patience_s: float = 30.0) -> bool:
    """Asks it to stop, then ends it. Returns whether it ran."""
    pid = pid_of(data, name)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + patience_s
    while pid_of(data, name) is not None and time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    if pid_of(data, name) is not None:
        os.kill(pid, signal.SIGKILL)
    (data / "run" / f"{name}.pid").unlink(missing_ok=True)
    return True


def check_alive(data: Path, name: str) -> None:
    if pid_of(data, name) is None:
        raise StepError(f"{name} ended:\n" + "\n".join(_last_lines(data, name)),
                        f"see {data / 'logs' / f'{name}.log'}")


def _last_lines(data: Path, name: str) -> list[str]:
    log = data / "logs" / f"{name}.log"
    return log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
