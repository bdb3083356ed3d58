"""What is known of containers: a pause is no end, a stop is."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.boost import Boost
from reconciler.fleet import Fleet
from reconciler.judge import Judgement
from reconciler.outbox import Outbox
from reconciler.probe import Visitor
from stacks.observed import ContainerSeen
from state_repo.status import StatusStore
from tests.reconciler.examples import employee

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PULSE = employee()


class World:
    """A fleet that believes what it is told, and a clock that is set by hand."""

    def __init__(self, status: StatusStore) -> None:
        self.now, self.asked = NOW, 0
        self.fleet = Fleet(Outbox(status), status.employees(), status.stacks(), lambda: self.now,
                           lambda *_: None, Boost(lambda name: name, lambda: 1.0))

        def verify(*_: Any) -> None:
            self.asked += 1
        self.fleet._verify = verify  # type: ignore[method-assign]
        self.fleet.expect(PULSE.id, Visitor("acme", "pulse.gw"), blank=False)

    def see(self, state: str, health: str = "healthy", at: float | None = None) -> None:
        self.fleet.see([ContainerSeen("c1", "x", "acme", PULSE.id, None, "", "img",
                                      state == "running", "10.0.0.2", frozenset(), health,
                                      paused=state == "paused")],
                       time.monotonic() if at is None else at)

    def row(self) -> dict[str, Any]:
        return self.fleet.rows()[PULSE.id]


@pytest.fixture
def world(tmp_path):
    status = StatusStore(f"sqlite:///{tmp_path}/status.db")
    status.migrate()
    made = World(status)
    made.see("running")
    made.fleet.write(PULSE, Judgement("Synced", "Healthy", ""), "r1")
    yield made
    made.fleet.close()


def test_who_wakes_from_a_pause_is_there_at_once(world):
    world.fleet.mark_asleep(PULSE.id, NOW)
    world.see("paused", "unhealthy")
    world.now += timedelta(hours=1)
    world.fleet.mark_asleep(PULSE.id, None)
    assert world.row()["health_status"] == "Healthy" and world.row()["address"] == "10.0.0.2"
    assert world.fleet.sighting(PULSE.id).running, "no turn may take it for stopped"
    world.see("running", "unhealthy")
    seen = world.fleet.sighting(PULSE.id)
    assert seen.running and seen.since == world.now


def test_what_was_proven_holds_through_a_pause(world):
    world.fleet._sightings[PULSE.id] = _verified(world)
    before = world.asked
    world.see("paused", "unhealthy")
    world.see("running", "unhealthy")
    assert world.fleet.sighting(PULSE.id).verified is True and world.asked == before


def test_who_wakes_from_a_stop_is_sent_nobody_before_it_answers(world):
    world.fleet._sightings[PULSE.id] = _verified(world)
    world.fleet.mark_asleep(PULSE.id, NOW)
    world.see("exited")
    world.fleet.mark_asleep(PULSE.id, None)
    assert world.row()["health_status"] == "Progressing" and world.row()["address"] is None
    assert world.fleet.sighting(PULSE.id).running, "no turn may call it ill before the next look"
    world.see("running")
    assert world.fleet.sighting(PULSE.id).verified is None


def _verified(world):
    return replace(world.fleet.sighting(PULSE.id), verified=True)


def test_a_look_that_was_begun_earlier_overwrites_nothing(world):
    early = time.monotonic()
    world.see("running")
    world.fleet._sightings[PULSE.id] = _verified(world)
    world.see("exited", at=early - 1)
    assert world.fleet.sighting(PULSE.id).verified is True
    world.fleet.see([], early - 1)
    assert world.fleet.sighting(PULSE.id) is not None, "a late answer does not make it vanish"
    world.fleet.see([], time.monotonic())
    assert world.fleet.sighting(PULSE.id) is None
    world.see("running", at=early)
    assert world.fleet.sighting(PULSE.id) is None, "nor come back"


def test_a_look_from_just_before_a_wake_puts_nobody_back_to_sleep(world):
    world.fleet.mark_asleep(PULSE.id, NOW)
    world.see("paused")
    begun = time.monotonic()
    world.fleet.mark_asleep(PULSE.id, None)
    world.see("paused", at=begun)
    assert world.fleet.sighting(PULSE.id).running


@pytest.mark.parametrize(("answer", "verified"), [(None, True), ("its chat port is shut", None)])
def test_yesterdays_verdict_holds_until_a_probe_says_otherwise(world, monkeypatch, tmp_path,
                                                               answer, verified):
    """After a restart of the reconciler nobody who worked is refused at the edge."""
    looked = threading.Event()
    monkeypatch.setattr("reconciler.fleet.answers", lambda *_: answer if looked.wait(5) else "late")
    restarted = World(StatusStore(f"sqlite:///{tmp_path}/status.db"))
    restarted.see("running")
    assert restarted.fleet.sighting(PULSE.id).verified is True
    looked.set()
    until = time.monotonic() + 5
    while restarted.fleet.sighting(PULSE.id).verified is not verified:
        assert time.monotonic() < until
        time.sleep(0.01)
    restarted.fleet.close()


def test_another_container_is_not_believed_for_yesterdays(world, tmp_path):
    restarted = World(StatusStore(f"sqlite:///{tmp_path}/status.db"))
    restarted.fleet.see([ContainerSeen("c2", "x", "acme", PULSE.id, None, "", "img", True,
                                       "10.0.0.2", frozenset(), "healthy")], time.monotonic())
    assert restarted.fleet.sighting(PULSE.id).verified is None
    restarted.fleet.close()
