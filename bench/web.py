"""The web app with 1,000 customers of five employees: how long pages take, how soon changes are
seen, and what first paints. `python -m bench.web` runs it alone: about a minute, loopback only."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright
from sqlalchemy import update

from bench.seed import Seeded, seed
from state_repo.instance import Instance
from state_repo.status import EmployeeStatus
from tests.conftest import BROWSER, ROOT, free_ports, throwaway_postgres
from tests.pages.conftest import CHROMIUM, LARGEST_PAINT

CUSTOMERS = 1000
VISITS = 100  # of each page, each by another customer
STREAMS = 500
SLOW, SIGN_INS = 200, 50  # bodies that never end; wrong passwords a second
ROUNDS = 6
PAGES = {"the team": "/", "one employee": "/employees/{employee}",
         "API: list of employees": "/api/v1/customers/{customer}/employees",
         "API: status": "/api/v1/customers/{customer}/status",
         "API: events": "/api/v1/customers/{customer}/events"}


def measure() -> str:
    """Markdown for docs/benchmarks.md."""
    os.environ.pop("DATABASE_URL", None)  # it would win over the instances' own
    with tempfile.TemporaryDirectory() as folder, throwaway_postgres() as postgres:
        Path(folder).chmod(0o755)
        lite = Instance(id="0badcafe", data=Path(folder), ports=free_ports())
        lite.save()
        seeded = seed(lite, CUSTOMERS)
        with served(lite) as process:
            pages = [visits(lite, seeded, process.pid)]
            streams = [deliveries(lite, seeded, spread) for spread in (STREAMS, 1)]
            memory = resident_mb(process.pid)
            siege = besieged(lite, seeded)
            painted = paints(lite, seeded)
        grand = replace(lite, database=postgres, ports=free_ports())
        grand.save()
        other = seed(grand, CUSTOMERS, store=seeded.store)
        with served(grand) as process:
            pages.append(visits(grand, other, process.pid))
            streams.append(deliveries(grand, other, STREAMS))
    return _written(pages, streams, memory, painted, siege)


@contextmanager
def served(instance: Instance) -> Iterator[subprocess.Popen[bytes]]:
    """The web app as it runs in production, until it has read everything once."""
    process = subprocess.Popen([sys.executable, "-m", "webapp", "--data", str(instance.data)],
                               cwd=ROOT)
    try:
        until = time.monotonic() + 60
        while True:
            with suppress(OSError):
                ask(instance, "/healthz", {})
                break
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit("the web app did not start")
            time.sleep(0.05)
        used = -1.0
        while processor_s(process.pid) - used > 0.03:  # it reads everybody's documents
            used = processor_s(process.pid)
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def ask(instance: Instance, path: str, headers: dict[str, str],
        connection: http.client.HTTPConnection | None = None) -> tuple[int, float]:
    """The answer's status, and the seconds until its last byte."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", instance.ports["app"],
                                                          timeout=20)
    began = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - began


def visits(instance: Instance, seeded: Seeded, pid: int) -> dict[str, list[float]]:
    """Each page by many customers, one after the other, none of whom came before. Seconds; the
    first is the processor's time for a visit, on average."""
    connection = http.client.HTTPConnection("127.0.0.1", instance.ports["app"], timeout=20)
    customers = iter(random.sample(sorted(seeded.employees), VISITS * (len(PAGES) + 1)))
    took: dict[str, list[float]] = {}
    for name, path in PAGES.items():
        used = processor_s(pid)
        for _ in range(VISITS):
            customer = next(customers)
            status, seconds = ask(instance, path.format(
                customer=customer, employee=seeded.employees[customer][0]),
                {"Cookie": seeded.cookies[customer]}, connection)
            assert status == 200, (name, status)
            took.setdefault(name, []).append(seconds)
        took[name].insert(0, (processor_s(pid) - used) / VISITS)
    used = processor_s(pid)
    for _ in range(VISITS):
        customer = next(customers)
        host = instance.chat_host(seeded.employees[customer][0])
        status, seconds = ask(instance, "/edge/authorize", {
            "X-Forwarded-Host": host, "X-Forwarded-Uri": "/",
            "Authorization": f"Bearer {seeded.tokens[customer]}"}, connection)
        assert status == 200, status
        took.setdefault("the edge's question", []).append(seconds)
    took["the edge's question"].insert(0, (processor_s(pid) - used) / VISITS)
    return took


