"""A fake at the boundary of the loop: containers and volumes in memory, parts that refuse when
told to, and an engine that runs a customer's "program" on them. Git and SQLite are real."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from policies.documents import check_customer
from reconciler.converge import blames
from reconciler.decide import PLATFORM, Drift, Wanted, stack_of
from reconciler.engine import ResourceChange, Run
from reconciler.loop import Reconciler
from reconciler.probe import Visitor
from reconciler.world import Look
from stacks.observed import ContainerSeen
from stacks.volumes import Volumes
from state_repo import changes
from state_repo.documents import Platform
from state_repo.instance import PORTS, Instance
from state_repo.status import StatusStore
from state_repo.store import Author, Store

ANN = Author("Ann", "ann@acme.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"


@dataclass
class FakeWorld:
    """`unreachable`: parts with their reason. `fail`: raises for a stack's run when it is in."""

    instance: Instance
    program_digest: str = "p"
    containers: dict[str, ContainerSeen] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    platform_drift: tuple[Drift, ...] = ()
    lost: dict[str, frozenset[str]] = field(default_factory=dict)
    unshared: dict[str, str] = field(default_factory=dict)
    look_raises: Exception | None = None
    asleep: Callable[[], Any] = frozenset
    tell: Callable[[str, str, str], None] = lambda *_: None
    runs: list[tuple[str, bool]] = field(default_factory=list)
    fail: dict[str, Any] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)  # what Docker told of a container
    previews: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)  # by a preview's policies

    def __post_init__(self) -> None:
        self.volumes, self._made = Volumes(self.instance), 0

    # ---- what the loop asks of the world -----------------------------------------------------

    def look(self, platform: Platform | None, wanted: Any, asleep: Any = ()) -> Look:
        at = time.monotonic()
        if self.look_raises:
            raise self.look_raises
        drift: dict[str, tuple[Drift, ...]] = {}
        if platform is not None and self.platform_drift:
            drift[PLATFORM] = self.platform_drift
        for one in wanted:
            stack = stack_of(one.state.id)
            drift[stack] = tuple(
                Drift(stack, "container", e.id, "it is gone" if should else "it is still there")
                for e in one.state.employees.values()
                if (should := runs(one, e)) != (e.id in self.containers)
                and e.id not in self.lost.get(one.state.id, ()))
        return Look(at, tuple(self.containers.values()), {k: v for k, v in drift.items() if v},
                    dict(self.unreachable), self.lost, self.unshared)

    def containers_of(self, customer: str) -> tuple[float, tuple[ContainerSeen, ...]]:
        return time.monotonic(), tuple(
            c for c in self.containers.values() if c.customer == customer)

    def platform_program(self, wanted: Platform) -> Any:
        return lambda: None

    def customer_program(self, wanted: Wanted) -> Any:
        def program() -> None:
            state = wanted.state
            for e in state.employees.values():
                if runs(wanted, e) and e.id not in wanted.lost:
                    if e.id not in self.containers or self.containers[e.id].image != e.image:
                        self._made += 1
                        self.containers[e.id] = ContainerSeen(
                            f"c{self._made}", e.id, state.id, e.id, None, "", e.image, True,
                            f"10.0.0.{self._made}", frozenset(), "healthy")
                else:
                    self.containers.pop(e.id, None)
            for gone in wanted.kept:
                self.containers.pop(gone, None)
        program.wanted = wanted  # type: ignore[attr-defined]
        return program

    def tenant_of(self, wanted: Wanted) -> Any: ...

    def tenant(self, stack: str) -> Any: ...

    def permit(self, wanted: Wanted) -> None: ...

    def visitor(self, customer: str, employee: Any) -> Visitor:
        return Visitor(customer, f"{employee.id}.gw")

    def warm_up(self, *_: Any) -> None: ...

    def guard(self) -> None: ...

    def make_room(self, storage: Any) -> None: ...

    def disks(self) -> dict[str, Any]:
        return {"count": 0, "impossible": "it is a fake"}

    def volumes_root(self) -> Path:
        return self.instance.data

    def watch(self, wake: Any) -> None: ...

    def settle(self, stack: str) -> None: ...

    def done_to(self, name: str) -> str:
        return self.done.get(name, "")

    def close(self) -> None: ...

    # ---- the engine --------------------------------------------------------------------------

    def up(self, name: str, program: Any, *, refresh: bool = False) -> Run:
        self.runs.append((name, refresh))
        wrong = self.fail.get(name)
        if callable(wrong):
            wrong()
        elif isinstance(wrong, Exception):
            raise wrong
        elif wrong:
            blamed = blames(wrong)
            if blamed:  # what fails for one is done for the others
                program()
                for employee in blamed:
                    self.containers.pop(employee, None)
            return Run(False, (), tuple(wrong), (), 0.0, 0.0)
        program()
        return Run(True, (ResourceChange("update", "t", "n"),), (), (), 0.0, 0.0)

    def preview(self, name: str, program: Any, **_: Any) -> Run:
        """Who would be made, removed or, for another size, made anew. Changes nothing."""
        self.previews.append(name)
        wanted = getattr(program, "wanted", None)
        found = []
        for e in wanted.state.employees.values() if wanted else ():
            should, there = runs(wanted, e), e.id in self.containers
            op = ("create" if should and not there else "delete" if there and not should else
                  "replace" if there and e.resources.memory_mb != 3072 else None)
            if op:
                found.append(ResourceChange(
                    op, "docker:index/container:Container", f"employee-{e.id}", ("memory",),
                    (("memory", 3072, e.resources.memory_mb),)))
        return Run(True, tuple(found), (), tuple(self.refused.get(name, ())), 0.0, 0.0)

    def interrupt(self) -> None: ...


