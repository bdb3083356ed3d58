"""A newer image for employees at work: `iw upgrade`, a canary, waves, and the way back, with real
employees, their files and their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from state_repo import changes
from tests.conftest import docker
from tests.e2e.house import House, until
from tests.e2e.work import demo_house, inside
from tests.fake_provider import FakeProvider

pytestmark = [pytest.mark.e2e, pytest.mark.employee, pytest.mark.long]
_REPORT = b"Three Krakens were sold.\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    """One employee of acme with a file and something to remember; the demo model."""
    with demo_house(tmp_path_factory.mktemp("upgrade"), images, provider) as made:
        made.pulse = made.hire("acme", "Pulse")
        files = f"/customers/acme/employees/{made.pulse}/files"
        put = made.upload("acme", f"{files}/content?path=report.md", _REPORT)
        assert put.status_code in (200, 201), put.text
        made.ask(made.pulse, "Remember that our office closes at five")
        yield made


@pytest.fixture(scope="module")
def image_with(images: dict[str, str], layered: Callable[..., str]) -> Callable[..., str]:
    """Builds an employee's image with one more layer: lines of a Dockerfile, run as root."""
    return lambda *lines: layered(images["employee"], "USER root", *lines, "USER 10001:10001")


def image_of(house: House, employee: str) -> str:
    (image,) = docker("inspect", "--format", "{{.Image}}",
                      house.instance.container_name(employee))
    return image


def roll_out(house: House, image: str) -> dict:
    return house.iw("upgrade", "--image", image, check=False)


def test_an_upgrade_keeps_what_an_employee_was_given_and_told(house, image_with):
    newer = image_with("LABEL newer=yes")
    made = roll_out(house, newer)
    assert made["state"] == "done" and made["proven"], made
    assert {m["employee"]: m["step"] for m in made["members"]} == {house.pulse: "moved"}
    assert newer.endswith(image_of(house, house.pulse))
    assert inside(house, house.pulse, "cat /data/workspace/report.md") == _REPORT.decode().strip()
    assert "closes at five" in house.ask(house.pulse, "What do you remember about our office?")
    (canary,) = house.store.snapshot().customers[changes.CANARY].employees.values()
    assert canary.state == "paused" and canary.image == newer
    assert roll_out(house, newer) is None, "everybody has it already"
    assert house.iw("upgrade", "--status")["state"] == "done"


def test_an_image_that_loses_files_is_taken_back_with_the_files(house, image_with):
    before = house.store.platform().images["employee"]
    eats = image_with("RUN sed -i '2i rm -f /data/workspace/report.md' /opt/employee/start")
    made = roll_out(house, eats)
    assert made["state"] == "failed" and made["proven"] and "report.md" in made["reason"], made
    until(lambda: house.status.employee(house.pulse).health_status == "Healthy"
          and before.endswith(image_of(house, house.pulse)), "it is back", 120, house)
    assert inside(house, house.pulse, "cat /data/workspace/report.md") == _REPORT.decode().strip()
    assert "closes at five" in house.ask(house.pulse, "What do you remember about our office?")
    assert house.store.platform().images["employee"] == before


@pytest.mark.parametrize(("line", "why"), [
    ("RUN printf '#!/bin/sh\\nexit 1\\n' > /opt/gateway/openclaw", "ended three times"),
    ("RUN echo 2020.1.1 > /opt/employee/gateway-version", "were written by OpenClaw")])
def test_an_image_that_does_not_start_says_why_and_touches_nobody(house, image_with, line, why):
    before, container = house.store.platform().images["employee"], image_of(house, house.pulse)
    made = roll_out(house, image_with(line))
    assert made["state"] == "failed" and why in made["reason"], made
    assert image_of(house, house.pulse) == container
    assert house.store.platform().images["employee"] == before
    assert house.status.employee(house.pulse).health_status == "Healthy"