def deliveries(instance: Instance, seeded: Seeded, spread: int) -> dict[str, list[float]]:
    """Seconds from a change of every watched customer until each of the open streams has told of
    it; `spread`: how many customers the streams are of."""
    return asyncio.run(_deliveries(instance, seeded, spread))


async def _deliveries(instance: Instance, seeded: Seeded, spread: int) -> dict[str, list[float]]:
    customers = sorted(seeded.employees)[:spread]
    arrived: dict[str, list[float]] = {}
    opened: list[float] = []

    async def page(customer: str) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", instance.ports["app"],
                                                       limit=1 << 20)
        writer.write(f"GET /api/v1/customers/{customer}/events/stream HTTP/1.1\r\nHost: x\r\n"
                     f"Cookie: {seeded.cookies[customer]}\r\n\r\n".encode())
        async for line in reader:
            if line.startswith(b"event: team"):
                opened.append(time.perf_counter() - began)
            for reason in arrived:
                if reason.encode() in line:
                    arrived[reason].append(time.perf_counter())
        writer.close()
    pages = [asyncio.create_task(page(customers[number % spread])) for number in range(STREAMS)]
    await _until(lambda: len(opened) == STREAMS, 60)
    took: list[float] = []
    for number in range(ROUNDS):
        await asyncio.sleep(random.uniform(0.6, 1.1))  # at any moment between two looks
        reason = f"round-{number}."
        arrived[reason] = []
        began = await asyncio.to_thread(_change, seeded, customers, reason)
        await _until(lambda reason=reason: len(arrived[reason]) == STREAMS, 20)
        took += [at - began for at in arrived[reason]]
    for task in pages:
        task.cancel()
    await asyncio.gather(*pages, return_exceptions=True)
    return {"opened": opened, "told": took}


def _change(seeded: Seeded, customers: list[str], reason: str) -> float:
    """Changes one employee of each customer, at once; the time at which that was done."""
    first = [seeded.employees[customer][0] for customer in customers]
    with seeded.status.engine.begin() as connection:
        connection.execute(update(EmployeeStatus).where(EmployeeStatus.id.in_(first)).values(
            reason=reason, updated_at=datetime.now(UTC)))
    return time.perf_counter()


