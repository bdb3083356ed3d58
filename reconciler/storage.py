"""How full the volumes are: an alert and an event come before one is full, and uploads past its
limit are refused.

Where an employee has no disk of its own (see `stacks.disks`), nothing but this keeps it within its
limit: who passes it is frozen where it stands, within about a second. A fall of the host's free
space, or of its inodes, is seen at once, whoever wrote; files that have no name any more are
counted as well. It goes on when its files are below the limit again; they can be removed from
outside while it stands still. And the host keeps a reserve: when that is touched, whoever is
growing is frozen too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks import StackError, cgroup, disks
from stacks.employee_files import UID, volume_folder
from stacks.workspace import Workspace
from state_repo.documents import Storage
from state_repo.instance import Instance

log = logging.getLogger(__name__)
FULL_SOON = 0.8  # of the limit
EACH_LOOK = 20  # volumes: a walk of a full one takes up to a second
JUMP = 64 << 20  # bytes of free space that go in one look: then everybody is measured
GROWING = 16 << 20
JUMP_ENTRIES, GROWING_ENTRIES = 5_000, 1_000  # the same of files and folders
AGAIN_S = 5.0  # how often who is frozen is measured


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that the volumes lie on: bytes, and how many files and folders there is room for
    (0 of 0: the file system has no such limit)."""

    free: int
    total: int
    entries_free: int = 0
    entries: int = 0

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """Raises OSError."""
        found = os.statvfs(folder)
        return cls(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize,
                   found.f_favail, found.f_files)

    @property
    def is_short(self) -> bool:
        """Whether what employees may not take is touched."""
        return self.free < reserve(self.total) or self.entries_free < self.entries // 20


def reserve(total: int) -> int:
    """What employees may not take of a disk, in bytes."""
    return max(2 << 30, total // 20)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an employee takes of the disk."""

    bytes: int = 0
    entries: int = 0

    def over(self, storage: Storage) -> str:
        """By which limit it is too much, in words; empty when it is not."""
        limit = storage.employee_mb << 20
        if self.bytes > limit:
            return f"its files take {self.bytes >> 20:,} of {limit >> 20:,} MiB"
        if self.entries > storage.employee_files:
            return (f"it has {self.entries:,} files and folders, and may have "
                    f"{storage.employee_files:,}")
        return ""


class StorageWatch:
    """`tell(employee, customer, message)` is called when a volume passes FULL_SOON, and when it
    is below again."""

    def __init__(self, instance: Instance, tell: Callable[[str, str, str], None]) -> None:
        self._instance, self._tell = instance, tell
        self._frozen: dict[str, str] = {}  # employee -> why
        self._disk: Disk | None = None
        self._limits: Storage | None = None
        self._looked_again = 0.0
        self._used: dict[str, Taken] = {}
        self._filling: set[str] = set()
        self._next = 0

    def used(self) -> dict[str, int]:
        """Bytes by employee, as last measured."""
        return {employee: taken.bytes for employee, taken in self._used.items()}

    def frozen(self) -> dict[str, str]:
        """Who was frozen, and why."""
        return dict(self._frozen)

    def guard(self, running: Mapping[str, Mapping[str, Any]], storage: Storage, disk: Disk,
              now: float) -> None:
        """One look at the disk, about once a second. `running`: who may write now."""
        (last, limits), self._disk, self._limits = (self._disk, self._limits), disk, storage
        jumped = last is None or limits != storage or last.free - disk.free > JUMP or (
            last.entries_free - disk.entries_free > JUMP_ENTRIES)
        for gone in self._frozen.keys() - running.keys():
            self._frozen.pop(gone)
        if jumped or disk.is_short:
            for employee, row in running.items():
                before = self._used.get(employee)
                self._measure(employee, row, storage, deep=True)
                after = self._used.get(employee, Taken())
                if disk.is_short and before and (
                        after.bytes - before.bytes > GROWING
                        or after.entries - before.entries > GROWING_ENTRIES):
                    self._freeze(employee, row, "the host's disk is nearly full, and its files "
                                 f"grew by {(after.bytes - before.bytes) >> 20:,} MiB")
        if self._frozen and now - self._looked_again > AGAIN_S:
            self._looked_again = now
            # Another look may have frozen somebody since.
            for employee in self._frozen.keys() & running.keys():
                self._measure(employee, running[employee], storage, deep=True)
                taken = self._used.get(employee)
                if taken is not None and not taken.over(storage) and not disk.is_short:
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
            self._measure(employee, employees[employee], storage)
        self._next += EACH_LOOK

    def _measure(self, employee: str, row: Mapping[str, Any], storage: Storage, *,
                 deep: bool = False) -> None:
        """`deep`: with files that have no name any more."""
        try:
            root = volume_folder(self._instance.employee_volume(employee))
            taken = self._used[employee] = self._taken(employee, root, deep=deep)
        except (OSError, StackError) as error:
            log.debug("%s is not measured: %s", employee, error)
            return
        if why := taken.over(storage):
            self._freeze(employee, row, why)
        limit = storage.employee_mb << 20
        filling = taken.bytes > limit * FULL_SOON or (
            taken.entries > storage.employee_files * FULL_SOON)
        if filling and employee not in self._filling:
            self._filling.add(employee)
            self._tell(employee, row["customer"],
                       f"{row['name']}'s files take {taken.bytes >> 20:,} of {limit >> 20:,} MiB "
                       f"({taken.entries:,} of {storage.employee_files:,} files and folders); "
                       "remove some, or raise the limit in storage")
        elif not filling and employee in self._filling:
            self._filling.discard(employee)
            self._tell(employee, row["customer"], f"{row['name']}'s files have room again")

    def _taken(self, employee: str, root: Path, *, deep: bool) -> Taken:
        if (of_disk := disks.used(root)) is not None:
            return Taken(*of_disk)
        found = Workspace(root, UID, UID, 0, 0).usage()
        hidden = cgroup.unnamed(self._instance.container_name(employee), root) if deep else 0
        return Taken(found.bytes + hidden, found.entries)

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
                                  "raise the limit in storage")
        self._tell(employee, row["customer"], f"{row['name']} was frozen: {why}")

    def _thaw(self, employee: str, row: Mapping[str, Any]) -> None:
        try:
            cgroup.unpause(self._instance.container_name(employee))
        except StackError as error:
            log.warning("%s can't be let go on: %s", employee, error)
            return
        self._frozen.pop(employee, None)
        self._tell(employee, row["customer"], f"{row['name']} has room again, and goes on")
