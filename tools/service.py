"""The two processes for good: started with the machine, and again when they end.

    make service         systemd units for both; from then on make run and make down use them
    make service-off     takes them out again
    python -m tools.service keep reconciler webapp --data …
                         where there is no systemd: in the foreground, for any other init

A unit keeps one process by `keep`, which starts it as `make run` does (the web app within its
walls, as its own user) and ends when it ends.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from state_repo.instance import Instance
from tools import processes, versions
from tools.machine import PYTHON, ROOT
from tools.steps import StepError, run, step

UNITS = Path("/etc/systemd/system")
_RUNS_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_SOON_S, _LATEST_S = 1.0, 60.0  # before it is started again: twice as long each time
_STEADY_S = 30.0  # who lived so long begins with the shortest again
# What the reconciler does as root: networks, mounts and volumes, others' files, its own children.
_CAPABILITIES = ("CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE "
                 "CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETUID CAP_SETGID "
                 "CAP_SETPCAP CAP_SYS_PTRACE CAP_SYS_RESOURCE CAP_SYS_CHROOT CAP_MKNOD")
_TOLD = ("IW_CYCLE_S", "IW_LOG_LEVEL", "IW_WEB_THREADS", "IW_PULUMI")
_ABOUT = {"reconciler": "reconciler: makes what is what should be",
          "webapp": "web app: the dashboard and its API"}


def name_of(instance: Instance, process: str) -> str:
    return f"instantworker-{instance.id}-{process}.service"


def unit(instance: Instance, process: str, environment: Mapping[str, str] = os.environ) -> str:
    """A process' unit file (systemd.service(5), systemd.exec(5)). What the environment sets of
    `_TOLD` stands in it."""
    told = "".join(f'Environment="{name}={environment[name]}"\n' for name in _TOLD
                   if re.fullmatch(r"[\w./:-]+", environment.get(name, "")))
    after = "docker.service network-online.target" + (
        f" {name_of(instance, 'reconciler')}" if process == "webapp" else "")
    return f"""# Written by `make service` in {ROOT}; `make service-off` removes it.
[Unit]
Description=InstantWorker {_ABOUT[process]}
Documentation=file://{ROOT}/docs/operations.md
After={after}
Wants=docker.service network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart="{PYTHON}" -m tools.service keep {process} --data "{instance.data}"
WorkingDirectory={ROOT}
Environment=PYTHONPATH={ROOT}
{told}Restart=always
RestartSec=2
# Whoever works now ends its turn first.
TimeoutStopSec=60
KillMode=mixed
UMask=0027
CapabilityBoundingSet={_CAPABILITIES}
LockPersonality=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def is_installed(data: Path, process: str) -> bool:
    return (data / "instance.json").exists() and (
        UNITS / name_of(Instance.load(data), process)).exists()


def install(data: Path) -> None:
    """Makes units of what runs.

    Raises:
        StepError: not here, and what to do instead.
    """
    if not _RUNS_SYSTEMD.exists():
        raise StepError("there is no systemd on this machine", f"let your init run, as root and "
                        f"in {ROOT}:\n      {PYTHON} -m tools.service keep reconciler webapp "
                        f"--data {data}\n    It starts both, and again when one ends; SIGTERM "
                        "stops both")
    if os.geteuid() != 0:
        raise StepError("units are root's to write", "sudo make service")
    instance = Instance.load(data)
    for process in processes.NAMES:
        (UNITS / name_of(instance, process)).write_text(unit(instance, process))
    _systemctl("daemon-reload")
    for process in processes.NAMES:
        processes.stop(data, process)  # as it was started by hand
        _systemctl("enable", "--now", name_of(instance, process))


def remove(data: Path) -> None:
    """Stops both, and forgets their units."""
    instance = Instance.load(data)
    for process in reversed(processes.NAMES):
        if is_installed(data, process):
            _systemctl("disable", "--now", name_of(instance, process))
            (UNITS / name_of(instance, process)).unlink()
    _systemctl("daemon-reload")


def start(data: Path, process: str) -> None:
    """As a unit where there is one, else detached; nothing is done when it runs."""
    if processes.pid_of(data, process) is not None:
        return
    if is_installed(data, process):
        _systemctl("start", name_of(Instance.load(data), process))
        until = time.monotonic() + 30
        while processes.pid_of(data, process) is None and time.monotonic() < until:
            time.sleep(0.1)
    else:
        processes.start(data, process)
        versions.started(data, process)


def stop(data: Path, process: str) -> None:
    if is_installed(data, process):
        _systemctl("stop", name_of(Instance.load(data), process))
    processes.stop(data, process)


def keep(data: Path, names: list[str], over: threading.Event) -> int:
    """Keeps processes alive until `over`, then stops them. One alone is not started again: it is
    systemd that does, and is told by the exit code."""
    begun: dict[str, float] = {}
    waits = dict.fromkeys(names, _SOON_S)
    while not over.is_set():
        for name in names:
            if processes.pid_of(data, name) is not None:
                continue
            now = time.monotonic()
            if name in begun and len(names) == 1:
                print(f"{name} ended", file=sys.stderr, flush=True)
                return 1
            if name in begun:
                lived = now - begun[name]
                waits[name] = _SOON_S if lived > _STEADY_S else min(waits[name] * 2, _LATEST_S)
                print(f"{name} ended; it is started again in {waits[name]:.0f} s", file=sys.stderr,
                      flush=True)
                if over.wait(waits[name]):
                    break
            processes.start(data, name)
            versions.started(data, name)
            begun[name] = time.monotonic()
        _reap()
        over.wait(0.5)
    for name in reversed(names):
        processes.stop(data, name, 55.0)
    return 0


def _reap() -> None:
    """Takes the exit of children that ended, else they would stay as zombies."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _systemctl(*arguments: str) -> None:
    if shutil.which("systemctl") is None:
        raise StepError("systemctl is not here", "see `make service`")
    run(["systemctl", *arguments], "journalctl -xe says more")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.service")
    parser.add_argument("verb", choices=["install", "remove", "keep"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    if given.verb == "keep":
        unknown = set(given.names) - set(processes.NAMES)
        if unknown or not given.names:
            parser.error(f"keep what? One or both of {', '.join(processes.NAMES)}")
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        return keep(given.data, given.names, over)
    with step("systemd units" if given.verb == "install" else "take the units out"):
        (install if given.verb == "install" else remove)(given.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
