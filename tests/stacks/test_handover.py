"""A part of the platform is replaced with a way back: real Docker, small containers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stacks import StackError
from stacks.providers import handover
from stacks.providers.docker_api import client
from stacks.providers.docker_container import Container, spec_of
from stacks.providers.handover import Handover
from state_repo.instance import LABEL_INSTANCE, LABEL_PLATFORM, Instance

pytestmark = pytest.mark.parts
WORKS = "touch /tmp/works; sleep 60"
PATIENCE_S = 2.0


class Part:
    """One part, replaced as the engine does it: the new one is made, then the old one deleted."""

    def __init__(self, instance: Instance, image: str) -> None:
        self.instance, self.image = instance, image
        self.name = instance.platform_container("dns")
        self.given: list[str] = []
        self.kind = self.fresh_kind()

    def fresh_kind(self) -> Container:
        return Container(handover=Handover(self.remember, PATIENCE_S))

    def remember(self, part: str) -> Callable[[], None]:
        return lambda: self.given.append(f"{part} of {self.running()}")

    def inputs(self, version: str, does: str = WORKS) -> dict[str, Any]:
        return {"name": self.name, "image": self.image, "networkMode": "none",
                "command": ["sh", "-c", does], "envs": [f"VERSION={version}"], "init": True,
                "restart": "unless-stopped",
                "healthcheck": {"tests": ["CMD", "test", "-e", "/tmp/works"], "interval": "30s"},
                "labels": [{"label": LABEL_INSTANCE, "value": self.instance.id},
                           {"label": LABEL_PLATFORM, "value": "dns"}]}

    def replace(self, old: str, inputs: dict[str, Any]) -> str:
        made = self.kind.create(inputs)
        self.kind.delete(old, {})
        return made

    def running(self) -> str:
        seen = client().inspect_container(self.name)
        assert seen["State"]["Running"]
        return next(v for v in seen["Config"]["Env"] if v.startswith("VERSION=")).split("=")[1]

    def all(self) -> list[str]:
        found = client().containers(all=True, filters={"label": f"{LABEL_INSTANCE}="
                                                       f"{self.instance.id}"})
        return sorted(name.lstrip("/") for one in found for name in one["Names"])


@pytest.fixture
def part(instance: Instance, images: dict[str, str]) -> Iterator[Part]:
    yield Part(instance, images["light"])


def test_a_part_that_works_takes_over(part):
    first = part.kind.create(part.inputs("1"))
    assert part.given == [], "nothing was there before"
    second = part.replace(first, part.inputs("2"))
    assert second != first and part.running() == "2" and part.all() == [part.name]
    assert part.given == ["dns of 2"], "what the first one held in memory"
    assert part.kind.replaces_first(part.inputs("2"))


@pytest.mark.parametrize("does, why", [
    ("echo no config; exit 3", "it ends again and again; its last lines: no config"),
    pytest.param("sleep 60", "its health check fails for 2 s; it said nothing",
                 marks=pytest.mark.long)], ids=["ends", "ill"])
def test_one_that_does_not_work_gives_way_to_the_one_before(part, does, why):
    first = part.kind.create(part.inputs("1"))
    with pytest.raises(StackError) as refused:
        part.replace(first, part.inputs("2", does))
    assert str(refused.value) == ("the new dns did not begin to work, so the one before runs "
                                  f"again: {why}.")
    assert part.running() == "1" and part.all() == [part.name]
    assert client().inspect_container(part.name)["Id"] == first, "so that nothing has drifted"
    assert part.given[-1] == "dns of 1"


def test_it_is_not_tried_again_at_once(part, monkeypatch):
    first = part.kind.create(part.inputs("1"))
    with pytest.raises(StackError, match="ends again and again"):
        part.replace(first, part.inputs("2", "exit 1"))
    began = client().inspect_container(first)["State"]["StartedAt"]
    with pytest.raises(StackError, match="It is tried again 60 minutes after that"):
        part.replace(first, part.inputs("2", "exit 1"))
    assert client().inspect_container(first)["State"]["StartedAt"] == began, "it was not touched"
    third = part.replace(first, part.inputs("3"))
    assert part.running() == "3", "another one is tried at once"
    client().remove_container(third, force=True)
    part.kind.create(part.inputs("2", "exit 1"))  # nothing runs that it could take away
    part.kind.create(part.inputs("3"))
    monkeypatch.setattr(handover, "AGAIN_AFTER_S", 0.0)
    with pytest.raises(StackError, match=r"ends again and again; it said nothing\.$"):
        part.kind.create(part.inputs("2", "exit 1"))


def test_a_handover_that_was_cut_off_is_finished(part):
    first = part.kind.create(part.inputs("1"))
    client().stop(first, timeout=0)
    client().rename(first, part.name + "-before")
    second = part.fresh_kind().create(part.inputs("2"))
    assert part.running() == "2"
    part.kind.delete(first, {})  # the engine's; it went already
    client().rename(second, part.name + "-before")
    tried = part.kind._make(part.inputs("3", "sleep 60"))  # and was never proved
    third = part.fresh_kind().create(part.inputs("4"))
    assert third != tried and part.running() == "4" and part.all() == [part.name]


def test_what_was_made_already_is_kept(part):
    first = part.kind.create(part.inputs("1"))
    assert part.kind.create(part.inputs("1")) == first and part.running() == "1"


def test_a_stranger_of_that_name_is_left_alone(part):
    foreign = part.inputs("0") | {"labels": []}
    made = part.kind._make(foreign)
    try:
        with pytest.raises(StackError, match="it is not touched"):
            part.kind.create(part.inputs("1"))
        assert part.running() == "0"
    finally:
        client().remove_container(made, force=True)


def test_two_parts_are_never_away_at_once(part):
    """The one lock; whoever waits takes its turn."""
    first = part.kind.create(part.inputs("1"))
    other = part.inputs("1") | {"name": part.name + "2"}
    second = part.kind.create(other)
    seen: list[set[str]] = []

    def away() -> None:
        seen.append({one["Names"][0].lstrip("/") for one in client().containers(
            filters={"label": f"{LABEL_INSTANCE}={part.instance.id}"})})
    slow = "sleep 1; " + WORKS
    threads = [threading.Thread(target=part.replace, args=(first, part.inputs("2", slow))),
               threading.Thread(target=part.replace, args=(
                   second, other | {"envs": ["VERSION=2"], "command": ["sh", "-c", slow]}))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        away()
        time.sleep(0.02)
    assert part.all() == [part.name, part.name + "2"] and min(map(len, seen)) >= 1


def test_specs_differ_by_what_only_a_new_container_can_change(part):
    assert spec_of(part.inputs("1")) != spec_of(part.inputs("2"))
    assert spec_of(part.inputs("1") | {"memory": 7}) == spec_of(part.inputs("1"))
