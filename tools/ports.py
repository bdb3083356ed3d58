"""Ports for an instance: free now, and not such as the kernel gives away by itself later.

A port that is found by binding to 0 lies in the kernel's own range for outgoing connections, any of
which may take it before its part starts, or while the part restarts, for ever after. So ports are
taken from below that range.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

_LOWEST, _USUAL_RANGE = 10_240, "32768 60999"
_TRIES = 2_000


def free_ports(names: Iterable[str], wanted: dict[str, int] | None = None,
               share: tuple[int, int] = (0, 1)) -> dict[str, int]:
    """A port for each name, on loopback, all different. `wanted`: preferred ones; 0: any. `share`:
    (which, of how many), of all ports: who agrees on shares never meets.

    Raises:
        OSError: none is free.
    """
    ports: dict[str, int] = {}
    held: list[socket.socket] = []  # until all are found, so that none is given twice
    try:
        for name in names:
            ports[name] = _bind(held, (wanted or {}).get(name, 0), *share)
        return ports
    finally:
        for probe in held:
            probe.close()


def _bind(held: list[socket.socket], wanted: int, which: int, of: int) -> int:
    choose, ours = random.SystemRandom().choice, range(_LOWEST + which, _highest(), of)
    for number in chain([wanted] if wanted else [], (choose(ours) for _ in range(_TRIES))):
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            probe.close()
            continue
        held.append(probe)
        return number
    raise OSError(f"no port is free between {_LOWEST} and {_highest()}")


def _highest() -> int:
    """The first port that the kernel gives to outgoing connections."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        text = _USUAL_RANGE
    lowest = int(text.split()[0])
    return lowest if lowest > _LOWEST + 2_000 else 32_768
