"""What to do now: a pure function of what is wanted, what was applied, what was seen, and the time.

Nothing here reads a clock, a file or a socket, so every rule of the loop is tested with literal
values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from state_repo.documents import Employee
from state_repo.snapshot import CustomerState, Snapshot

PLATFORM = "platform"
Cause = Literal["commit", "drift", "retry", "refresh"]


def stack_of(customer: str) -> str:
    return f"customer/{customer}"


def customer_of(stack: str) -> str | None:
    return stack.removeprefix("customer/") if stack.startswith("customer/") else None


@dataclass(frozen=True, slots=True)
class Applied:
    """What is recorded of one stack: the last success, and the failures since."""

    revision: str | None = None
    digest: str | None = None
    attempted: str | None = None
    failures: int = 0
    retry_at: datetime | None = None
    refreshed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between reality and what was last applied."""

    stack: str
    kind: str
    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Action:
    """Bring one stack to `revision`. `refresh`: read reality first."""

    stack: str
    cause: Cause
    revision: str
    digest: str
    reason: str
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A snapshot that is not applied until an engineer confirms its commit."""

    commit: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`kept`: per customer, the employees whose document vanished (stopped; volume stays).
    `corrupt`: per customer, why it is held at its last good state."""

    actions: tuple[Action, ...] = ()
    hold: Hold | None = None
    kept: Mapping[str, frozenset[str]] | None = None
    corrupt: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What is recorded of one employee: enough to tell what a snapshot would stop."""

    customer: str
    running: bool


def is_expired(employee: Employee, grace_days: int, now: datetime) -> bool:
    """Whether a retired employee's grace is over, so that its volume may go."""
    if employee.state != "retired" or not employee.retired_at:
        return False
    return datetime.fromisoformat(employee.retired_at) + timedelta(days=grace_days) <= now


def digest_of(state: CustomerState, platform: str, kept: frozenset[str], grace_days: int,
              now: datetime) -> str:
    """What a customer's stack depends on, as 16 hex digits: its documents (git's own tree hash),
    the platform's part, the vanished employees, and whose grace is over."""
    expired = sorted(e.id for e in state.employees.values() if is_expired(e, grace_days, now))
    text = "\n".join([state.digest, platform, *sorted(kept), "expired", *expired])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept_of(state: CustomerState, seen: Mapping[str, Seen]) -> frozenset[str]:
    """Employees of this customer that were seen and have no document any more."""
    return frozenset(employee for employee, row in seen.items()
                     if row.customer == state.id and employee not in state.employees)


def brake(snapshot: Snapshot, seen: Mapping[str, Seen], confirmed: str | None) -> Hold | None:
    """Holds a snapshot that would stop too many at once.

    A customer's own `suspended` does not count: it is one explicit, reversible field. Nor does who
    was paused for want of a seat: the company has fewer than it had, which is no accident.
    A corrupt customer does not count: it stays as it is.
    """
    if confirmed == snapshot.commit:
        return None
    stopped = []
    for employee, row in seen.items():
        state = snapshot.customers.get(row.customer)
        if not row.running or (state is not None and state.violations):
            continue
        document = state.employees.get(employee) if state is not None else None
        if document is None or (document.state != "running" and document.seat):
            stopped.append(employee)
    running = sum(row.running for row in seen.values())
    limits = snapshot.platform.brakes
    if len(stopped) <= limits.max_stop_count:
        return None
    if len(stopped) * 100 <= limits.max_stop_percent * running:
        return None
    return Hold(snapshot.commit,
                f"commit {snapshot.commit[:10]} would stop {len(stopped)} of {running} running "
                f"employees at once ({', '.join(sorted(stopped)[:3])}, …). Nothing was stopped. "
                f"If that is meant: iw confirm {snapshot.commit[:10]}; else revert it.")


def decide(snapshot: Snapshot, platform_digest: str, applied: Mapping[str, Applied],
           seen: Mapping[str, Seen], drift: Mapping[str, tuple[Drift, ...]], now: datetime, *,
           confirmed: str | None = None, refresh_every: timedelta = timedelta(hours=6)) -> Decision:
    """The Actions that are due. Only what changed, drifted, failed or waited long gets one."""
    hold = brake(snapshot, seen, confirmed)
    actions: list[Action] = []
    kept: dict[str, frozenset[str]] = {}
    corrupt: dict[str, str] = {}

    def consider(stack: str, digest: str, revision: str) -> None:
        action = _due(stack, digest, revision, applied.get(stack, Applied()),
                      drift.get(stack, ()), now, refresh_every)
        if action is not None:
            actions.append(action)

    consider(PLATFORM, platform_digest, snapshot.commit)
    grace = snapshot.platform.grace_days
    for customer, state in snapshot.customers.items():
        stack = stack_of(customer)
        record = applied.get(stack, Applied())
        if state.violations or state.customer is None:
            corrupt[customer] = "\n".join(map(str, state.violations)) or "customer.yaml is missing"
        if customer in corrupt or hold is not None:
            # Held at what was last applied: only drift from that is repaired, and who can't be
            # read has not vanished.
            if record.revision and record.digest:
                consider(stack, record.digest, record.revision)
            continue
        kept[customer] = kept_of(state, seen)
        consider(stack, digest_of(state, platform_digest, kept[customer], grace, now),
                 snapshot.commit)
    for stack, record in applied.items():
        lost = customer_of(stack)
        if lost is not None and lost not in snapshot.customers:
            corrupt[lost] = (f"customers/{lost}/ vanished from the state repo; restore it, or "
                             "retire its employees first. It is held at its last good state.")
            if record.revision and record.digest:
                consider(stack, record.digest, record.revision)
    return Decision(tuple(actions), hold, kept, corrupt)


def _due(stack: str, digest: str, revision: str, record: Applied, drift: tuple[Drift, ...],
         now: datetime, refresh_every: timedelta) -> Action | None:
    waits = record.retry_at is not None and record.retry_at > now
    if digest != record.digest:
        if record.attempted == digest and waits:
            return None
        again = record.attempted == digest and record.failures > 0
        return Action(stack, "retry" if again else "commit", revision, digest,
                      f"attempt {record.failures + 1}" if again else "its documents changed",
                      # A failed or interrupted run may have left something: look before acting.
                      refresh=again)
    if waits:
        return None
    if drift:
        return Action(stack, "drift", revision, digest, "; ".join(map(str, drift)), refresh=True)
    if record.failures:
        return Action(stack, "retry", revision, digest, f"attempt {record.failures + 1}",
                      refresh=True)
    if record.refreshed_at is not None and record.refreshed_at + refresh_every <= now:
        return Action(stack, "refresh", revision, digest, "a full look at reality was due",
                      refresh=True)
    return None
