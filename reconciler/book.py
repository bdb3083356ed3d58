"""What the loop remembers of each stack: what was applied, what failed, and what it waits for.

In memory, and rebuilt at start from the status tables and git: after a restart a failure is tried
again at once, and what was applied is what the tables say.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.converge import Outcome
from reconciler.decide import PLATFORM, Action, Applied, customer_of
from reconciler.queue import backoff
from reconciler.world import Wanted
from state_repo.documents import Platform
from state_repo.status import StatusStore
from state_repo.store import Store

LOOP = "loop"  # the stack row of the loop itself: the last commit taken, and why it is halted
_POLICY_WAITS = timedelta(hours=6)  # only a new commit mends a violation


class Book:
    def __init__(self, status: StatusStore, store: Store, now: datetime) -> None:
        self._guard = threading.RLock()
        self._problems: dict[str, tuple[str, str]] = {}
        self._wanted: dict[str, Wanted] = {}
        self.platform: Platform | None = None
        rows = [row for row in status.stacks() if row.id != LOOP]
        self._applied = {row.id: Applied(row.revision, row.digest, refreshed_at=now)
                         for row in rows}
        for row in rows:
            if not row.revision or not row.digest:
                continue
            customer = customer_of(row.id)
            if customer is not None:
                kept = frozenset(e.id for e in status.employees(customer)
                                 if e.desired_state == "vanished")
                self._wanted[customer] = Wanted(
                    store.snapshot(row.revision).platform,
                    store.read_customer(row.revision, customer), kept)
            elif row.id == PLATFORM:
                self.platform = store.snapshot(row.revision).platform

    def applied(self) -> dict[str, Applied]:
        with self._guard:
            return dict(self._applied)

    def record(self, stack: str) -> Applied:
        with self._guard:
            return self._applied.get(stack, Applied())

    def problem(self, stack: str) -> tuple[str, str] | None:
        """(message, what it waits for) of the last failure, while it lasts."""
        with self._guard:
            return self._problems.get(stack)

    def wanted(self) -> dict[str, Wanted]:
        """By customer, what was applied last."""
        with self._guard:
            return dict(self._wanted)

    def succeeded(self, action: Action, now: datetime, made: Wanted | Platform) -> None:
        with self._guard:
            before = self.record(action.stack)
            self._applied[action.stack] = Applied(
                action.revision, action.digest, action.digest,
                refreshed_at=now if action.refresh else before.refreshed_at or now)
            self._problems.pop(action.stack, None)
            if isinstance(made, Wanted):
                self._wanted[made.state.id] = made
            else:
                self.platform = made

    def failed(self, action: Action, now: datetime, outcome: Outcome) -> None:
        with self._guard:
            before = self.record(action.stack)
            failures = before.failures + 1 if before.attempted == action.digest else 1
            wait = _POLICY_WAITS if outcome.waiting_for == "policy" else backoff(failures)
            self._applied[action.stack] = replace(
                before, attempted=action.digest, failures=failures, retry_at=now + wait)
            self._problems[action.stack] = (outcome.message, outcome.waiting_for or "engine")

    def release(self, parts: set[str]) -> None:
        """Backoff ends with its cause: whoever waited for one of the parts goes at once."""
        with self._guard:
            for stack, (_, waiting_for) in self._problems.items():
                if waiting_for in parts or waiting_for == "engine":
                    self._applied[stack] = replace(self._applied[stack], retry_at=None)

    def retry(self, stack: str) -> bool:
        """Has the stack converged again now; False when it never was."""
        with self._guard:
            if stack not in self._applied:
                return False
            record = self._applied[stack]
            self._applied[stack] = replace(record, attempted=record.attempted or record.digest,
                                           retry_at=None, failures=max(record.failures, 1))
            return True
