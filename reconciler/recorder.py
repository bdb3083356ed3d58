"""Writes what is known after each turn: every employee judged, every stack with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from reconciler.book import LOOP, Book
from reconciler.decide import PLATFORM, Decision, Drift, Wanted, is_expired, stack_of
from reconciler.fleet import Fleet
from reconciler.judge import Judgement, judge
from reconciler.outbox import Outbox
from reconciler.queue import FairQueue
from reconciler.world import PARTS, Look
from state_repo.documents import Employee
from state_repo.snapshot import CustomerState, Snapshot

_VANISHED = ("its document vanished from the state repo; it was stopped and its files are kept. "
             "Restore the file, or restore it and retire it")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the loop found out. `halt`: why nothing new is applied, if so.
    `commit`: the last one taken. `frozen`: what is said of who stands still."""

    snapshot: Snapshot
    commit: str
    platform_digest: str
    decision: Decision
    look: Look
    drift: dict[str, tuple[Drift, ...]]
    halt: str | None
    now: datetime
    lost_reason: Callable[[str], str] = lambda employee: f"the files of {employee} are gone"
    frozen: Mapping[str, Judgement] = field(default_factory=dict)


class Recorder:
    def __init__(self, outbox: Outbox, fleet: Fleet, book: Book, queue: FairQueue) -> None:
        self._outbox, self._fleet, self._book, self._queue = outbox, fleet, book, queue

    def write(self, turn: Turn) -> None:
        halt = turn.halt or (turn.decision.hold.reason if turn.decision.hold else "")
        self._fleet.write_stack(
            LOOP, revision=turn.commit, sync_status="OutOfSync" if halt else "Synced",
            health_status="Degraded" if halt else "Healthy", reason=halt)
        self._platform(turn)
        wanted = self._book.wanted()
        for customer in turn.snapshot.customers.keys() | wanted.keys():
            self._customer(turn, customer, wanted.get(customer))

    def _platform(self, turn: Turn) -> None:
        record = self._book.record(PLATFORM)
        unreachable = {part: why for part, why in turn.look.unreachable.items() if part in PARTS}
        problem = self._book.problem(PLATFORM)
        frozen = turn.decision.held.get(PLATFORM, "")
        drift = turn.drift.get(PLATFORM, ())
        applied = record.digest == turn.platform_digest
        unknown = "; ".join(f"{PARTS[part]} can't be checked: {why}"
                            for part, why in unreachable.items())
        if unreachable:
            sync = "Unknown"
        else:
            sync = "Synced" if applied and not problem and not drift and not frozen else "OutOfSync"
        healthy = not unreachable and not problem and not drift
        self._fleet.write_stack(
            PLATFORM, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=problem.waiting_for if problem else None,
            sync_status=sync,
            health_status="Progressing" if not record.digest and not problem
            else "Healthy" if healthy else "Degraded",
            reason=frozen or (problem.message if problem else "") or unknown
            or "; ".join(map(str, drift)))

    def _customer(self, turn: Turn, customer: str, wanted: Wanted | None) -> None:
        stack = stack_of(customer)
        record, failure = self._book.record(stack), self._book.problem(stack)
        held = turn.decision.held.get(customer)
        problem = (failure.message if failure else None) or turn.halt or held
        blames = failure.blames if failure else {}
        cause = {a.stack: a.cause for a in turn.decision.actions}.get(stack)
        pending = cause in ("commit", "retry") or record.digest is None
        unseen = next((turn.look.unreachable[part] for part in ("docker", stack)
                       if part in turn.look.unreachable), None)
        drift = turn.drift.get(stack, ())
        lost = turn.decision.lost.get(customer, frozenset())
        state, waiting = self._shown(turn, customer, wanted)
        health, asleep = [], self._fleet.asleep()
        grace = turn.snapshot.platform.grace_days
        for employee in state.employees.values() if state else ():
            seen = self._fleet.sighting(employee.id)
            if seen and employee.state != "warm" and self._fleet.is_blank(employee.id):
                seen = replace(seen, verified=None)  # hired, and the claim is under way
            if is_expired(employee, grace, turn.now) and not pending and seen is None:
                if employee.id in self._fleet.rows():
                    self._fleet.forget(employee.id)
                continue
            # What went wrong with a colleague is not this one's trouble.
            own = blames.get(employee.id) if blames else problem
            drifted = next((str(d) for d in drift if employee.id in d.name), "")
            # The run that failed for a colleague was done for everybody else.
            was_done = failure is not None and failure.is_partly_done() and (
                cause != "commit" and employee.id not in blames)
            working = failure is None and (cause is not None or self._queue.running(stack))
            if employee.id in lost:
                judgement = Judgement("OutOfSync", "Missing", turn.lost_reason(employee.id))
            elif employee.id in turn.frozen and seen is not None and seen.paused:
                judgement = turn.frozen[employee.id]
            else:
                judgement = judge(
                    employee, seen, applied=(was_done or not pending) and not drifted and (
                        employee.id not in waiting),
                    problem=own or ("" if working else drifted) or None, now=turn.now,
                    suspended=bool(state and state.customer and state.customer.suspended),
                    docker_answers=unseen is None, asleep=employee.id in asleep,
                    retry_at=record.retry_at, working=working, note=drifted,
                    kept_until=_kept_until(employee, grace))
            self._fleet.write(employee, judgement, record.revision)
            if employee.state != "warm":
                health.append(judgement.health_status)
        for vanished in turn.decision.kept.get(customer, ()):
            if self._fleet.write_vanished(vanished, customer, _VANISHED):
                self._outbox.event("Vanished", f"the document of {vanished} vanished; it was "
                                   "stopped and its files are kept", customer, vanished)
        if unseen is not None:
            sync = "Unknown"
        else:
            sync = "OutOfSync" if pending or problem or drift or lost else "Synced"
        worst = "Degraded" if failure or {"Degraded", "Missing"} & set(health) else (
            "Progressing" if "Progressing" in health or pending else "Healthy")
        self._fleet.write_stack(
            stack, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=failure.waiting_for if failure else None,
            sync_status=sync, health_status=worst,
            reason=problem or unseen or "; ".join(map(str, drift)))

    def _shown(self, turn: Turn, customer: str, wanted: Wanted | None
               ) -> tuple[CustomerState | None, frozenset[str]]:
        """The documents by which a customer's employees are judged, and who of them waits to be
        made: while it is held, what was applied counts, and who is new beside it."""
        state = turn.snapshot.customers.get(customer)
        if customer not in turn.decision.held or wanted is None:
            return state, frozenset()
        new = {} if state is None else {
            e.id: e for e in state.employees.values() if e.id not in wanted.state.employees}
        return replace(wanted.state, employees={**wanted.state.employees, **new}), frozenset(new)


def _kept_until(employee: Employee, grace_days: int) -> str | None:
    if not employee.retired_at:
        return None
    return f"{datetime.fromisoformat(employee.retired_at) + timedelta(days=grace_days):%Y-%m-%d}"
