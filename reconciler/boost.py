"""Who starts borrows processor: loading is most of a cold start, and on one processor it takes
twice as long as on two.

What is lent is the cgroup's quota alone; Docker's record keeps the employee's own limit, which is
in force again soon after it answers. Who was lent something by a reconciler that is no more gets
its own limit back at the first look.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

from stacks import StackError, cgroup

log = logging.getLogger(__name__)
LENT_CPUS = 2.0
# From the first answer on: the first turn loads what the start did not need.
FIRST_TURN_S = 20.0
LONGEST_S = 120.0


class Boost:
    """`name_of`: an employee's container; `most`: processors that the platform allows anybody."""

    def __init__(self, name_of: Callable[[str], str], most: Callable[[], float]) -> None:
        self._name_of, self._most = name_of, most
        self._until: dict[str, float] = {}  # employee -> when it gives back (monotonic)
        self._own: dict[str, str] = {}  # employee -> the container seen on its own limit
        self._guard = threading.Lock()

    def lend(self, employee: str) -> None:
        """It starts. Does nothing where there is nothing to lend; never fails."""
        with contextlib.suppress(StackError, OSError):
            name = self._name_of(employee)
            container = cgroup.find(name)
            most = min(LENT_CPUS, self._most(), os.cpu_count() or 1)
            if container is not None and cgroup.wanted_cpus(name) < most:
                with self._guard:
                    self._until[employee] = time.monotonic() + LONGEST_S
                    self._own.pop(employee, None)
                container.allow_cpus(most)

    def answered(self, employee: str) -> None:
        with self._guard:
            if employee in self._until:
                self._until[employee] = time.monotonic() + FIRST_TURN_S

    def settle(self, running: Mapping[str, str]) -> None:
        """Takes back what is due. `running`: employee to container id."""
        now = time.monotonic()
        with self._guard:
            for gone in (self._own.keys() | self._until.keys()) - running.keys():
                self._own.pop(gone, None)
                if self._until.get(gone, now) < now:
                    del self._until[gone]
            due = [(e, c) for e, c in running.items()
                   if self._own.get(e) != c and self._until.get(e, now) <= now]
        for employee, id in due:
            try:
                name = self._name_of(employee)
                container = cgroup.find(name)
                if container is not None and container.id == id:
                    container.allow_cpus(cgroup.wanted_cpus(name))
            except (StackError, OSError) as error:
                log.warning("%s keeps what it was lent for now: %s", employee, error)
                continue
            with self._guard:
                self._until.pop(employee, None)
                self._own[employee] = id
