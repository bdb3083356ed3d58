"""What to do now: a pure function of what is wanted, what was applied, what was seen, and the time.

Nothing here reads a clock, a file or a socket, so every rule of the loop is tested with literal
values. What ran is what was *applied*: the status rows, which say what people should know, are no
input of a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from reconciler.allowed import corruption, stops_only
from state_repo.documents import Customer, Employee, Platform, Skill
from state_repo.snapshot import CustomerState, Snapshot

PLATFORM = "platform"
REFRESH_EVERY = timedelta(hours=6)
Cause = Literal["commit", "drift", "retry", "refresh"]
_NOBODY: frozenset[str] = frozenset()
_NO_SKILLS: Mapping[str, Skill] = {}


def stack_of(customer: str) -> str:
    return f"customer/{customer}"


def customer_of(stack: str) -> str | None:
    return stack.removeprefix("customer/") if stack.startswith("customer/") else None


@dataclass(frozen=True, slots=True)
class Applied:
    """What is recorded of one stack: the last success, and the failures since. `waits_for`: what
    the last failure waits for ("policy" ends with other documents, "engine" with time, a part
    when it answers again)."""

    revision: str | None = None
    digest: str | None = None
    attempted: str | None = None
    failures: int = 0
    retry_at: datetime | None = None
    refreshed_at: datetime | None = None
    waits_for: str | None = None
    repair_at: datetime | None = None  # while newer documents wait: when drift is next repaired


@dataclass(frozen=True, slots=True)
class Wanted:
    """One customer as it is to be, or was last, applied. Of its employees, `kept` have no
    document any more, `lost` have no files any more, and of `expired` the grace is over."""

    platform: Platform
    state: CustomerState
    kept: frozenset[str] = frozenset()
    expired: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


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
class Seen:
    """What reality shows beside what was applied. `running`: employee to customer, of containers
    that run. `lost`: by customer, the employees whose volume is gone; None when nothing could be
    seen. `unshared`: customers whose knowledge is gone, each with what to do."""

    running: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, frozenset[str]] | None = field(default_factory=dict)
    unshared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """An engineer's word: a rewritten history up to `commit`, and that `employees` may stop."""

    commit: str | None = None
    employees: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hold:
    """Customers that are not brought to a snapshot until an engineer agrees. `commit`: the newest
    one when it began. `stops`: by customer, who would stop. `of`: how many ran when it began."""

    commit: str
    stops: Mapping[str, tuple[str, ...]]
    of: int

    @property
    def employees(self) -> frozenset[str]:
        return frozenset(e for stopped in self.stops.values() for e in stopped)

    @property
    def reason(self) -> str:
        names = sorted(self.employees)
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        short = self.commit[:10]
        return (f"commit {short} would stop {len(names)} of {self.of} running employees at once "
                f"({', '.join(names[:10])}{more}). Nothing was stopped, and nothing else is "
                f"applied for {', '.join(sorted(self.stops))} meanwhile. If that is meant: "
                f"iw confirm {short}; else revert it.")


@dataclass(frozen=True, slots=True)
class Decision:
    """`held`: per customer, why it is not brought to the snapshot. `kept` and `lost`: per
    customer that is, see `Wanted`. `stopping`: who the snapshot would stop, held or not."""

    actions: tuple[Action, ...] = ()
    hold: Hold | None = None
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    stopping: frozenset[str] = frozenset()


def is_expired(employee: Employee, grace_days: int, now: datetime) -> bool:
    """Whether a retired employee's grace is over, so that its volume may go."""
    if employee.state != "retired" or not employee.retired_at:
        return False
    return datetime.fromisoformat(employee.retired_at) + timedelta(days=grace_days) <= now


def digest_of(state: CustomerState, platform: str, kept: frozenset[str], grace_days: int,
              now: datetime, lost: frozenset[str] = _NOBODY,
              skills: Mapping[str, Skill] = _NO_SKILLS) -> str:
    """What a customer's stack depends on, as 16 hex digits: its documents (git's own tree hash),
    the platform's part, the skills that its employees were given, the vanished and the lost
    employees, and whose grace is over."""
    expired = sorted(e.id for e in state.employees.values() if is_expired(e, grace_days, now))
    parts = [state.digest, platform, *sorted(kept), "expired", *expired]
    if lost:
        parts += ["lost", *sorted(lost)]
    if given := given_skills(state, skills):
        parts += ["skills", *given]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def given_skills(state: CustomerState, skills: Mapping[str, Skill]) -> list[str]:
    """The skills that a customer's employees were given, each with its digest."""
    given = {name for employee in state.employees.values() for name in employee.skills}
    return [f"{name} {skills[name].digest}" for name in sorted(given & skills.keys())]


