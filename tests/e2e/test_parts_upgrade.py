"""Newer images of the platform's parts: one at a time, with a way back, employees untouched."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from stacks.platform import PARTS
from state_repo import changes
from tests.conftest import docker
from tests.e2e.house import ENGINEER, House, until

pytestmark = [pytest.mark.e2e, pytest.mark.long]
NAMED = ("edge", "dns", "monitoring", "model-proxy")


@pytest.fixture(scope="module")
def newer(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
          ) -> Iterator[dict[str, str]]:
    """The same parts as images of other digests."""
    made = {}
    for name in NAMED:
        folder: Path = tmp_path_factory.mktemp(name)
        (folder / "Dockerfile").write_text(
            f"FROM {images[name].partition('@')[2]}\nLABEL newer={folder.name}\n")
        subprocess.run(["docker", "build", "-q", "-t", f"iw-newer-{name}", str(folder)], check=True,
                       capture_output=True)
        made[name] = f"instantworker/{name}@" + docker(
            "inspect", "-f", "{{.Id}}", f"iw-newer-{name}")[0]
    yield made
    for name in NAMED:
        docker("rmi", f"iw-newer-{name}")


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


class Away:
    """For how long nobody reached the dashboard, and how many parts were away at once."""

    def __init__(self, house: House) -> None:
        self.longest_s, self.most = 0.0, 0
        self._house, self._over = house, threading.Event()
        self._threads = [threading.Thread(target=look, daemon=True)
                         for look in (self._ask, self._count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(0.05):
            try:
                answered = self._house.get(self._house.instance.app_host, "/healthz").ok
            except requests.RequestException:
                answered = False
            if answered:
                self.longest_s = max(self.longest_s, time.monotonic() - seen)
                seen = time.monotonic()

    def _count(self) -> None:
        label = f"label=instantworker.instance={self._house.instance.id}"
        while not self._over.wait(0.05):
            up = docker("ps", "--filter", label, "--filter", "label=instantworker.platform",
                        "--format", "{{.Names}}")
            working = {self._house.instance.platform_container(part) for part in PARTS}
            self.most = max(self.most, len(working - set(up)))

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_newer_parts_take_over_one_by_one(house, newer):
    pulse = house.hire("acme", "Pulse")
    employee = docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}",
                      house.instance.container_name(pulse))
    before, away = runs(house), Away(house)
    set_images(house, **newer)
    until(lambda: is_done(house) and set(runs(house).values()).isdisjoint(before.values()),
          "all parts are newer", 120, house)
    away.end()
    print(f"the dashboard was away for {away.longest_s:.1f} s at most")
    assert away.most == 1, "never two parts at once"
    assert away.longest_s < 10
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
    assert docker("ps", "-aq", "--filter", "name=-before") == []

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


def test_one_that_is_started_and_never_works(house, images, newer, tmp_path):
    """Its process lives, and its health check fails; DNS, which holds its records on disk."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {images['dns'].partition('@')[2]}\nUSER 0\n"
        "RUN printf '#!/bin/sh\\nsleep 600\\n' > /opt/dns/start\n")
    subprocess.run(["docker", "build", "-q", "-t", "iw-ill-dns", str(tmp_path)], check=True,
                   capture_output=True)
    ill = "instantworker/dns@" + docker("inspect", "-f", "{{.Id}}", "iw-ill-dns")[0]
    before = runs(house)["dns"]
    try:
        set_images(house, dns=ill)
        until(lambda: "its health check fails for 90 s" in (
            house.status.stack("platform").reason or ""), "it was given up", 150, house)
        assert runs(house)["dns"] == before
        set_images(house, dns=newer["dns"])
        until(lambda: is_done(house), "all is as wanted", 60, house)
    finally:
        docker("rmi", "-f", "iw-ill-dns")
