"""Who is at work ends it before it goes; who is not is not waited for; nobody waits for ever."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacks import StackError, finishing
from stacks.cgroup import Container, Use


@pytest.fixture
def seen(monkeypatch):
    """What the kernel shows: `work`, one look each, the last one from then on; and what was run."""
    # `alive`: looks at which the gateway still runs.
    made = SimpleNamespace(work=[True], alive=3, ran=[])
    somewhere = Container("c1", 1, *[Path("/nowhere")] * 4, True)
    monkeypatch.setattr(finishing.cgroup, "find", lambda _: somewhere)

    def use(*_):
        at_work = made.work.pop(0) if len(made.work) > 1 else made.work[0]
        return Use(0.0, 0, 1, frozenset(), int(at_work), False)

    def runs(_):
        made.alive -= 1
        return made.alive >= 0
    monkeypatch.setattr(finishing.cgroup, "use", use)
    monkeypatch.setattr(finishing, "_runs_gateway", runs)
    monkeypatch.setattr(finishing, "run_inside", lambda _, command: made.ran.append(command))
    monkeypatch.setattr(finishing, "_LOOK_S", 0.01)
    monkeypatch.setattr(finishing, "_QUIET_S", 0.05)
    return made


def test_who_does_nothing_is_not_waited_for(seen):
    seen.work = [False]
    told = []
    finishing.stop_gateway("x", 1, lambda: told.append(1))
    finishing.wait_for_quiet("x", 1)
    assert not told and not seen.ran


def test_who_is_at_work_is_told_to_end_it_and_waited_for(seen):
    told = []
    finishing.stop_gateway("x", 1, lambda: told.append(1))
    assert told == [1] and seen.alive < 0
    assert seen.ran == [["s6-svc", "-d", "/opt/employee/services/gateway"]]


def test_there_is_a_deadline(seen):
    seen.alive = 10**9
    began = time.monotonic()
    finishing.stop_gateway("x", 1, most_s=0.1)
    finishing.wait_for_quiet("x", 1, most_s=0.1)
    assert time.monotonic() - began >= 0.2


def test_a_pause_between_two_calls_is_no_end(seen):
    seen.work = [True, False, False, True, True, False]
    finishing.wait_for_quiet("x", 1)
    assert seen.work == [False], "every look was taken"


def test_what_just_begins_is_given_time_to_be_seen(seen):
    seen.work = [False, True, True, False]
    finishing.wait_for_quiet("x", 1, is_new=True)
    assert seen.work == [False]


def test_what_is_gone_or_paused_is_not_waited_for(seen, monkeypatch):
    def refuse(*_):
        raise StackError("container is paused")
    seen.alive = 10**9
    monkeypatch.setattr(finishing, "run_inside", refuse)
    finishing.stop_gateway("x", 1)
    monkeypatch.setattr(finishing, "run_inside", lambda *_: "no such program")
    finishing.stop_gateway("x", 1)
    monkeypatch.setattr(finishing.cgroup, "find", lambda _: None)
    finishing.stop_gateway("x", 1)
    finishing.wait_for_quiet("x", 1)
