"""What is known of containers: a pause is no end, a stop is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.boost import Boost
from reconciler.fleet import Fleet
from reconciler.judge import Judgement
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
        self.fleet = Fleet(status, lambda: self.now, lambda *_: None,
                           Boost(lambda name: name, lambda: 1.0))

        def verify(*_: Any) -> None:
            self.asked += 1
        self.fleet._verify = verify  # type: ignore[method-assign]
        self.fleet.expect(PULSE.id, Visitor("acme", "pulse.gw"), blank=False)

    def see(self, state: str, health: str = "healthy") -> None:
        self.fleet.see([ContainerSeen("c1", "x", "acme", PULSE.id, None, "", "img",
                                      state == "running", "10.0.0.2", frozenset(), health,
                                      paused=state == "paused")])

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
    world.see("running")
    assert world.fleet.sighting(PULSE.id).verified is None


def _verified(world):
    return replace(world.fleet.sighting(PULSE.id), verified=True)