async def _until(done: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit("not all streams were told")
        await asyncio.sleep(0.02)


def besieged(instance: Instance, seeded: Seeded) -> dict[str, list[float]]:
    """Seconds of the edge's question with nothing else going on, and with STREAMS streams open,
    SLOW sign-in bodies that never end, and SIGN_INS wrong passwords a second; in turn."""
    return asyncio.run(_besieged(instance, seeded))


async def _besieged(instance: Instance, seeded: Seeded) -> dict[str, list[float]]:
    customers = sorted(seeded.employees)

    async def opened(text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", instance.ports["app"])
        writer.write(text.encode())
        return reader, writer

    async def stream(customer: str) -> None:
        reader, _ = await opened(f"GET /api/v1/customers/{customer}/events/stream HTTP/1.1\r\n"
                                 f"Host: x\r\nCookie: {seeded.cookies[customer]}\r\n\r\n")
        while await reader.read(65536):
            pass

    async def slow() -> None:
        while True:
            reader, writer = await opened(
                "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                "Content-Length: 100000\r\n\r\n")
            with suppress(OSError):
                while not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(1.0)
            writer.close()

    async def sign_in(number: int) -> None:
        body = f'{{"email": "nobody{number}@x.test", "password": "wrong"}}'
        with suppress(OSError):
            reader, writer = await opened(
                "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                # Each from an address of its own, so that each password is hashed.
                f"X-Forwarded-For: 10.0.{number // 250 % 250}.{number % 250}\r\n"
                f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            await asyncio.wait_for(reader.read(), 20)
            writer.close()

    async def guesses() -> None:
        tasks = set()
        for number in range(1_000_000):
            task = asyncio.create_task(sign_in(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(1 / SIGN_INS)
    took: dict[str, list[float]] = {"quiet": [], "besieged": []}
    for kind in took:
        crowd = [] if kind == "quiet" else [
            *(asyncio.create_task(stream(customers[n])) for n in range(STREAMS)),
            *(asyncio.create_task(slow()) for _ in range(SLOW)), asyncio.create_task(guesses())]
        await asyncio.sleep(5.0 if crowd else 0.0)
        for customer in customers[STREAMS:STREAMS + 3 * VISITS]:
            host = instance.chat_host(seeded.employees[customer][0])
            status, seconds = await asyncio.to_thread(ask, instance, "/edge/authorize", {
                "X-Forwarded-Host": host, "X-Forwarded-Uri": "/",
                "Authorization": f"Bearer {seeded.tokens[customer]}"})
            assert status == 200, status
            took[kind].append(seconds)
            await asyncio.sleep(0.01)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    return took


def paints(instance: Instance, seeded: Seeded) -> dict[str, float]:
    """Milliseconds to the largest contentful paint, with nothing kept: medians of five visits."""
    url = f"http://{instance.app_host}:{instance.ports['app']}/"
    found: dict[str, list[float]] = {}
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=CHROMIUM)
        for _ in range(5):
            for name, cookie in (("landing page", ""), ("team", seeded.cookies["c0"])):
                context = browser.new_context()
                if cookie:
                    key, _, value = cookie.partition("=")
                    context.add_cookies([{"name": key, "value": value, "url": url}])
                page = context.new_page()
                page.goto(url)
                if cookie:
                    page.get_by_role("heading", name="E", exact=True).first.wait_for()
                found.setdefault(name, []).append(page.evaluate(LARGEST_PAINT))
                context.close()
        browser.close()
    return {name: statistics.median(times) for name, times in found.items()}


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def at(share: float, values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _ms(values: list[float]) -> str:
    processor, *took = values
    return (f"{statistics.median(took) * 1000:.1f} | {at(0.95, took) * 1000:.1f} | "
            f"{processor * 1000:.1f}")


def _written(pages: list[dict[str, list[float]]], streams: list[dict[str, list[float]]],
             memory: int, painted: dict[str, float], siege: dict[str, list[float]]) -> str:
    lite, grand = pages
    rows = [f"| {name} | {_ms(lite[name])} | {_ms(grand[name])} |" for name in lite]
    kinds = (f"SQLite, of {STREAMS} customers", "SQLite, all of one customer",
             f"PostgreSQL, of {STREAMS} customers")
    told = [f"| {kind} | {statistics.median(s['told']):.2f} s | {at(0.95, s['told']):.2f} s | "
            f"{max(s['told']):.2f} s | {at(0.95, s['opened']):.2f} s |"
            for kind, s in zip(kinds, streams, strict=True)]
    return "\n".join([
        f"{CUSTOMERS:,} customers of five employees; one process, as in production. Milliseconds "
        f"from a request on loopback to its answer's last byte, {VISITS} visits a page, each by "
        "another customer (aim: 50 ms p95); and the processor's time for one, on average.", "",
        "| | SQLite p50 | p95 | processor | PostgreSQL p50 | p95 | processor |",
        "|---|---|---|---|---|---|---|", *rows, "",
        f"{STREAMS} event streams on that process, opened at once; then {ROUNDS} times one "
        "employee of every watched customer changes in one moment. Seconds from the change until "
        "a stream told of it, over all streams (aim: 1 s).", "",
        "| | p50 | p95 | last | opened, p95 |", "|---|---|---|---|---|", *told, "",
        f"The edge's question meanwhile, with {STREAMS} streams open, {SLOW} sign-in bodies that "
        f"never end and {SIGN_INS} wrong passwords a second (aim: 20 ms p95): " + "; ".join(
            f"{kind} p50 {statistics.median(s) * 1000:.1f} ms, p95 {at(0.95, s) * 1000:.1f} ms"
            for kind, s in siege.items()) + ".", "",
        f"The process holds {memory} MB with everything read and all streams served.", "",
        "Largest contentful paint in Chromium on this machine, nothing kept from before, median of "
        "five (aim: 1 s): " + ", ".join(f"{name} {ms / 1000:.2f} s" for name, ms in painted.items())
        + "."])


if __name__ == "__main__":
    print(measure())
