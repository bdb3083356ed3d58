from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.judge import Sighting, judge
from tests.reconciler.examples import employee

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
UP = Sighting("c1", True, "10.0.0.2", "img", "healthy", NOW, verified=True)


def say(document=None, seen: Sighting | None = UP, **more):
    facts = {"suspended": False, "applied": True, "docker_answers": True, "problem": None,
             "working": False, "now": NOW} | more
    got = judge(document or employee(), seen, **facts)
    return got.sync_status, got.health_status


@pytest.mark.parametrize(("facts", "words"), [
    ({}, ("Synced", "Healthy")),
    ({"applied": False, "working": True}, ("OutOfSync", "Healthy")),
    ({"docker_answers": False}, ("Unknown", "Healthy")),
    ({"problem": "spec.cpus is too big"}, ("OutOfSync", "Healthy")),
    ({"seen": None, "working": True}, ("OutOfSync", "Progressing")),
    ({"seen": None, "problem": "no space left"}, ("OutOfSync", "Missing")),
    ({"seen": replace(UP, running=False)}, ("OutOfSync", "Degraded")),
    ({"seen": replace(UP, verified=None)}, ("Synced", "Progressing")),
    ({"seen": replace(UP, verified="no answer")}, ("Synced", "Progressing")),
    ({"seen": replace(UP, verified="it does not start: too new")}, ("Synced", "Degraded")),
    ({"seen": replace(UP, verified="no answer", since=NOW - timedelta(minutes=5))},
     ("Synced", "Degraded")),
    ({"seen": replace(UP, docker_health="unhealthy", since=NOW - timedelta(minutes=5))},
     ("Synced", "Degraded")),
    # Just woken: Docker calls a paused container unhealthy until its next check.
    ({"seen": replace(UP, docker_health="unhealthy")}, ("Synced", "Healthy")),
    ({"seen": replace(UP, running=False, paused=True)}, ("Synced", "Progressing")),
    ({"seen": replace(UP, running=False, paused=True), "asleep": True}, ("Synced", "Healthy")),
    ({"seen": replace(UP, running=False, paused=True), "problem": "paused by hand"},
     ("OutOfSync", "Degraded")),
    ({"seen": replace(UP, running=False), "suspended": True}, ("Synced", "Suspended")),
])
def test_a_running_employee(facts, words):
    assert say(**facts) == words


def test_paused_and_retired():
    paused = replace(employee(), state="paused")
    assert say(paused, replace(UP, running=False)) == ("Synced", "Suspended")
    assert say(paused, UP, working=True) == ("OutOfSync", "Progressing")
    retired = replace(employee(), state="retired", retired_at="2026-04-30T00:00:00+00:00")
    assert say(retired, None) == ("Synced", "Suspended")


def test_every_waiting_state_has_a_reason_and_a_deadline():
    for seen in (None, replace(UP, running=False), replace(UP, verified=None)):
        got = judge(employee(), seen, suspended=False, applied=False, docker_answers=True,
                    problem=None, working=True, now=NOW)
        assert got.health_status == "Progressing"
        assert got.reason and got.deadline and got.deadline > NOW
