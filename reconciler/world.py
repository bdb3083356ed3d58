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
from pathlib import Path

import stacks
from policies.pack import tenant_of
from policies.resources import Tenant
from reconciler.decide import PLATFORM, Drift, customer_of, stack_of
from reconciler.probe import Visitor, warm_up
from stacks import UnreachableError, customer, fingerprint, observed, platform, platform_observed
from stacks.events import watch_docker
from stacks.fingerprint import Difference
from stacks.identity import visitor_name
from stacks.observed import ContainerSeen
from stacks.serve import serve
from state_repo.documents import Employee, Platform
from state_repo.instance import Instance
from state_repo.snapshot import CustomerState

log = logging.getLogger(__name__)

PARTS = {"docker": "Docker", "dns": "DNS", "edge": "the edge", "firewall": "the firewall",
         "monitoring": "Prometheus"}
_FORGET = ["python3", "/opt/employee/forget.py", "agent:main:openai:%"]
_MONITORING_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at reality. `containers` (employees only) is None when Docker did not answer;
    `drift` is by stack; `unreachable` says why a part could not be checked."""

    containers: tuple[ContainerSeen, ...] | None = None
    drift: Mapping[str, tuple[Drift, ...]] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One customer as it is to be, or was last, applied."""

    platform: Platform
    state: CustomerState
    kept: frozenset[str] = frozenset()
    expired: frozenset[str] = frozenset()


class World:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._guard = threading.Lock()
        self._tenants: dict[str, Tenant] = {}  # by stack: what its resources may name
        self._expired: set[str] = set()
        self._touched: dict[str, set[str]] = {}  # by customer: containers changed by hand
        self._monitoring: tuple[float, list[Difference]] = (-1e9, [])
        self._server = serve(instance, self._may_remove_volume)
        self.providers = self._server.environment
        self.program_digest = _digest_of_programs()

    def close(self) -> None:
        self._server.stop()

    # ---- what is to be made ------------------------------------------------------------------

    def platform_program(self, wanted: Platform) -> Callable[[], None]:
        return platform.program(self._instance, wanted)

    def customer_program(self, wanted: Wanted) -> Callable[[], None]:
        """The customer's program; also records what its run may touch."""
        state = wanted.state
        with self._guard:
            stack = f"customer-{state.id}"
            self._tenants[stack] = tenant_of(
                self._instance, stack, frozenset(state.employees) | wanted.kept,
                state.customer.subnet if state.customer else "")
            self._expired |= {self._instance.employee_volume(e) for e in wanted.expired}
            self._touched.pop(state.id, None)
        return customer.program(self._instance, wanted.platform, state, wanted.kept,
                                wanted.expired)

    def tenant(self, stack: str) -> Tenant:
        """For the policy pack: what a stack's resources may name."""
        with self._guard:
            return self._tenants.get(stack) or tenant_of(self._instance, stack, ())

    def _may_remove_volume(self, volume: str) -> bool:
        with self._guard:
            return volume in self._expired

    # ---- what there is -----------------------------------------------------------------------

    def look(self, wanted_platform: Platform | None, wanted: Iterable[Wanted],
             asleep: Collection[str] = ()) -> Look:
        """One look at everything; `wanted_platform` is None before its first run."""
        found: list[tuple[str, Difference]] = []
        unreachable: dict[str, str] = {}
        containers: tuple[ContainerSeen, ...] | None = None
        try:
            reality = observed.observe_docker(self._instance.id)
            containers = tuple(c for c in reality.containers.values() if c.employee)
            for one in wanted:
                stack = stack_of(one.state.id)
                found += ((stack, d) for d in fingerprint.customer_differences(
                    self._instance, one.state, reality, one.kept, one.expired, asleep))
                found += ((stack, ("container", name, "it was changed by hand"))
                          for name in self._touched.get(one.state.id, ()))
            if wanted_platform is not None:
                found += ((PLATFORM, d) for d in platform_observed.container_differences(
                    self._instance, wanted_platform, reality))
        except UnreachableError as error:
            unreachable["docker"] = str(error)
        if wanted_platform is not None:
            for part, differences in self._parts(wanted_platform).items():
                try:
                    found += ((PLATFORM, d) for d in differences())
                except UnreachableError as error:
                    unreachable[part] = str(error)
        drift: dict[str, list[Drift]] = {}
        for stack, (kind, name, problem) in found:
            drift.setdefault(stack, []).append(Drift(stack, kind, name, problem))
        return Look(containers, {s: tuple(items) for s, items in drift.items()}, unreachable)

    def containers_of(self, customer_id: str) -> tuple[ContainerSeen, ...] | None:
        """One customer's employees, or None when Docker does not answer."""
        try:
            return tuple(c for c in observed.observe_customer(self._instance.id, customer_id)
                         if c.employee)
        except UnreachableError:
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
        def take(customer_id: str | None, container: str, action: str) -> None:
            if customer_id is not None and action == "update":
                with self._guard:
                    self._touched.setdefault(customer_id, set()).add(container)
            wake()
        threading.Thread(target=watch_docker, args=(self._instance.id, take), daemon=True,
                         name="docker-events").start()

    def settle(self, stack: str) -> None:
        """After a run: what Docker reported of the run's own changes is no drift."""
        customer_id = customer_of(stack)
        if customer_id is not None:
            with self._guard:
                self._touched.pop(customer_id, None)

    def _parts(self, wanted: Platform) -> dict[str, Callable[[], list[Difference]]]:
        def of(look: Callable[..., Iterator[Difference]], *more: object
               ) -> Callable[[], list[Difference]]:
            return lambda: list(look(self._instance, *more))
        return {"dns": of(platform_observed.dns_differences, wanted),
                "edge": of(platform_observed.edge_differences),
                "firewall": of(platform_observed.firewall_differences),
                "monitoring": self._look_at_monitoring}

    def _look_at_monitoring(self) -> list[Difference]:
        """Less often than the rest: Prometheus renders its whole configuration to answer."""
        at, differences = self._monitoring
        if time.monotonic() - at >= _MONITORING_EVERY_S:
            differences = list(platform_observed.monitoring_differences(self._instance))
            self._monitoring = (time.monotonic() if not differences else -1e9, differences)
        return differences


def _digest_of_programs() -> str:
    """Changes when a program does: after an upgrade of the code every stack is looked at again."""
    digest = hashlib.sha256()
    folder = Path(stacks.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
