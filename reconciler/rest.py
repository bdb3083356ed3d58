"""Sleep: who does nothing gives its memory back, and wakes by itself.

An employee sleeps when for a while nobody was connected to it, it called no model, ran nothing of
its own and used hardly any processor. Asleep means paused, with its memory in swap; without swap
it means stopped, which takes a cold start to undo. The next visit wakes it, and so do a claim and
a due task.

Before that it dozes: awake, with what it has not touched since its start in swap. When the host
itself runs short of memory, blanks go to sleep at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from reconciler.probe import PORTS
from stacks import StackError, cgroup
from stacks.due import next_task
from state_repo.documents import Sleep
from state_repo.instance import Instance

log = logging.getLogger(__name__)
LOOK_EVERY_S = 5.0
WAKE_BEFORE = timedelta(seconds=8)
DOZE_AFTER_S = 30.0
DOZE_BYTES = 450 << 20  # its working memory after a chat is below this
SHORT_OF_MEMORY = 0.08  # of the host's memory that must stay available
BUSY = 0.15  # of one processor: an idle gateway with an open browser stays below


@dataclass(slots=True)
class Watch:
    """What was seen of one container that runs. Times are monotonic seconds. `dozes`: its cold
    memory was put into swap since it last did anything. `use`: the last look."""

    container: cgroup.Container
    cpu_s: float
    at: float
    idle_since: float
    dozes: bool = False
    use: cgroup.Use | None = None


def is_busy(before: Watch, now: cgroup.Use, at: float) -> bool:
    """Whether an employee did anything between two looks."""
    used = (now.cpu_s - before.cpu_s) / max(at - before.at, 0.001)
    return now.is_in_use or used > BUSY


def _is_short_of_memory() -> bool:
    memory = cgroup.host_memory()
    return memory["MemAvailable"] < SHORT_OF_MEMORY * memory["MemTotal"]


class Rest:
    """Who sleeps. `remember(employee, since)` is told of each change (None: awake). `guard` raises
    StackError unless an employee may start."""

    def __init__(self, instance: Instance, asleep: Mapping[str, datetime],
                 remember: Callable[[str, datetime | None], None],
                 guard: Callable[[], None] = lambda: None) -> None:
        self._instance, self._remember, self._guard_start = instance, remember, guard
        self._asleep: dict[str, datetime] = dict(asleep)
        self._settled: set[str] = set(asleep)  # of them, those that are down already
        self._due: dict[str, datetime | None] = {}  # of who sleeps, once it was looked up
        self._watches: dict[str, Watch] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def asleep(self) -> frozenset[str]:
        with self._guard:
            return frozenset(self._asleep)

    def settled(self) -> frozenset[str]:
        """Who sleeps, and is not just falling asleep."""
        with self._guard:
            return frozenset(self._settled)

    def used(self) -> dict[str, cgroup.Use]:
        """What everybody who is awake uses, as last seen."""
        with self._guard:
            return {employee: watch.use for employee, watch in self._watches.items() if watch.use}

    def look(self, awake: Mapping[str, str], sleep: Sleep, blanks: Collection[str] = ()) -> None:
        """Looks at everybody in `awake` (employee to container id), and puts to sleep who was
        idle for long enough; of `blanks`, whoever idles when the host is short of memory."""
        for employee, container in awake.items():
            try:
                self._look_at(employee, container, sleep, may_wait=employee not in blanks
                              or not _is_short_of_memory())
            except StackError as error:
                log.warning("%s is not put to sleep: %s", employee, error)
        with self._guard:
            for gone in self._watches.keys() - awake.keys():
                del self._watches[gone]

    def wake_due(self, now: datetime) -> None:
        """Wakes whoever has a task of its own to do."""
        for employee in self.settled():
            if employee not in self._due:
                self._due[employee] = next_task(self._instance.employee_volume(employee))
            due = self._due[employee]
            if due is not None and due - WAKE_BEFORE <= now:
                log.info("%s has a task at %s", employee, due)
                try:
                    self.wake(employee)
                except StackError as error:
                    log.warning("%s could not be woken: %s", employee, error)

    def wake(self, employee: str) -> bool:
        """Wakes it, if it sleeps. Returns whether it did.

        Raises:
            StackError: Docker refuses.
        """
        with self._lock(employee):
            if employee not in self.asleep():
                return False
            name = self._instance.container_name(employee)
            container = cgroup.find(name)
            if container is None:
                self._guard_start()
                cgroup.start(name)
            else:
                self._widen(container, name)
                cgroup.unpause(name)
            self._forget(employee)
            return True

    def forget(self, employee: str) -> None:
        """It was woken by other means (the engine, by hand): its memory is given back too."""
        with self._lock(employee):
            if employee in self.asleep():
                name = self._instance.container_name(employee)
                container = cgroup.find(name)
                if container is not None:
                    self._widen(container, name)
                self._forget(employee)

    @contextmanager
    def holding(self, employee: str) -> Iterator[None]:
        """It neither falls asleep nor wakes meanwhile."""
        with self._lock(employee):
            yield

    def _look_at(self, employee: str, container_id: str, sleep: Sleep, *, may_wait: bool) -> None:
        now = time.monotonic()
        watch = self._watches.get(employee)
        if watch is None or watch.container.id != container_id:
            container = cgroup.find(self._instance.container_name(employee))
            seen = container and self._use(container)
            if container and seen:
                self._watches[employee] = Watch(container, seen.cpu_s, now, now, use=seen)
            return
        if now - watch.at < LOOK_EVERY_S:
            return
        seen = self._use(watch.container)
        if seen is None:
            self._watches.pop(employee, None)
            return
        if is_busy(watch, seen, now):
            watch.idle_since, watch.dozes = now, False
        watch.cpu_s, watch.at, watch.use = seen.cpu_s, now, seen
        idle_s = now - watch.idle_since
        if sleep.after_minutes > 0 and (
                idle_s >= sleep.after_minutes * 60 or (idle_s > 0 and not may_wait)):
            self._put_to_sleep(employee, watch, sleep)
        elif idle_s >= DOZE_AFTER_S and not watch.dozes:
            watch.dozes = True
            self._doze(employee, watch.container, seen.memory)

    def _doze(self, employee: str, container: cgroup.Container, memory: int) -> None:
        """Squeezes it once: the kernel takes what was not used for longest. What it needs of that
        again comes back page by page."""
        name = self._instance.container_name(employee)
        if memory <= DOZE_BYTES or cgroup.swap_free() <= memory:
            return
        with self._lock(employee):
            container.allow_swap(memory)
            try:
                container.limit(DOZE_BYTES, patience_s=1.0)
            except StackError as error:
                log.info("%s does not doze: %s", employee, error)
            finally:
                self._widen(container, name)

    def _put_to_sleep(self, employee: str, watch: Watch, sleep: Sleep) -> None:
        with self._lock(employee):
            name = self._instance.container_name(employee)
            # First on the record: from here on a visitor wakes it, however this goes on.
            with self._guard:
                self._asleep[employee] = datetime.now(UTC)
            self._remember(employee, self._asleep[employee])
            try:
                seen = self._use(watch.container)
                if seen is None or seen.is_in_use:
                    self._forget(employee)  # somebody came in the meantime
                    return
                if cgroup.swap_free() > seen.memory:
                    cgroup.pause(name)
                    watch.container.allow_swap(seen.memory)
                    watch.container.limit(sleep.memory_mb << 20, patience_s=20.0)
                else:
                    cgroup.stop(name)
            except StackError:
                container = cgroup.find(name)
                if container is not None:
                    self._widen(container, name)
                    cgroup.unpause(name)
                self._forget(employee)
                raise
            with self._guard:
                self._settled.add(employee)
                self._watches.pop(employee, None)
            log.info("%s sleeps", employee)

    def _use(self, container: cgroup.Container) -> cgroup.Use | None:
        return cgroup.use(container, PORTS, self._instance.ports["model_proxy"])

    def _widen(self, container: cgroup.Container, name: str) -> None:
        container.limit(cgroup.wanted_limit(name))
        container.allow_swap(0)

    def _forget(self, employee: str) -> None:
        with self._guard:
            self._asleep.pop(employee, None)
            self._settled.discard(employee)
            self._due.pop(employee, None)
            self._watches.pop(employee, None)
        self._remember(employee, None)

    def _lock(self, employee: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(employee, threading.Lock())

