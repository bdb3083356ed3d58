"""What the reconciler writes into the status tables: now, or once the database answers again.

A database that is away or locked must stop neither a repair nor a worker. So a write never
raises: what can't be written waits here, the newest of each row and the events and receipts in
their order, and goes out together when the database takes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from state_repo.database import DatabaseError
from state_repo.status import (
    AppliedStack,
    Change,
    EmployeeStatus,
    Event,
    Owner,
    Receipt,
    StackStatus,
    StatusStore,
    drop_row,
    new_row,
    set_row,
)

log = logging.getLogger(__name__)
MOST_WAITING = 10_000  # events and receipts; the oldest go first
_AGAIN_S = 2.0  # between two tries while the database is away
Row = tuple[type[EmployeeStatus | StackStatus | AppliedStack | Owner], str]


class Outbox:
    """The one writer of the status tables. Safe to use from several threads."""

    def __init__(self, status: StatusStore) -> None:
        self._status = status
        self._rows: dict[Row, dict[str, Any] | None] = {}  # None: the row goes
        self._lines: deque[Change] = deque(maxlen=MOST_WAITING)
        self._guard, self._sending = threading.RLock(), threading.RLock()
        self._gathering = 0
        self._problem: str | None = None
        self._tried = -1e9

    @property
    def problem(self) -> str | None:
        """Why the last write failed; None while the database takes everything."""
        return self._problem

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside goes out in one transaction, at its end."""
        with self._guard:
            self._gathering += 1
        try:
            yield
        finally:
            with self._guard:
                self._gathering -= 1
            self.flush()

    def employee(self, id: str, **fields: Any) -> None:
        self._row((EmployeeStatus, id), fields)

    def stack(self, id: str, **fields: Any) -> None:
        self._row((StackStatus, id), fields)

    def applied(self, stack: str, **fields: Any) -> None:
        self._row((AppliedStack, stack), fields)

    def owner(self, employee: str, customer: str) -> None:
        self._row((Owner, employee), {"customer": customer})

    def forget_employee(self, id: str) -> None:
        with self._guard:
            self._rows[EmployeeStatus, id] = None
        self.flush()

    def event(self, kind: str, message: str, customer: str | None = None,
              employee: str | None = None) -> None:
        self._line(Event, {"at": datetime.now(UTC), "kind": kind, "message": message,
                           "customer": customer, "employee": employee})

    def receipt(self, **fields: Any) -> None:
        self._line(Receipt, fields)

    def flush(self) -> None:
        """Writes what waits, if the database takes it. Never raises."""
        with self._sending:
            with self._guard:
                if self._gathering or not (self._rows or self._lines) or (
                        self._problem and time.monotonic() - self._tried < _AGAIN_S):
                    return
                rows, self._rows = self._rows, {}
                lines = list(self._lines)
                self._lines.clear()
                self._tried = time.monotonic()
            changes = lines + [_change(row, fields) for row, fields in rows.items()]
            try:
                self._status.write(changes)
                self._problem = None
            except DatabaseError as error:
                if error.is_away:
                    self._wait(rows, lines, str(error))
                else:
                    self._one_by_one(changes)

    def _wait(self, rows: dict[Row, dict[str, Any] | None], lines: list[Change], problem: str
              ) -> None:
        if self._problem is None:
            log.warning("the database takes nothing (%s); %d writes wait", problem,
                        len(rows) + len(lines))
        self._problem = problem
        with self._guard:
            for row, fields in rows.items():  # what came meanwhile is newer
                newer = self._rows.get(row, {})
                self._rows[row] = (newer if newer is None or (fields is None and row in self._rows)
                                   else None if fields is None else fields | newer)
            self._lines.extendleft(reversed(lines))

    def _one_by_one(self, changes: list[Change]) -> None:
        """One of them is wrong in itself, and must not hold the others up for ever."""
        for change in changes:
            try:
                self._status.write([change])
            except DatabaseError:
                log.exception("a row could not be written, and is left out")

    def _row(self, row: Row, fields: dict[str, Any]) -> None:
        with self._guard:
            self._rows[row] = (self._rows.get(row) or {}) | fields
        self.flush()

    def _line(self, table: type[Receipt] | type[Event], fields: dict[str, Any]) -> None:
        with self._guard:
            self._lines.append(new_row(table, fields))
        self.flush()


def _change(row: Row, fields: dict[str, Any] | None) -> Change:
    table, id = row
    if fields is None:
        return drop_row(table, id)
    return set_row(table, id, fields)

