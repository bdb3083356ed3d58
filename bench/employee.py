"""What a real employee costs: to start, to claim, to let sleep and to wake. One run writes one
section; the model is the demo's, so that no provider's time is in it."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stacks import cgroup
from stacks.unix_http import call
from state_repo import changes
from state_repo.documents import NetworkPool, Platform, Resources, Sleep
from tests.conftest import new_instance, remove_all
from tests.e2e.house import ENGINEER, House, until

ROUNDS = 3


def reply(house: House, employee: str, customer: str) -> bool:
    """One turn through the gateway, as the edge would pass it on."""
    row = house.status.employee(employee)
    if row is None or row.health_status != "Healthy" or not row.address or row.asleep_since:
        return False
    host = house.instance.url(house.instance.chat_host(employee)).partition("://")[2]
    connection = http.client.HTTPConnection(row.address, 18789, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({
            "model": "openclaw", "messages": [{"role": "user", "content": "Hello"}]}), {
                "Content-Type": "application/json", "X-Forwarded-User": customer,
                "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http",
                "X-Forwarded-Host": host, "Origin": f"http://{host}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def timed(action: Callable[[], str], house: House, customer: str) -> tuple[float, str]:
    """Seconds from before `action`, which names an employee, to its first reply."""
    began = time.monotonic()
    employee = action()
    until(lambda: reply(house, employee, customer), "a reply", 180, house)
    return time.monotonic() - began, employee


def memory(house: House, employee: str) -> int:
    found = cgroup.find(house.instance.container_name(employee))
    seen = found and cgroup.use(found, frozenset(), 0)
    return seen.memory >> 20 if seen else 0


def size(reference: str) -> int:
    done = subprocess.run(["docker", "image", "inspect", "-f", "{{.Size}}",
                           reference.partition("@")[2]], capture_output=True, text=True, check=True)
    return int(done.stdout) // 1_000_000


def measure(images: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        instance = new_instance(Path(folder))
        house = House(instance, Platform(
            images=images, network=NetworkPool(instance.network_pool, 25),
            defaults=Resources(1.0, 2560, 512), sleep=Sleep(0)))
        house.start()
        try:
            until(lambda: house.status.stack("platform") and house.is_synced(), "up", 120, house)
            return _measure(house, images)
        finally:
            house.stop()
            remove_all(instance)


def _measure(house: House, images: dict[str, str]) -> str:
    def hire(customer: str) -> Callable[[], str]:
        return lambda: changes.hire(house.store, ENGINEER, customer, "Pulse", "Bench")[0].id

    def warm(customer: str) -> str:
        return until(lambda: next((
            e.id for e in house.status.employees(customer) if e.desired_state == "warm"
            and e.health_status == "Healthy" and not e.asleep_since), None), "a blank", 180, house)

    def sleeping(employee: str) -> int:
        """Lets everybody sleep; the employee's memory once it is down."""
        _sleep(house, 0.05)
        until(lambda: memory(house, employee) <= 45, "asleep", 120, house)
        _sleep(house, 0)
        return memory(house, employee)
    house.customer("cold", ROUNDS)
    cold = []
    for _ in range(ROUNDS):
        seconds, employee = timed(hire("cold"), house, "cold")
        cold.append(seconds)
    time.sleep(25)  # the gateway gives memory back when it has been quiet
    idle = memory(house, employee)
    swap = cgroup.swap_free()
    wakes = []
    asleep = 0
    for _ in range(ROUNDS if swap else 0):
        asleep = sleeping(employee)

        def wake() -> str:
            call(house.instance.socket, "POST", f"/v1/employees/{employee}/wake")
            return employee
        wakes.append(timed(wake, house, "cold")[0])
    for row in house.status.employees("cold"):
        changes.retire(house.store, ENGINEER, "cold", row.id)
    changes.set_platform(house.store, ENGINEER, "Warm", lambda p: replace(p, warm_per_customer=1))
    claims = []
    for number in range(ROUNDS):
        house.customer(f"warm{number}", 1)  # its only seat: no second blank boots beside the claim
        warm(f"warm{number}")
        claims.append(timed(hire(f"warm{number}"), house, f"warm{number}")[0])

    def middle(values: list[float]) -> str:
        return f"{statistics.median(values):.1f} s" if values else "not measured: no swap here"
    return (
        f"Real employees (1 processor, 2,560 MiB each), the demo model, {ROUNDS} rounds, medians. "
        "Each time ends with the first reply.\n\n| | measured | aim |\n|---|---|---|\n"
        f"| image | {size(images['employee'])} MB | |\n"
        f"| hire, cold: from the commit | {middle(cold)} | 12 s |\n"
        f"| hire into an awake blank: from the commit | {middle(claims)} | 3 s |\n"
        f"| awake and idle after a chat | {idle} MiB | 650 |\n"
        f"| asleep | {asleep or '–'} MiB | 40 |\n"
        f"| woken: from the request | {middle(wakes)} | 3 s |")


def _sleep(house: House, minutes: float) -> None:
    changes.set_platform(house.store, ENGINEER, "Sleep", lambda p: replace(
        p, sleep=Sleep(after_minutes=minutes)))


if __name__ == "__main__":
    print(measure(json.loads(os.environ["IW_TEST_IMAGES"])))