def runs(wanted: Wanted, employee: Any) -> bool:
    company = wanted.state.customer
    return employee.state in ("running", "warm") and not (company and company.suspended)


class House:
    """A reconciler of its own; `turn` turns the loop until nothing waits any more."""

    def __init__(self, folder: Path, remote: Path | None = None) -> None:
        self.instance = Instance(id="0badcafe", data=folder, ports={
            name: 2000 + n for n, name in enumerate(PORTS)},
            remote=str(remote) if remote else None)
        self.instance.run_path.mkdir(parents=True, exist_ok=True)
        self.store = Store.open_or_create(self.instance, check_customer)
        if self.store.head() is None:
            changes.set_platform(self.store, ANN, "Platform",
                                 lambda _: Platform(images={"employee": IMAGE}))
        self.status = StatusStore(self.instance.database_url, patience_s=0.2)
        self.status.migrate()
        self.world = FakeWorld(self.instance)
        self.start()

    def start(self) -> None:
        self.r = Reconciler(self.instance, self.store, self.status, self.world,  # type: ignore
                            self.world)  # type: ignore[arg-type]
        self.r.workers.start()

    def restart(self) -> None:
        """Another process on the same files and the same world."""
        self.r.stop(5.0)
        self.status = StatusStore(self.instance.database_url, patience_s=0.2)
        self.start()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.r.cycle()
            until = time.monotonic() + 10
            while self.r.queue.depth() or self.r.queue._running:
                assert time.monotonic() < until, "the queue does not end"
                time.sleep(0.002)

    def settle(self) -> None:
        self.turn(3)

    def customer(self, id: str, seats: int = 40) -> None:
        changes.create_customer(self.store, ANN, id, id.title(), seats)

    def hire(self, customer: str, count: int = 1) -> list[str]:
        return [changes.hire(self.store, ANN, customer, f"E{n}", "Tester")[0].id
                for n in range(count)]

    def edit(self, customer: str, ids: list[str], message: str = "Edit", **fields: Any) -> str:
        """One commit that changes several employees' documents, past the verbs."""
        from state_repo.parsing import dump

        state = self.store.snapshot().customers[customer]
        changed = [replace(state.employees[id], **fields) for id in ids]
        return self.store.commit(ANN, message, lambda _: {e.path: dump(e) for e in changed},
                                 customer)

    def push(self, files: dict[str, str | None], message: str = "By hand") -> str:
        return Store(self.store.path, self.store.remote).commit(ANN, message, lambda _: files)

    def text(self, path: str) -> str:
        """A file of the newest commit."""
        objects = self.store.objects
        sha = objects.find(objects.tree_of(self.store.head() or ""), tuple(path.split("/")))
        assert sha is not None, path
        return objects.read(sha).decode()

    def running(self) -> set[str]:
        return set(self.world.containers)

    def events(self, kind: str) -> list[str]:
        return [e.message for e in self.status.events(limit=500) if e.kind == kind]

    def row(self, employee: str) -> Any:
        return self.status.employee(employee)

    def stack(self, id: str) -> Any:
        return self.status.stack(id)

    def close(self) -> None:
        self.r.stop(5.0)
        self.status.engine.dispose()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.005)
    return found

