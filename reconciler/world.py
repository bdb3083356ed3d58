"""The world as the loop sees it: the programs that change it, and the looks that show it.

The one module of this room that knows how `stacks` is cut, so that the loop speaks of customers
and drift alone.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import stacks
from policies.pack import tenant_of
from policies.resources import Tenant
from reconciler.decide import PLATFORM, Drift, Wanted, customer_of, stack_of
from reconciler.probe import Visitor, warm_up
from stacks import (
    StackError,
    customer,
    fingerprint,
    firewall,
    observed,
    platform,
    platform_observed,
    web_page,
)
from stacks.employee_files import volume_folder
from stacks.events import watch_docker
from stacks.fingerprint import Difference
from stacks.identity import visitor_name
from stacks.observed import ContainerSeen
from stacks.providers.docker_api import client, speaking
from stacks.serve import serve
from stacks.volumes import Volumes, restore
from state_repo.documents import Employee, Platform, Storage
from state_repo.instance import Instance

log = logging.getLogger(__name__)

Source = Literal["backup", "nothing", "disk"]
PARTS = {"docker": "Docker", "dns": "DNS", "edge": "the edge", "firewall": "the firewall",
         "monitoring": "Prometheus", "model-proxy": "the model proxy",
         "database": "the database"}
_PART_OF = dict.fromkeys(("prometheus", "alertmanager", "blackbox", "node-exporter"), "monitoring")
_FORGET = ["python3", "/opt/employee/forget.py", "agent:main:openai:%"]
_MONITORING_EVERY_S = 10.0
_MOST_DONE = 1_000  # containers whose last event is kept


@dataclass(frozen=True, slots=True)
class Look:
    """One look at reality, begun `at` (monotonic seconds). `containers` (employees only) is None
    when Docker did not answer; `drift` is by stack; `unreachable` says why a part could not be
    checked: it is silent, or it refuses. `lost`: by customer, employees whose volume is gone;
    `unshared`: customers whose knowledge is gone, each with what to do."""

    at: float = 0.0
    containers: tuple[ContainerSeen, ...] | None = None
    drift: Mapping[str, tuple[Drift, ...]] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unshared: Mapping[str, str] = field(default_factory=dict)


class World:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._guard = threading.Lock()
        self._tenants: dict[str, Tenant] = {}  # by stack: what its resources may name
        self._expired: set[str] = set()
        self._touched: dict[str, set[str]] = {}  # by customer: containers changed by hand
        self._waived: set[str] = set()  # of them, those that differ as they may
        self._platforms: dict[str, Platform] = {}  # by customer: what its last run was let by
        # By container or network: what Docker told last, when, and whose it is.
        self._done: dict[str, tuple[str, float, str | None]] = {}
        self._monitoring: tuple[float, list[Difference]] = (-1e9, [])
        self.volumes = Volumes(instance)
        self._root: Path | None = None
        # Who sleeps is left asleep by whatever else is done to it.
        self.asleep: Callable[[], Collection[str]] = frozenset
        self.tell: Callable[[str, str, str], None] = (
            lambda *what: log.warning("%s: %s: %s", *what))
        self._server = serve(instance, self.volumes, self._may_remove_volume,
                             lambda: self.asleep(), lambda *what: self.tell(*what),
                             self._may_differ)
        self.providers = self._server.environment
        self.program_digest = _digest_of_programs()

    def close(self) -> None:
        self._server.stop()

    # ---- what is to be made ------------------------------------------------------------------

    def platform_program(self, wanted: Platform) -> Callable[[], None]:
        return platform.program(self._instance, wanted)

    def customer_program(self, wanted: Wanted) -> Callable[[], None]:
        """The customer's program. To be run, its run must be let (`permit`); to be planned, not."""
        return customer.program(self._instance, wanted.platform, wanted.state, wanted.kept,
                                wanted.expired, wanted.lost)

    def permit(self, wanted: Wanted) -> None:
        """Records what the customer's next run may touch."""
        tenant = self.tenant_of(wanted)
        self.volumes.disks.storage = wanted.platform.storage
        self._platforms[wanted.state.id] = wanted.platform
        with self._guard:
            self._tenants[f"customer-{wanted.state.id}"] = tenant
            self._expired |= {self._instance.employee_volume(e) for e in wanted.expired}
            self._leave_alone(wanted.state.id)

    def tenant_of(self, wanted: Wanted) -> Tenant:
        """What the customer's resources may name, as it is wanted."""
        state = wanted.state
        return tenant_of(self._instance, f"customer-{state.id}",
                         frozenset(state.employees) | wanted.kept,
                         state.customer.subnet if state.customer else "")

    def tenant(self, stack: str) -> Tenant:
        """For the policy pack: what the resources of a stack that is run may name."""
        with self._guard:
            return self._tenants.get(stack) or tenant_of(self._instance, stack, ())

    def restore(self, customer_id: str, employee: str | None, source: Source) -> str:
        """Ends the hold on a volume that is gone (`employee` None: the company's knowledge): it
        begins with its last backup, with nothing, or with its disk, if that is still there.
        A disk that is not taken is set aside beside the backups. Returns what was done.

        Raises:
            StackError: it is not gone, there is no backup, or it can't be read.
        """
        name = self._instance.volume(customer_id, employee)
        with speaking():
            present = {v["Name"] for v in client().volumes()["Volumes"] or []}
        if name not in self.volumes.missing(present):
            raise StackError(f"the volume {name} is not gone; nothing was done")
        disks = self.volumes.disks
        if source == "nothing":
            kept = disks.set_aside(name, self._instance.backups_path)
            self.volumes.forget(name)
            return f"{name} begins empty" + (f"; its old disk is {kept}" if kept else "")
        if source == "disk":
            if not disks.has(name):
                raise StackError(f"there is no disk of {name} in {disks.folder}; take its backup "
                                 "(--from-backup), or begin with nothing (--empty)")
            self._make_volume(name, customer_id, employee)
            return f"{name} is again what it was"
        backup = self.volumes.backup(name)
        if backup is None:
            raise StackError(f"there is no backup of {name} in {self._instance.backups_path}; put "
                             f"one there as {name}.tar.gz, or begin with nothing (--empty)")
        kept = self.remake(customer_id, employee, lambda folder: restore(backup, folder))
        return f"{name} is again what it was in {backup.name}" + (
            f"; its old disk is {kept}" if kept else "")

    def remake(self, customer_id: str, employee: str | None, fill: Callable[[Path], None]
               ) -> Path | None:
        """Makes a volume that is gone, and has `fill` put its files into it. Where its old disk
        was set aside, if there was one.

        Raises:
            StackError: it could not be made, or filled; then there is none.
        """
        name = self._instance.volume(customer_id, employee)
        kept = self.volumes.disks.set_aside(name, self._instance.backups_path)
        self._make_volume(name, customer_id, employee)
        try:
            fill(volume_folder(name))
        except StackError:
            with speaking():
                client().remove_volume(name)
            self.volumes.disks.remove(name)
            raise
        return kept

    def _make_volume(self, name: str, customer_id: str, employee: str | None) -> None:
        self.volumes.make(name, customer.labels(self._instance, customer_id, employee))

    def backup_of_knowledge(self, customer_id: str) -> datetime | None:
        """When the backup was made that still holds a company's knowledge as it was; None when
        there is none."""
        backup = self.volumes.backup(self._instance.knowledge_volume(customer_id))
        return datetime.fromtimestamp(backup.stat().st_mtime, UTC) if backup else None

    def disks(self) -> dict[str, Any]:
        """How many employees have a disk of their own, and why not, if this host has none."""
        return {"count": self.volumes.disks.count(),
                "impossible": self.volumes.disks.impossible()}

    def make_room(self, storage: Storage) -> None:
        """What is there gets the room that it may have now."""
        self.volumes.disks.grow_all(storage)

    def volumes_root(self) -> Path:
        """The folder of the disk that the volumes lie on. Raises StackError."""
        if not self.volumes.disks.impossible():
            return self._instance.data
        if self._root is None:
            with speaking():
                self._root = Path(client().info()["DockerRootDir"])
        return self._root

    def guard(self) -> None:
        """Raises StackError unless the rules that keep employees apart are in force; puts them
        in force where it can."""
        firewall.ensure(platform.firewall_inputs(self._instance))

    def fetch_page(self, customer_id: str, image: str, address: str) -> web_page.Page:
        """A page of the web, as an employee of this customer would get it; see `web_page`."""
        return web_page.fetch(self._instance, customer_id, image, address, self.guard)

    def _may_remove_volume(self, volume: str) -> bool:
        with self._guard:
            return volume in self._expired

    # ---- what there is -----------------------------------------------------------------------

    def look(self, wanted_platform: Platform | None, wanted: Iterable[Wanted],
             asleep: Collection[str] = ()) -> Look:
        """One look at everything; `wanted_platform` is None before its first run. Never raises:
        a part that is silent or refuses is told as unreachable, and hides no other."""
        at, found = time.monotonic(), list[tuple[str, Difference]]()
        unreachable: dict[str, str] = {}
        containers: tuple[ContainerSeen, ...] | None = None
        lost: dict[str, frozenset[str]] = {}
        unshared: dict[str, str] = {}

        def ask(part: str, question: Callable[[], object]) -> None:
            try:
                question()
            except StackError as error:
                unreachable.setdefault(part, str(error))
            except Exception as error:  # what nobody foresaw stops this part alone
                log.exception("%s could not be looked at", part)
                unreachable.setdefault(part, f"{type(error).__name__}: {error}")

        def look_at_docker() -> None:
            nonlocal containers
            broken = self.volumes.disks.mount_all()  # after a reboot they are not
            reality = observed.observe_docker(self._instance.id)
            present = reality.volumes - broken.keys()
            missing = self.volumes.missing(present)
            for one in wanted:
                ask(stack_of(one.state.id), partial(look_at_customer, one, reality, missing))
            if wanted_platform is not None:
                found.extend((PLATFORM, d) for d in platform_observed.container_differences(
                    self._instance, wanted_platform, reality))
            for seen in reality.containers.values():
                if seen.part and seen.running and seen.health == "unhealthy":
                    unreachable.setdefault(_PART_OF.get(seen.part, seen.part), (
                        f"Docker finds {seen.name} unhealthy; see docker logs {seen.name}"))
            self.volumes.note(present)
            containers = tuple(c for c in reality.containers.values() if c.employee)

        def look_at_customer(one: Wanted, reality: observed.DockerReality,
                             missing: frozenset[str]) -> None:
            stack, name = stack_of(one.state.id), one.state.id
            gone = frozenset(e for e in (one.state.employees.keys() | one.kept) - one.expired
                             if self._instance.employee_volume(e) in missing)
            if gone:
                lost[name] = gone
            if (shared := self._instance.knowledge_volume(name)) in missing:
                unshared[name] = self.volumes.reason(shared, f"the shared knowledge of {name}",
                                                     f"--knowledge {name}")
            found.extend((stack, d) for d in fingerprint.customer_differences(
                self._instance, one.state, reality, one.kept, one.expired, asleep,
                gone | one.lost))
            found.extend((stack, d) for d in self._limit_differences(one, reality))

        def look_at_part(differences: Callable[[], list[Difference]]) -> None:
            found.extend((PLATFORM, d) for d in differences())

        ask("docker", look_at_docker)
        if wanted_platform is not None:
            for part, differences in self._parts(wanted_platform).items():
                ask(part, partial(look_at_part, differences))
        drift: dict[str, list[Drift]] = {}
        for stack, (kind, name, problem) in found:
            drift.setdefault(stack, []).append(Drift(stack, kind, name, problem))
        return Look(at, containers, {s: tuple(items) for s, items in drift.items()}, unreachable,
                    lost, unshared)

    def _limit_differences(self, one: Wanted, reality: observed.DockerReality
                           ) -> Iterator[Difference]:
        """Of the containers that Docker said were changed; what differs as it may is looked at
        again until that time is over."""
        customer = one.state.id
        with self._guard:
            touched = self._touched.get(customer, set()) & reality.containers.keys()
        for name in touched:
            document = one.state.employees.get(reality.containers[name].employee or "")
            if document is None:
                continue
            real = observed.limits(name)
            ignored = one.platform.ignored_fields(customer, document.id, datetime.now(UTC))
            yield from fingerprint.limit_differences(document, name, real, ignored)
            with self._guard:
                if any(fingerprint.limit_differences(document, name, real)):
                    self._waived.add(name)
                else:
                    self._touched.get(customer, set()).discard(name)
                    self._waived.discard(name)

    def _leave_alone(self, customer_id: str) -> None:
        """What Docker told so far of its containers is no drift, but for what may differ for a
        time. With the lock."""
        self._touched[customer_id] = self._touched.get(customer_id, set()) & self._waived

    def _may_differ(self, customer_id: str, employee: str) -> frozenset[str]:
        applied = self._platforms.get(customer_id)
        return frozenset() if applied is None else applied.ignored_fields(
            customer_id, employee, datetime.now(UTC))

    def containers_of(self, customer_id: str) -> tuple[float, tuple[ContainerSeen, ...]] | None:
        """One customer's employees, with when the look began; None when Docker does not answer."""
        at = time.monotonic()
        try:
            return at, tuple(c for c in observed.observe_customer(self._instance.id, customer_id)
                             if c.employee)
        except StackError:
            return None

    def visitor(self, customer_id: str, employee: Employee) -> Visitor:
        """Whom an employee lets in: its customer, through the edge."""
        scheme, _, host = self._instance.url(
            self._instance.chat_host(employee.id)).partition("://")
        return Visitor(visitor_name(customer_id, employee), host, scheme)

    def warm_up(self, employee: str, address: str, visitor: Visitor) -> None:
        """Has a blank take one turn and forget it. What fails here costs its first real turn
        some seconds, and nothing else."""
        if not warm_up(address, visitor):
            log.warning("%s could not be warmed up", employee)
        elif problem := observed.run_inside(self._instance.container_name(employee), _FORGET):
            log.warning("%s keeps its warm-up: %s", employee, problem)

    def logs(self, employee: str, tail: int) -> str | None:
        return observed.container_log(self._instance.container_name(employee), tail)

    def watch(self, wake: Callable[[], None]) -> None:
        """Calls `wake` whenever Docker says that a container of ours changed."""
        def take(customer_id: str | None, container: str, action: str, at: float) -> None:
            with self._guard:
                if customer_id is not None and action == "update":
                    self._touched.setdefault(customer_id, set()).add(container)
                if container:
                    self._done.pop(container, None)
                    self._done[container] = (action, at, customer_id)
                    while len(self._done) > _MOST_DONE:
                        self._done.pop(next(iter(self._done)))
            wake()
        threading.Thread(target=watch_docker, args=(self._instance.id, take), daemon=True,
                         name="docker-events").start()

    def done_to(self, name: str) -> str:
        """What Docker told last of a container or network; empty when it told nothing. It does
        not say who asked for it."""
        with self._guard:
            action, at, _ = self._done.get(name, ("", 0.0, None))
        return f"docker {action}, {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC" if action else ""

    def settle(self, stack: str) -> None:
        """After a run: what Docker reported of the run's own changes is no drift."""
        customer_id = customer_of(stack)
        if customer_id is not None:
            with self._guard:
                self._leave_alone(customer_id)
                for name in [n for n, done in self._done.items() if done[2] == customer_id]:
                    del self._done[name]

    def _parts(self, wanted: Platform) -> dict[str, Callable[[], list[Difference]]]:
        def of(look: Callable[..., Iterator[Difference]], *more: object
               ) -> Callable[[], list[Difference]]:
            return lambda: list(look(self._instance, *more))
        return {"dns": of(platform_observed.dns_differences, wanted),
                "edge": of(platform_observed.edge_differences, wanted),
                "firewall": of(platform_observed.firewall_differences),
                "model-proxy": of(platform_observed.proxy_differences),
                "monitoring": self._look_at_monitoring}

    def _look_at_monitoring(self) -> list[Difference]:
        """Less often than the rest: Prometheus renders its whole configuration to answer."""
        at, differences = self._monitoring
        if time.monotonic() - at >= _MONITORING_EVERY_S:
            differences = list(platform_observed.monitoring_differences(self._instance))
            self._monitoring = (time.monotonic() if not differences else -1e9, differences)
        return differences


def _digest_of_programs() -> str:
    """Changes when a program does, or what it renders (templates, seccomp profiles, the images'
    recipes): after an upgrade of the code every stack is looked at again."""
    digest = hashlib.sha256()
    folder = Path(stacks.__file__).parent
    for path in sorted([*folder.rglob("*"), *(folder.parent / "images").rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder.parent)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