def kept_of(state: CustomerState, ran: Wanted | None, unknown: Collection[str], grace_days: int,
            now: datetime) -> frozenset[str]:
    """Employees of this customer that were applied (or run, though nothing is known to have been
    applied) and have no document any more."""
    if ran is None:
        return frozenset(unknown) - state.employees.keys()
    had = {e.id for e in ran.state.employees.values() if not is_expired(e, grace_days, now)}
    return frozenset((had | ran.kept) - state.employees.keys())


def would_stop(was: Customer, old: Employee, now: Customer | None, new: Employee | None) -> bool:
    """Whether a running employee would be stopped or its container replaced.

    Who is paused for want of a seat does not count: its company has fewer than it had, which is
    no accident.
    """
    if old.state != "running" or was.suspended:
        return False
    if new is None or now is None or now.suspended:
        return True
    if new.state != "running":
        return new.seat
    return (new.image, new.restarts, now.subnet) != (old.image, old.restarts, was.subnet)


def stops_of(snapshot: Snapshot, ran: Mapping[str, Wanted], running: Mapping[str, str]
             ) -> tuple[dict[str, tuple[str, ...]], int]:
    """Who the snapshot would stop, by customer, and how many run. A customer that is corrupt stops
    whom its readable documents stop; one that vanished as a whole stops nobody: it is held anyway.
    """
    stops: dict[str, tuple[str, ...]] = {}
    count = 0
    for customer, was in ran.items():
        company = was.state.customer
        if company is None:
            continue
        before = [e for e in was.state.employees.values() if e.id not in was.lost]
        count += sum(e.state == "running" and not company.suspended for e in before)
        state = snapshot.customers.get(customer)
        if state is None:
            continue
        if corruption(state):
            state = stops_only(was.state, state)
            if state is None:
                continue
        stopped = tuple(e.id for e in before if would_stop(
            company, e, state.customer, state.employees.get(e.id)))
        if stopped:
            stops[customer] = stopped
    # Of whom nothing is known to have been applied, what runs is what ran.
    for employee, customer in running.items():
        if customer in ran:
            continue
        count += 1
        state = snapshot.customers.get(customer)
        if state is None or state.customer is None or corruption(state):
            continue  # what ran is not known, so nothing of a corrupt one is brought into force
        document = state.employees.get(employee)
        if document is None or state.customer.suspended or (
                document.state not in ("running", "warm") and document.seat):
            stops[customer] = (*stops.get(customer, ()), employee)
    return stops, count


def brake(stops: Mapping[str, tuple[str, ...]], running: int, snapshot: Snapshot,
          confirmed: Confirmed, before: Hold | None = None) -> Hold | None:
    """Holds the customers of whom too many would stop at once; everybody else goes on.

    Who is held stays held until it is confirmed or reverted, however many others are hired
    meanwhile; a few stops of other customers that come later are judged by themselves.
    """
    limits = snapshot.platform.brakes
    open_stops = {customer: left for customer, stopped in stops.items()
                  if (left := tuple(e for e in stopped if e not in confirmed.employees))}

    def too_many(customers: Collection[str], of: int) -> bool:
        count = sum(len(open_stops[c]) for c in customers)
        return count > limits.max_stop_count and count * 100 > limits.max_stop_percent * of
    of = min(running, before.of) if before else running
    held = {c for c in before.stops if c in open_stops} if before else set()
    if not too_many(held, of):
        held = set()
    fresh = open_stops.keys() - held
    if too_many(fresh, running):
        held |= fresh
    if not held:
        return None
    found = Hold(snapshot.commit, {c: open_stops[c] for c in sorted(held)}, of)
    same = before is not None and before.stops == found.stops
    return replace(found, commit=before.commit) if before and same else found


def claimed_twice(snapshot: Snapshot, owners: Mapping[str, str]) -> dict[str, str]:
    """By customer, why it is held: a document of its uses an id that is another customer's, or
    that another one claims at the same time."""
    claims: dict[str, list[str]] = {}
    for customer, state in snapshot.customers.items():
        for employee in state.employees:
            claims.setdefault(employee, []).append(customer)
    found: dict[str, str] = {}
    for employee, customers in claims.items():
        owner = owners.get(employee)
        if len(customers) == 1 and owner in (None, customers[0]):
            continue
        for customer in customers:
            if customer != owner:
                others = [owner] if owner else [c for c in customers if c != customer]
                found[customer] = (
                    f"customers/{customer}/employees/{employee}.yaml uses an id that belongs to "
                    f"{', '.join(others)}, and an id is one customer's for ever. Remove the file "
                    "and hire anew; until then this customer stays as it was applied last")
    return found


