"""An employee that is to stop, or that gets another key, ends first what it is at.

Its gateway knows how: on SIGTERM it takes nothing new, ends the turns that it began, and goes.
What its people write meanwhile waits in their page, which sends it when the gateway is back. Who
does nothing is stopped at once, and so is whoever does not end in time: what it was at is taken up
again by the next gateway.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from stacks import StackError, cgroup
from stacks.observed import run_inside

MOST_S = 120.0
_QUIET_S = 2.0  # between two calls of one turn there is less
_LOOK_S = 0.2
_GATEWAY = "/opt/employee/services/gateway"


def is_at_work(container: cgroup.Container, proxy_port: int) -> bool:
    """Whether it waits for its model, or runs a command."""
    seen = cgroup.use(container, frozenset(), proxy_port)
    return seen is not None and seen.is_at_work


def stop_gateway(name: str, proxy_port: int, told: Callable[[], None] = lambda: None,
                 most_s: float = MOST_S) -> None:
    """Of a container that is at work, stops the gateway as soon as it is done, for good: the
    container is to go. `told()`: called when that has to be waited for."""
    container = cgroup.find(name)
    if container is None or not is_at_work(container, proxy_port):
        return
    told()
    with contextlib.suppress(StackError):  # paused, or gone: there is nothing to wait for
        if run_inside(name, ["s6-svc", "-d", _GATEWAY]) is None:
            _wait(lambda: not _runs_gateway(container), most_s)


def wait_for_quiet(name: str, proxy_port: int, *, is_new: bool = False, most_s: float = MOST_S
                   ) -> None:
    """Of a container that is at work, waits until it is not. `is_new`: what it works by changed
    this moment, so that work which is just beginning can't be seen yet."""
    container, last = cgroup.find(name), time.monotonic()
    if container is None or not (is_new or is_at_work(container, proxy_port)):
        return

    def is_quiet() -> bool:
        nonlocal last
        if is_at_work(container, proxy_port):
            last = time.monotonic()
        return time.monotonic() - last >= _QUIET_S
    _wait(is_quiet, most_s)


def _wait(done: Callable[[], bool], most_s: float) -> None:
    until = time.monotonic() + most_s
    while not done() and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _runs_gateway(container: cgroup.Container) -> bool:
    with contextlib.suppress(OSError):
        for pid in (container.memory / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"openclaw"):
                    return True
    return False
