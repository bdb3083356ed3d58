"""How full the volumes are. Docker's volumes have no quota on most file systems, so the limit is
watched: an alert and an event come before a volume is full, and uploads past it are refused.

Who passes the limit all the same is frozen where it stands, within about a second: a fall of the
disk's free space is seen at once, whoever wrote. It goes on when its files are below the limit
again; they can be removed from outside while it stands still. And the host keeps a reserve: when
that is touched, whoever is growing is frozen too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from stacks import StackError, cgroup
from stacks.employee_files import UID, volume_folder
from stacks.workspace import Workspace
from state_repo.documents import Storage
from state_repo.instance import Instance

log = logging.getLogger(__name__)
FULL_SOON = 0.8  # of the limit
EACH_LOOK = 20  # volumes: a walk of a full one takes up to a second
JUMP = 64 << 20  # bytes of free space that go in one look: then everybody is measured
GROWING = 16 << 20
AGAIN_S = 5.0  # how often who is frozen is measured


def reserve(total: int) -> int:
    """What employees may not take of a disk, in bytes."""
    return max(2 << 30, total // 20)


class StorageWatch:
    """`tell(employee, customer, message)` is called when a volume passes FULL_SOON, and when it
    is below again."""

    def __init__(self, instance: Instance, tell: Callable[[str, str, str], None]) -> None:
        self._instance, self._tell = instance, tell
        self._frozen: dict[str, str] = {}  # employee -> why
        self._free: int | None = None
        self._looked_again = 0.0
        self._used: dict[str, int] = {}
        self._filling: set[str] = set()
        self._next = 0

    def used(self) -> dict[str, int]:
        """Bytes by employee, as last measured."""
        return dict(self._used)

    def frozen(self) -> dict[str, str]:
        """Who was frozen, and why."""
        return dict(self._frozen)

    def guard(self, running: Mapping[str, Mapping[str, Any]], storage: Storage, free: int,
              total: int, now: float) -> None:
        """One look at the disk (bytes), about once a second. `running`: who may write now."""
        fell = JUMP + 1 if self._free is None else self._free - free
        self._free, limit = free, storage.employee_mb << 20
        is_short = free < reserve(total)
        for gone in self._frozen.keys() - running.keys():
            self._frozen.pop(gone)
        if fell > JUMP or is_short:
            for employee, row in running.items():
                before = self._used.get(employee, 0)
                self._measure(employee, row, limit)
                grew = self._used.get(employee, 0) - before
                if is_short and before and grew > GROWING:
                    self._freeze(employee, row, "the host's disk is nearly full, and its files "
                                 f"grew by {grew >> 20:,} MiB")
        if self._frozen and now - self._looked_again > AGAIN_S:
            self._looked_again = now
            # Another look may have frozen somebody since.
            for employee in self._frozen.keys() & running.keys():
                self._measure(employee, running[employee], limit)
                if self._used.get(employee, limit) <= limit and not is_short:
                    self._thaw(employee, running[employee])

    def look(self, employees: Mapping[str, Mapping[str, Any]], storage: Storage) -> None:
        """Measures the next EACH_LOOK of them, in turn."""
        for gone in self._used.keys() - employees.keys():
            self._used.pop(gone)
            self._filling.discard(gone)
        names = sorted(employees)
        if not names:
            return
        self._next %= len(names)
        for employee in (names[self._next:] + names[:self._next])[:EACH_LOOK]:
            self._measure(employee, employees[employee], storage.employee_mb << 20)
        self._next += EACH_LOOK

    def _measure(self, employee: str, row: Mapping[str, Any], limit: int) -> None:
        try:
            root = volume_folder(self._instance.employee_volume(employee))
            self._used[employee] = Workspace(root, UID, UID, 0, 0).usage().bytes
        except StackError as error:
            log.debug("%s is not measured: %s", employee, error)
            return
        if self._used[employee] > limit:
            self._freeze(employee, row, f"its files take {self._used[employee] >> 20:,} of "
                         f"{limit >> 20:,} MiB")
        filling = self._used[employee] > limit * FULL_SOON
        if filling and employee not in self._filling:
            self._filling.add(employee)
            self._tell(employee, row["customer"],
                       f"{row['name']}'s files take {self._used[employee] >> 20:,} of "
                       f"{limit >> 20:,} MiB; remove some, or raise storage.employeeMb")
        elif not filling and employee in self._filling:
            self._filling.discard(employee)
            self._tell(employee, row["customer"], f"{row['name']}'s files have room again")

    def _freeze(self, employee: str, row: Mapping[str, Any], why: str) -> None:
        if employee in self._frozen or row.get("asleep_since"):
            return
        try:
            cgroup.pause(self._instance.container_name(employee))
        except StackError as error:
            log.warning("%s can't be frozen: %s", employee, error)
            return
        self._frozen[employee] = (f"{why}; it stands still, so that others have room. Remove some "
                                  "of its files (they can be seen and removed meanwhile), or "
                                  "raise storage.employeeMb")
        self._tell(employee, row["customer"], f"{row['name']} was frozen: {why}")

    def _thaw(self, employee: str, row: Mapping[str, Any]) -> None:
        try:
            cgroup.unpause(self._instance.container_name(employee))
        except StackError as error:
            log.warning("%s can't be let go on: %s", employee, error)
            return
        self._frozen.pop(employee, None)
        self._tell(employee, row["customer"], f"{row['name']} has room again, and goes on")