def decide(snapshot: Snapshot, platform_digest: str, applied: Mapping[str, Applied],
           ran: Mapping[str, Wanted], drift: Mapping[str, tuple[Drift, ...]], now: datetime, *,
           seen: Seen | None = None, confirmed: Confirmed | None = None,
           owners: Mapping[str, str] | None = None, before: Hold | None = None,
           refresh_every: timedelta = REFRESH_EVERY, shared_digest: str | None = None
           ) -> Decision:
    """The Actions that are due. Only what changed, drifted, failed or waited long gets one.

    `platform_digest`: of what the platform's stack depends on; `shared_digest`: of the part of it
    that customers' stacks depend on (None: all of it).
    `ran`: by customer, what was applied last. `owners`: by employee's id, the customer that it
    belongs to, for ever. `before`: the hold of the turn before.
    """
    seen, confirmed = seen or Seen(), confirmed or Confirmed()
    shared = platform_digest if shared_digest is None else shared_digest
    stops, running = stops_of(snapshot, ran, seen.running)
    hold = brake(stops, running, snapshot, confirmed, before)
    actions: list[Action] = []
    kept: dict[str, frozenset[str]] = {}
    lost: dict[str, frozenset[str]] = {}
    held: dict[str, str] = {}
    unknown: dict[str, set[str]] = {}
    for employee, customer in seen.running.items():
        unknown.setdefault(customer, set()).add(employee)

    def consider(stack: str, digest: str, revision: str) -> None:
        record = applied.get(stack, Applied())
        if record.failures and record.attempted != digest == record.digest and (
                revision != record.revision):
            # It may have been begun, and its trouble ends with it. (Who is held is at the revision
            # that was applied last: there the newer documents only wait.)
            actions.append(Action(stack, "commit", revision, digest,
                                  "what had failed was taken back", refresh=True))
            return
        action = _due(stack, digest, revision, record, drift.get(stack, ()), now, refresh_every)
        if action is not None:
            actions.append(action)

    def stay(customer: str, why: str) -> None:
        """Held at what was last applied: only drift from that is repaired."""
        held[customer] = why
        record = applied.get(stack_of(customer), Applied())
        if record.revision and record.digest:
            consider(stack_of(customer), record.digest, record.revision)

    if freeze := snapshot.freeze_of(None, now):
        held[PLATFORM] = str(freeze)
    else:
        consider(PLATFORM, platform_digest, snapshot.commit)
    taken = claimed_twice(snapshot, owners or {})
    grace, skills = snapshot.platform.grace_days, snapshot.platform.skills
    for customer, state in snapshot.customers.items():
        if freeze := snapshot.freeze_of(customer, now):
            held[customer] = str(freeze)
            continue
        if customer in seen.unshared:
            # Nothing at all: whatever is run would make what is gone anew, and empty.
            held[customer] = seen.unshared[customer]
            continue
        if customer in taken:
            stay(customer, taken[customer])
            continue
        if hold is not None and customer in hold.stops:
            stay(customer, hold.reason)
            continue
        was = ran.get(customer)
        if wrong := corruption(state):
            stay(customer, "held at its last good state: " + "\n".join(map(str, wrong)))
            if was is not None and stops_only(was.state, state):
                kept[customer], lost[customer] = was.kept, was.lost
                consider(stack_of(customer), digest_of(state, shared, was.kept, grace, now,
                                                       was.lost, skills), snapshot.commit)
            continue
        kept[customer] = kept_of(state, was, unknown.get(customer, ()), grace, now)
        lost[customer] = (seen.lost.get(customer, _NOBODY) if seen.lost is not None
                          else was.lost if was else _NOBODY)
        consider(stack_of(customer), digest_of(state, shared, kept[customer], grace, now,
                                               lost[customer], skills), snapshot.commit)
    for stack in applied:
        gone = customer_of(stack)
        if gone is None or gone in snapshot.customers:
            continue
        if freeze := snapshot.freeze_of(gone, now):
            held[gone] = str(freeze)
        else:
            stay(gone, f"customers/{gone}/ vanished from the state repo; restore it, or retire "
                       "its employees first. It is held at its last good state.")
    return Decision(tuple(actions), hold, kept, lost, held,
                    frozenset(e for stopped in stops.values() for e in stopped))


def _due(stack: str, digest: str, revision: str, record: Applied, drift: tuple[Drift, ...],
         now: datetime, refresh_every: timedelta) -> Action | None:
    if record.attempted not in (None, digest) and digest == record.digest:
        # What failed were other documents, which are held.
        record = replace(record, failures=0, retry_at=record.repair_at)
    waits = record.retry_at is not None and record.retry_at > now
    if digest != record.digest:
        if record.attempted == digest and waits:
            # What the rules refuse was not begun: what was applied before goes on being repaired.
            if record.waits_for == "policy" and drift and record.revision and record.digest and (
                    record.repair_at is None or record.repair_at <= now):
                return Action(stack, "drift", record.revision, record.digest,
                              "; ".join(map(str, drift)), refresh=True)
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


def spread(stack: str, every: timedelta) -> timedelta:
    """How long before a restart a stack counts as refreshed: the same for each stack every time,
    and different between stacks, so that they do not fall due together."""
    share = int.from_bytes(hashlib.sha256(stack.encode()).digest()[:4]) / 2**32
    return every * share
