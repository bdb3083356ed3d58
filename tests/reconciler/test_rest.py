"""Who does something is never put to sleep."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.rest import Watch, is_busy
from stacks.cgroup import Container, Use

WATCH = Watch(Container("c", 1, Path(), Path(), Path(), Path(), True), cpu_s=10.0, at=100.0,
              idle_since=0)


def use(**fields) -> Use:
    return Use(**{"cpu_s": 10.05, "memory": 1, "pids": 9, "open_ports": frozenset(),
                  "calls_out": 0, "own_work": False} | fields)


def test_nothing_is_idle():
    assert not is_busy(WATCH, use(), 105.0)


@pytest.mark.parametrize("fields", [
    {"open_ports": frozenset({18789})}, {"calls_out": 1}, {"own_work": True}, {"cpu_s": 11.0}])
def test_any_sign_of_work_keeps_it_awake(fields):
    assert is_busy(WATCH, use(**fields), 105.0)
