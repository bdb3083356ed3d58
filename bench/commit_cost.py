"""What one commit costs as the state repo grows: it must stay flat."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from policies.documents import check_customer
from state_repo import changes
from state_repo.documents import Customer, Employee, NetworkPool, Platform, Resources
from state_repo.instance import Instance
from state_repo.parsing import dump
from state_repo.store import Author, Store

BENCH = Author("Bench", "bench@iw.test")
PER_CUSTOMER = 5


def filled(data: Path, employees: int) -> Store:
    """A state repo of so many employees, five a customer, made in one commit."""
    store = Store.open_or_create(Instance(id="0badcafe", data=data), check_customer)
    image = f"instantworker/employee@sha256:{'a' * 64}"
    platform = Platform(images={"employee": image}, network=NetworkPool("10.0.0.0/8", 25),
                        defaults=Resources(0.5, 128, 64))
    changes.set_platform(store, BENCH, "Platform", lambda _: platform)
    files: dict[str, str | None] = {}
    for number in range(max(1, employees // PER_CUSTOMER)):
        name = f"c{number}"
        one = Customer(name, name, 100, f"10.{number // 512}.{number // 2 % 256}."
                       f"{number % 2 * 128}/25")
        files[one.path] = dump(one)
        for seat in range(PER_CUSTOMER):
            person = Employee(f"e{seat}-c{number}", name, "E", "R", image)
            files[replace(person).path] = dump(person)
    store.commit(BENCH, "Fill", lambda _: files, "c0")
    return store


def measure() -> str:
    rows = ["| employees | one hire, commit included (median of 30) | ratio |",
            "|---|---|---|"]
    first = None
    for size in (10, 1000, 10000):
        with tempfile.TemporaryDirectory() as folder:
            store = filled(Path(folder), size)
            changes.hire(store, BENCH, "c0", "Warm", "up")
            times = []
            for _ in range(30):
                began = time.perf_counter()
                changes.hire(store, BENCH, "c0", "Bench", "R")
                times.append(time.perf_counter() - began)
        middle = statistics.median(times)
        first = first or middle
        rows.append(f"| {size:,} | {middle * 1000:.1f} ms | {middle / first:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(measure())
