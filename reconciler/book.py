"""What the loop remembers of each stack: what was applied, what failed, and what it waits for.

What was applied is kept in the table `applied` and read back from git at start; a failure is
tried again at once after a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.converge import Outcome
from reconciler.decide import (
    PLATFORM,
    REFRESH_EVERY,
    Action,
    Applied,
    Wanted,
    customer_of,
    is_expired,
    spread,
)
from reconciler.outbox import Outbox
from reconciler.queue import backoff
from state_repo.documents import Platform
from state_repo.status import AppliedStack
from state_repo.store import Store

log = logging.getLogger(__name__)
LOOP = "loop"  # the stack row of the loop itself: the last commit taken, and why it is halted
_POLICY_WAITS = timedelta(hours=6)  # only other documents mend a violation


class Book:
    """`rows`: what was applied before this process; `owners`: whose each employee's id is."""

    def __init__(self, outbox: Outbox, store: Store, rows: list[AppliedStack],
                 owners: dict[str, str], now: datetime) -> None:
        self._guard, self._outbox, self._owners = threading.RLock(), outbox, owners
        self._problems: dict[str, Outcome] = {}
        self._wanted: dict[str, Wanted] = {}
        self._applied: dict[str, Applied] = {}
        self.platform: Platform | None = None
        for row in rows:
            try:
                self._remember(store, row, now)
            except Exception as error:  # garbage that was collected, or a repo that was replaced
                log.warning("what was applied to %s (%s) can't be read any more: %s", row.stack,
                            row.revision[:10], error)
                self._applied.pop(row.stack, None)

    def _remember(self, store: Store, row: AppliedStack, now: datetime) -> None:
        customer = customer_of(row.stack)
        platform = store.platform(row.revision)
        if customer is not None:
            state = store.read_customer(row.revision, customer)
            self._wanted[customer] = Wanted(
                platform, state, frozenset(row.kept),
                frozenset(e.id for e in state.employees.values()
                          if is_expired(e, platform.grace_days, now)), frozenset(row.lost))
        elif row.stack == PLATFORM:
            self.platform = platform
        self._applied[row.stack] = Applied(
            row.revision, row.digest, refreshed_at=now - spread(row.stack, REFRESH_EVERY))

    def applied(self) -> dict[str, Applied]:
        with self._guard:
            return dict(self._applied)

    def record(self, stack: str) -> Applied:
        with self._guard:
            return self._applied.get(stack, Applied())

    def problem(self, stack: str) -> Outcome | None:
        """The last failure, while it lasts."""
        with self._guard:
            return self._problems.get(stack)

    def wanted(self) -> dict[str, Wanted]:
        """By customer, what was applied last."""
        with self._guard:
            return dict(self._wanted)

    def owners(self) -> Mapping[str, str]:
        """By employee's id, the customer that it belongs to, for ever."""
        return self._owners

    def succeeded(self, action: Action, now: datetime, made: Wanted | Platform) -> None:
        with self._guard:
            before = self.record(action.stack)
            refreshed = now if action.refresh else before.refreshed_at or now
            if _is_repair(action, before) and before.attempted != action.digest:
                # Newer documents go on waiting.
                self._applied[action.stack] = replace(before, refreshed_at=refreshed)
                return
            self._applied[action.stack] = Applied(
                action.revision, action.digest, action.digest, refreshed_at=refreshed)
            self._problems.pop(action.stack, None)
            kept: frozenset[str] = frozenset()
            lost: frozenset[str] = frozenset()
            if isinstance(made, Wanted):
                self._made(made)
                kept, lost = made.kept, made.lost
            else:
                self.platform = made
            self._outbox.applied(action.stack, revision=action.revision, digest=action.digest,
                                 kept=sorted(kept), lost=sorted(lost))

    def partly(self, action: Action, made: Wanted) -> None:
        """Part of newer documents was brought into force: it is what is repaired from now on, and
        the older ones are no longer what is there. Not kept over a restart: they are then looked
        at anew, and the same part of them is found."""
        with self._guard:
            before = self.record(action.stack)
            self._applied[action.stack] = replace(
                before, digest=f"part of {action.digest}",
                revision=before.revision or action.revision)
            self._made(made)

    def _made(self, made: Wanted) -> None:
        self._wanted[made.state.id] = made
        for employee in made.state.employees.keys() - self._owners.keys():
            self._owners[employee] = made.state.id
            self._outbox.owner(employee, made.state.id)

    def failed(self, action: Action, now: datetime, outcome: Outcome) -> None:
        with self._guard:
            before = self.record(action.stack)
            if _is_repair(action, before) and before.waits_for == "policy":
                self._applied[action.stack] = replace(before, repair_at=now + backoff(6))
                return
            failures = before.failures + 1 if before.attempted == action.digest else 1
            waits_for = outcome.waiting_for or "engine"
            wait = _POLICY_WAITS if waits_for == "policy" else backoff(failures)
            self._applied[action.stack] = replace(
                before, attempted=action.digest, failures=failures, retry_at=now + wait,
                waits_for=waits_for, repair_at=None)
            self._problems[action.stack] = replace(outcome, waiting_for=waits_for)

    def release(self, parts: set[str]) -> None:
        """Backoff ends with its cause: whoever waited for one of the parts goes at once."""
        with self._guard:
            for stack, problem in self._problems.items():
                if problem.waiting_for in parts or problem.waiting_for == "engine":
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


def _is_repair(action: Action, before: Applied) -> bool:
    """Of what was applied; a commit that goes back to it is a change like any other."""
    return action.cause != "commit" and action.digest == before.digest
