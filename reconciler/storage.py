"""How full the volumes are. Docker's volumes have no quota on most file systems, so the limit is
watched: an alert and an event come before a volume is full, and uploads past it are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from stacks import StackError
from stacks.employee_files import UID, volume_folder
from stacks.workspace import Workspace
from state_repo.documents import Storage
from state_repo.instance import Instance

log = logging.getLogger(__name__)
FULL_SOON = 0.8  # of the limit
EACH_LOOK = 20  # volumes: a walk of a full one takes up to a second


class StorageWatch:
    """`tell(employee, customer, message)` is called when a volume passes FULL_SOON, and when it
    is below again."""

    def __init__(self, instance: Instance, tell: Callable[[str, str, str], None]) -> None:
        self._instance, self._tell = instance, tell
        self._used: dict[str, int] = {}
        self._filling: set[str] = set()
        self._next = 0

    def used(self) -> dict[str, int]:
        """Bytes by employee, as last measured."""
        return dict(self._used)

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
        filling = self._used[employee] > limit * FULL_SOON
        if filling and employee not in self._filling:
            self._filling.add(employee)
            self._tell(employee, row["customer"],
                       f"{row['name']}'s files take {self._used[employee] >> 20:,} of "
                       f"{limit >> 20:,} MiB; remove some, or raise storage.employeeMb")
        elif not filling and employee in self._filling:
            self._filling.discard(employee)
            self._tell(employee, row["customer"], f"{row['name']}'s files have room again")
