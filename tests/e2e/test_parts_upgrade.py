"""Newer images of the platform's parts: one at a time, with a way back, employees untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from stacks.platform import PARTS
from state_repo import changes
from tests.conftest import docker
from tests.e2e.beside import Away, Beside
from tests.e2e.house import ENGINEER, House, until

pytestmark = [pytest.mark.e2e, pytest.mark.long]
NAMED = ("edge", "dns", "monitoring", "model-proxy")


@pytest.fixture(scope="module")
def newer(images: dict[str, str], layered: Callable[..., str]) -> dict[str, str]:
    """The same parts as images of other digests."""
    return {name: layered(images[name], "LABEL newer=yes") for name in NAMED}


def set_images(house: House, **named: str) -> None:
    changes.set_platform(house.store, ENGINEER, "Newer parts", lambda p: replace(
        p, images={**p.images, **named}))


def runs(house: House) -> dict[str, str]:
    """By part, its container's id and its image's."""
    return {part: " ".join(docker("inspect", "-f", "{{.Id}} {{.Image}}",
                                  house.instance.platform_container(part))) for part in PARTS}


def is_done(house: House) -> bool:
    stack = house.status.stack("platform")
    return stack is not None and house.is_synced() and stack.health_status == "Healthy"


def names(house: House, *options: str) -> set[str]:
    """Of the containers of its parts that `docker ps` shows with these options."""
    return set(docker("ps", *options, "--format", "{{.Names}}", "--filter",
                      "label=instantworker.platform", "--filter",
                      f"label=instantworker.instance={house.instance.id}"))


def is_reached(house: House) -> bool:
    try:
        return house.get(house.instance.app_host, "/healthz").ok
    except requests.RequestException:
        return False


def test_newer_parts_take_over_one_by_one(house, newer):
    pulse = house.hire("acme", "Pulse")
    employee = docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}",
                      house.instance.container_name(pulse))
    before, all_of_them, missing = runs(house), names(house), [0]
    away = Away(lambda: is_reached(house), 0.05)
    counting = Beside(lambda: missing.append(len(all_of_them - names(house))), 0.05)
    set_images(house, **newer)
    until(lambda: is_done(house) and set(runs(house).values()).isdisjoint(before.values()),
          "all parts are newer", 120, house)
    longest_s = away.end()
    counting.end()
    print(f"the dashboard was away for {longest_s:.1f} s at most")
    assert len(all_of_them) == len(PARTS) and max(missing) == 1, "never two parts at once"
    assert longest_s < 10
    assert docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}",
                  house.instance.container_name(pulse)) == employee
    assert house.answers(pulse)
    until(lambda: not house.drift(), "nothing differs", 30)


def test_a_part_that_does_not_work_goes_back_and_the_others_go_on(house, images, newer):
    pulse = next(iter(house.status.employees())).id
    before = runs(house)
    set_images(house, edge=images["light"], monitoring=images["monitoring"])
    failed = until(lambda: "the new edge" in (house.status.stack("platform").reason or "")
                   and house.status.stack("platform").reason, "the failure is told", 120, house)
    assert "the one before runs again" in failed, failed
    after = runs(house)
    assert after["edge"] == before["edge"], "the very same container"
    assert house.answers(pulse), "with all its routes"
    until(lambda: all(runs(house)[part] != before[part] for part in (
        "prometheus", "alertmanager", "blackbox", "node-exporter")), "the others are newer", 90,
        house)
    assert len(names(house, "--all")) == len(PARTS), "none is left aside"

    began = docker("inspect", "-f", "{{.State.StartedAt}}", house.instance.platform_container(
        "edge"))
    docker("rm", "-f", house.instance.platform_container("blackbox"))
    until(lambda: len(docker("ps", "-q", "--filter", "name=" + house.instance.platform_container(
        "blackbox"))) == 1, "another part is repaired meanwhile", 60, house)
    assert docker("inspect", "-f", "{{.State.StartedAt}}", house.instance.platform_container(
        "edge")) == began, "it is not tried over and over"

    set_images(house, edge=newer["edge"])
    until(lambda: is_done(house), "with the image of before all is as wanted", 60, house)
    assert runs(house)["edge"] == before["edge"]


def test_one_that_is_started_and_never_works(house, images, newer, layered):
    """Its process lives, and its health check fails; DNS, which holds its records on disk."""
    ill = layered(images["dns"], "USER 0",
                  "RUN printf '#!/bin/sh\\nsleep 600\\n' > /opt/dns/start")
    before = runs(house)["dns"]
    set_images(house, dns=ill)
    until(lambda: "its health check fails for 90 s" in (
        house.status.stack("platform").reason or ""), "it was given up", 150, house)
    assert runs(house)["dns"] == before
    set_images(house, dns=newer["dns"])
    until(lambda: is_done(house), "all is as wanted", 60, house)
