"""Sixty employees hired on one machine, six of them at work and the rest asleep: whether they fit,
and whether those who work notice."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.employee import memory, reply
from stacks import cgroup
from state_repo import changes
from state_repo.documents import Sleep
from tests.e2e.house import ENGINEER, House, until
from tests.e2e.work import working_house
from tests.fake_provider import FakeProvider

HIRED, AT_WORK, MINUTES = 60, 6, 2.0
STARTING = 3  # at once: two processors have no use for more
TASKS = ("SAY Good morning",
         'TOOL write {"path": "notes/plan.md", "content": "Sell more tea."}',
         'TOOL browser {"action": "open", "url": "http://localhost:6081/workspace/"}')


def measure(images: dict[str, str]) -> str:
    if cgroup.swap_free() < 8 << 30:
        return "Not measured: this needs 8 GiB of free swap."
    provider = FakeProvider()
    with tempfile.TemporaryDirectory() as folder, working_house(
            Path(folder), images, provider) as house:
        changes.set_platform(house.store, ENGINEER, "Sleep soon", lambda p: replace(
            p, sleep=Sleep(after_minutes=0.2)))
        changes.set_seats(house.store, ENGINEER, "acme", HIRED)
        return _measure(house)


def _measure(house: House) -> str:
    before, began = cgroup.host_memory(), time.monotonic()
    hired: list[str] = []

    def hire(number: int) -> None:
        employee = changes.hire(house.store, ENGINEER, "acme", f"E{number}", "Bench")[0].id
        until(lambda: reply(house, employee, "acme"), f"a reply of {employee}", 300, house)
        hired.append(employee)
        print(f"    {len(hired)} hired, {time.monotonic() - began:.0f} s", flush=True)
    with ThreadPoolExecutor(STARTING) as pool:  # those who answered fall asleep meanwhile
        list(pool.map(hire, range(HIRED)))
    filled = time.monotonic() - began
    workers = hired[:AT_WORK]

    def all_asleep() -> bool:
        return all(house.status.employee(e).asleep_since for e in hired)
    until(all_asleep, "everybody asleep", 600, house)
    resident = [memory(house, e) for e in hired]
    times: list[float] = []
    end = time.monotonic() + MINUTES * 60

    def work(employee: str) -> None:
        number = 0
        while time.monotonic() < end:
            started = time.monotonic()
            if reply(house, employee, "acme", TASKS[number % len(TASKS)]):
                times.append(time.monotonic() - started)
                number += 1
            time.sleep(1.0)
    threads = [threading.Thread(target=work, args=(e,)) for e in workers]
    for employee in workers:
        house.get(house.instance.chat_host(employee), "/", house.token("acme"))  # a visit wakes
    for thread in threads:
        thread.start()
    time.sleep(MINUTES * 45)
    during, working = cgroup.host_memory(), [memory(house, e) for e in workers]
    for thread in threads:
        thread.join()
    asleep = sum(bool(house.status.employee(e).asleep_since) for e in hired)

    def gib(size: float) -> str:
        return f"{size / (1 << 30):.1f} GiB"
    times.sort()
    return (
        f"{HIRED} real employees of one company, {gib(before['MemTotal'])} of memory, "
        f"{gib(before['SwapTotal'])} of swap, all hired and answering "
        f"after {filled / 60:.0f} minutes. Asleep, each keeps {statistics.median(resident)} MiB "
        f"in memory (median; the most: {max(resident)}). Then {AT_WORK} work for {MINUTES:.0f} "
        "minutes (chat, files, their browsers open; the model is a fake, so that its time is not "
        f"counted) while {asleep} sleep: **{len(times)} turns, p50 {statistics.median(times):.1f} "
        f"s, p95 {times[round(0.95 * (len(times) - 1))]:.1f} s**. Who works holds "
        f"{statistics.median(working)} MiB (median). The host has "
        f"{gib(during['MemAvailable'])} available and {gib(during['SwapFree'])} of swap free.")


if __name__ == "__main__":
    print(measure(json.loads(os.environ["IW_TEST_IMAGES"])))
