"""What is known of the fleet between two looks: who was seen where, who answered, what is held.

A row is written only when it differs from what was written last, so that a quiet fleet costs no
writes. Looks are ordered by when they were begun, not by when they arrive: one that is older than
what is known of somebody says nothing about him.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from reconciler.boost import Boost
from reconciler.judge import Judgement, Sighting
from reconciler.outbox import Outbox
from reconciler.probe import FIRST_ANSWER_S, Visitor, answers, wait_until_ready
from stacks.observed import ContainerSeen
from state_repo.documents import Employee
from state_repo.status import EmployeeStatus, StackStatus

log = logging.getLogger(__name__)


class Fleet:
    """Sightings and rows of employees; safe to use from several threads.

    `employees` and `stacks`: the rows that an earlier process wrote. What it found healthy stays
    so until a probe of ours says otherwise.
    """

    def __init__(self, outbox: Outbox, employees: Iterable[EmployeeStatus],
                 stacks: Iterable[StackStatus], clock: Callable[[], datetime],
                 warm_up: Callable[[str, str, Visitor], None], boost: Boost) -> None:
        self._outbox, self._clock, self._warm_up = outbox, clock, warm_up
        self._boost = boost
        self._visitors: dict[str, Visitor] = {}
        self._blanks: set[str] = set()
        self._sightings: dict[str, Sighting] = {}
        self._seen_at: dict[str, float] = {}  # monotonic seconds of the look that told it
        self._rows: dict[str, dict[str, Any]] = {row.id: _comparable(row) for row in employees}
        self._answered = {id: (row["container_id"], row["address"])
                          for id, row in self._rows.items() if row["health_status"] == "Healthy"}
        self._stacks: dict[str, dict[str, Any]] = {row.id: {
            name: getattr(row, name) for name in _STACK_COLUMNS} for row in stacks}
        self._asleep = {id: row["asleep_since"] for id, row in self._rows.items()
                        if row["asleep_since"]}
        self._verifying: dict[str, tuple[str, Future[str | None]]] = {}
        self._guard = threading.RLock()
        self._probes = ThreadPoolExecutor(max_workers=32, thread_name_prefix="probe")
        self._closing = False

    def close(self) -> None:
        self._closing = True
        self._probes.shutdown(wait=False, cancel_futures=True)

    def expect(self, employee: str, visitor: Visitor, *, blank: bool) -> None:
        """Whom an employee must let in. When that changes under a running container (a claim),
        it is asked anew."""
        with self._guard:
            if self._visitors.get(employee) != visitor:
                self._visitors[employee] = visitor
                seen = self._sightings.get(employee)
                if seen is not None:
                    self._sightings[employee] = replace(seen, verified=None, since=self._clock())
            (self._blanks.add if blank else self._blanks.discard)(employee)

    def see(self, containers: Iterable[ContainerSeen], at: float, customer: str | None = None
            ) -> None:
        """Takes a look at reality, begun `at` (monotonic seconds): of everybody, or of one
        customer."""
        now = self._clock()
        with self._guard:
            found: set[str] = set()
            for container in containers:
                employee = container.employee
                if employee is not None:
                    found.add(employee)
                    if at >= self._seen_at.get(employee, at):
                        self._seen_at[employee] = at
                        self._take(employee, container, now)
            for employee in list(self._sightings):
                row = self._rows.get(employee)
                if employee not in found and at >= self._seen_at.get(employee, at) and (
                        customer is None or (row is not None and row["customer"] == customer)):
                    del self._sightings[employee]
                    self._seen_at[employee] = at

    def visitor(self, employee: str) -> Visitor | None:
        """Whom it lets in; None until its documents were seen."""
        with self._guard:
            return self._visitors.get(employee)

    def is_blank(self, employee: str) -> bool:
        """Whether what runs is still a blank, whatever its document says by now."""
        with self._guard:
            return employee in self._blanks

    def sighting(self, employee: str) -> Sighting | None:
        with self._guard:
            return self._sightings.get(employee)

    def verification(self, employee: str) -> Future[str | None] | None:
        """The probe of the container seen last: None as its result means that it answered."""
        with self._guard:
            pair = self._verifying.get(employee)
            return pair[1] if pair else None

    def asleep(self) -> dict[str, datetime]:
        """Who sleeps, since when."""
        with self._guard:
            return dict(self._asleep)

    def mark_asleep(self, employee: str, since: datetime | None) -> None:
        """Records that it sleeps (None: that it is awake), at once: visitors are let in by it."""
        with self._guard:
            if since is None:
                self._asleep.pop(employee, None)
            else:
                self._asleep[employee] = since
            row, seen = self._rows.get(employee), self._sightings.get(employee)
            is_cold = since is None and seen is not None and not (seen.running or seen.paused)
            if since is None and seen is not None and not seen.running:
                # It goes on already; the next look would say so, and a turn may come before it.
                seen = replace(seen, running=True, paused=False, since=self._clock())
                if is_cold:
                    seen = replace(seen, address=None, verified=None)
                self._sightings[employee] = seen
            self._seen_at[employee] = time.monotonic()  # a look from before it says nothing now
            if row is None:
                return
            row = row | {"asleep_since": since}
            if is_cold:
                # It starts from nothing, perhaps at another address: nobody is sent there before
                # it was seen to answer.
                row |= {"health_status": "Progressing", "reason": "it wakes from a cold start",
                        "address": None}
            self._write_row(employee, row)

    def rows(self) -> dict[str, dict[str, Any]]:
        with self._guard:
            return dict(self._rows)

    def write(self, employee: Employee, judgement: Judgement, revision: str | None) -> bool:
        """Records an employee's status; returns whether anything was new."""
        with self._guard:
            seen = self._sightings.get(employee.id)
            row = {
                "customer": employee.customer, "name": employee.name, "role": employee.role,
                "desired_state": employee.state, "sync_status": judgement.sync_status,
                "health_status": judgement.health_status, "reason": judgement.reason,
                "deadline": judgement.deadline, "revision": revision,
                "address": seen.address if seen else None,
                "container_id": seen.container_id if seen else None,
                "image": seen.image if seen else None,
                "asleep_since": self._asleep.get(employee.id),
            }
            return self._write_row(employee.id, row)

    def write_vanished(self, employee: str, customer: str, reason: str) -> bool:
        """Records that an employee's document is gone: stopped, its files kept."""
        with self._guard:
            before = self._rows.get(employee) or dict.fromkeys(_EMPLOYEE_COLUMNS) | {
                "customer": customer, "name": employee, "role": ""}
            return self._write_row(employee, before | {
                "desired_state": "vanished", "sync_status": "OutOfSync",
                "health_status": "Missing", "reason": reason, "deadline": None,
                "address": None, "container_id": None, "asleep_since": None})

    def forget(self, employee: str) -> None:
        with self._guard:
            self._rows.pop(employee, None)
            self._seen_at.pop(employee, None)
            self._outbox.forget_employee(employee)

    def write_stack(self, stack: str, **fields: Any) -> bool:
        with self._guard:
            before = self._stacks.get(stack, {})
            after = before | fields
            if after == before:
                return False
            self._outbox.stack(stack, **fields)
            self._stacks[stack] = after
            return True

    def stacks(self) -> dict[str, dict[str, Any]]:
        """The rows of the stacks as last written."""
        with self._guard:
            return dict(self._stacks)

    def _write_row(self, employee: str, row: dict[str, Any]) -> bool:
        before = self._rows.get(employee)
        if before == row:
            return False
        self._outbox.employee(employee, **row)
        self._rows[employee] = row
        if before is None or before["health_status"] != row["health_status"] or (
                before["sync_status"] != row["sync_status"]):
            self._outbox.event(
                kind=row["health_status"], customer=row["customer"], employee=employee,
                message=f"{row['name']} is {row['sync_status']}, {row['health_status']}"
                        + (f": {row['reason']}" if row["reason"] else ""))
        return True

    def _take(self, employee: str, container: ContainerSeen, now: datetime) -> None:
        before = self._sightings.get(employee)
        # A pause is no end: the same process goes on, and needs no new proof that it answers.
        same = before is not None and before.container_id == container.id and (
            before.address == container.address and
            (before.running or before.paused) == (container.running or container.paused))
        if same and before is not None:
            goes_on = container.running and not before.running
            sighting = replace(before, running=container.running, paused=container.paused,
                               docker_health=container.health, image=container.image,
                               since=now if goes_on else before.since)
        else:
            known = before is None and self._answered.get(employee) == (
                container.id, container.address)
            sighting = Sighting(container.id, container.running, container.address,
                                container.image, container.health, since=now,
                                paused=container.paused, verified=True if known else None)
        self._sightings[employee] = sighting
        if before is None and sighting.verified is True and sighting.running:
            self._ask_again(employee, sighting)
        if sighting.running and sighting.address and sighting.verified is not True:
            self._verify(employee, sighting)

    def _ask_again(self, employee: str, sighting: Sighting) -> None:
        """Whether an earlier process' verdict still holds: when not, it is verified anew."""
        visitor = self._visitors.get(employee)
        if visitor is None or self._closing:
            return

        def ask(address: str = sighting.address or "") -> None:
            if answers(address, visitor) is None:
                return
            with self._guard:
                seen = self._sightings.get(employee)
                if seen is not None and seen.container_id == sighting.container_id and seen.running:
                    self._sightings[employee] = replace(seen, verified=None)
                    self._verify(employee, self._sightings[employee])
        self._probes.submit(ask)

    def _verify(self, employee: str, sighting: Sighting) -> None:
        visitor, is_blank = self._visitors.get(employee), employee in self._blanks
        if visitor is None:
            return  # seen before its documents were
        key = f"{sighting.container_id} {sighting.address}"
        pair = self._verifying.get(employee)
        if self._closing or (pair and pair[0] == f"{key} {visitor.user}" and not pair[1].done()):
            return

        def current() -> Sighting | None:
            seen = self.sighting(employee)
            return seen if seen is not None and seen.running and (
                f"{seen.container_id} {seen.address}" == key) else None

        def is_current() -> bool:
            return current() is not None and self._visitors.get(employee) == visitor

        def ask(address: str = sighting.address or "") -> str | None:
            if not is_blank:  # a blank starts at leisure
                self._boost.lend(employee)
            problem = wait_until_ready(address, visitor, time.monotonic() + FIRST_ANSWER_S,
                                       lambda: self._closing or not is_current())
            if problem is None and is_blank and is_current():
                self._warm_up(employee, address, visitor)
            self._boost.answered(employee)
            with self._guard:
                seen = current()
                if seen is not None and is_current():
                    self._sightings[employee] = replace(seen, verified=problem or True)
            return problem
        self._verifying[employee] = (f"{key} {visitor.user}", self._probes.submit(ask))


_EMPLOYEE_COLUMNS = ("customer", "name", "role", "desired_state", "sync_status", "health_status",
                     "reason", "deadline", "revision", "address", "container_id", "image",
                     "asleep_since")
_STACK_COLUMNS = ("revision", "digest", "failures", "retry_at", "waiting_for", "sync_status",
                  "health_status", "reason")


def _comparable(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _EMPLOYEE_COLUMNS}
