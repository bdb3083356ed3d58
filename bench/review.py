"""Review: what a plan takes by the size of its change, and from a merge to converged."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from state_repo import changes
from state_repo.parsing import dump
from state_repo.review import Changes
from tests.conftest import docker, light_platform, new_instance, remove_all
from tests.e2e.house import ENGINEER, House, until

CUSTOMERS, SOME = 100, 10
ROUNDS = 5


def measure(images: dict[str, str]) -> str:
    """Markdown for docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        instance = new_instance(Path(folder))
        house = House(instance, light_platform(images, instance))
        house.start()
        try:
            until(lambda: house.status.stack("platform") and house.is_synced(), "the platform", 90,
                  house)
            return _measure(house)
        finally:
            house.stop()
            remove_all(instance)


def _measure(house: House) -> str:
    for number in range(CUSTOMERS):
        changes.create_customer(house.store, ENGINEER, f"c{number}", f"C{number}", 5)
        changes.hire(house.store, ENGINEER, f"c{number}", "E", "R")
    until(house.is_synced, "all are at work", 400, house)
    some = _plan(house, SOME)
    everybody = _plan(house, CUSTOMERS)
    merged = [_merge(house, 0, 129 + number) for number in range(ROUNDS)]
    return (f"{CUSTOMERS} customers of one running employee each. The plan (`iw plan --change`, "
            "real previews against reality, four at a time) of a change in one customer took "
            f"{_plan(house, 1):.1f} s, in {SOME} customers **{some:.1f} s**, in all {CUSTOMERS} "
            f"**{everybody:.1f} s**.\n\nFrom a merge (its commit on main) until the container is "
            "what it says and its employee answers: median "
            f"**{statistics.median(merged):.2f} s**, at most {max(merged):.2f} s "
            f"({ROUNDS} times, a change of memory).")


def _propose(house: House, count: int, memory: int) -> str:
    """A branch that gives the employee of each of the first customers another size."""
    store = house.store
    head = store.head() or ""
    states = store.snapshot(head).customers
    files: dict[str, str | None] = {}
    for number in range(count):
        for employee in states[f"c{number}"].employees.values():
            files[employee.path] = dump(replace(employee, resources=replace(
                employee.resources, memory_mb=memory)))
    made = store.draft(store.objects.with_files(store.objects.tree_of(head), files), head,
                       "Another size", ENGINEER)
    name = f"size-{count}-{memory}"
    store._door.run("update-ref", f"refs/heads/{name}", made)
    return name


def _plan(house: House, count: int) -> float:
    name = _propose(house, count, 160)
    began = time.perf_counter()
    plan = house.iw("plan", "--change", name)
    took = time.perf_counter() - began
    assert len(plan["stacks"]) == count and not plan["problems"]
    return took


def _merge(house: House, number: int, memory: int) -> float:
    found = Changes(house.store)
    change = found.find(_propose(house, number + 1, memory))
    (employee,) = house.store.snapshot().customers[f"c{number}"].employees.values()
    name = house.instance.container_name(employee.id)
    began = time.perf_counter()
    found.merge(change, None, [("Change", change.name)])

    def done() -> bool:
        (size,) = docker("inspect", "-f", "{{.HostConfig.Memory}}", name) or ("0",)
        row = house.status.employee(employee.id)
        return int(size) == memory << 20 and row is not None and (
            row.sync_status, row.health_status) == ("Synced", "Healthy")
    until(done, "it is what it says", 60, house)
    return time.perf_counter() - began
