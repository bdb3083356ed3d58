"""Writes what is known after each turn: every employee judged, every stack with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.book import LOOP, Book
from reconciler.decide import PLATFORM, Decision, Drift, is_expired, stack_of
from reconciler.fleet import Fleet
from reconciler.judge import judge
from reconciler.queue import FairQueue
from reconciler.world import PARTS, Look, Wanted
from state_repo.documents import Employee
from state_repo.snapshot import Snapshot
from state_repo.status import StatusStore

_VANISHED = ("its document vanished from the state repo; it was stopped and its files are kept. "
             "Restore the file, or restore it and retire it")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the loop found out. `halt`: why nothing new is applied, if so.
    `commit`: the last one taken."""

    snapshot: Snapshot
    commit: str
    platform_digest: str
    decision: Decision
    look: Look
    drift: dict[str, tuple[Drift, ...]]
    halt: str | None
    now: datetime


class Recorder:
    def __init__(self, status: StatusStore, fleet: Fleet, book: Book, queue: FairQueue) -> None:
        self._status, self._fleet, self._book, self._queue = status, fleet, book, queue

    def write(self, turn: Turn) -> None:
        self._fleet.write_stack(
            LOOP, revision=turn.commit, sync_status="OutOfSync" if turn.halt else "Synced",
            health_status="Degraded" if turn.halt else "Healthy", reason=turn.halt or "")
        self._platform(turn)
        wanted = self._book.wanted()
        for customer in turn.snapshot.customers.keys() | wanted.keys():
            self._customer(turn, customer, wanted.get(customer))

    def _platform(self, turn: Turn) -> None:
        record, unreachable = self._book.record(PLATFORM), turn.look.unreachable
        problem = self._book.problem(PLATFORM)
        drift = turn.drift.get(PLATFORM, ())
        applied = record.digest == turn.platform_digest
        unknown = "; ".join(f"{PARTS[part]} can't be checked: {why}"
                            for part, why in unreachable.items())
        if unreachable:
            sync = "Unknown"
        else:
            sync = "Synced" if applied and not problem and not drift else "OutOfSync"
        healthy = not unreachable and not problem and not drift
        self._fleet.write_stack(
            PLATFORM, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=problem[1] if problem else None,
            sync_status=sync,
            health_status="Progressing" if not record.digest and not problem
            else "Healthy" if healthy else "Degraded",
            reason=problem[0] if problem else unknown or "; ".join(map(str, drift)))

    def _customer(self, turn: Turn, customer: str, wanted: Wanted | None) -> None:
        stack = stack_of(customer)
        record, failure = self._book.record(stack), self._book.problem(stack)
        corrupt = (turn.decision.corrupt or {}).get(customer)
        problem = (failure[0] if failure else turn.halt or (
            f"held at its last good state: {corrupt}" if corrupt else None))
        state = turn.snapshot.customers.get(customer)
        if (state is None or state.customer is None or state.violations) and wanted is not None:
            state = wanted.state
        due = {a.stack: a.cause for a in turn.decision.actions}
        pending = due.get(stack) in ("commit", "retry") or record.digest is None
        docker_answers = "docker" not in turn.look.unreachable
        drift = turn.drift.get(stack, ())
        health, asleep = [], self._fleet.asleep()
        for employee in state.employees.values() if state else ():
            grace = turn.snapshot.platform.grace_days
            seen = self._fleet.sighting(employee.id)
            if seen and employee.state != "warm" and self._fleet.is_blank(employee.id):
                seen = replace(seen, verified=None)  # hired, and the claim is under way
            if is_expired(employee, grace, turn.now) and not pending and seen is None:
                if employee.id in self._fleet.rows():
                    self._fleet.forget(employee.id)
                continue
            own = problem or next((str(d) for d in drift if employee.id in d.name), None)
            judgement = judge(
                employee, seen, applied=not pending, problem=own, now=turn.now,
                suspended=bool(state and state.customer and state.customer.suspended),
                docker_answers=docker_answers, asleep=employee.id in asleep,
                retry_at=record.retry_at,
                working=failure is None and (stack in due or self._queue.running(stack)),
                kept_until=_kept_until(employee, grace))
            self._fleet.write(employee, judgement, record.revision)
            if employee.state != "warm":
                health.append(judgement.health_status)
        for lost in (turn.decision.kept or {}).get(customer, ()):
            if self._fleet.write_vanished(lost, _VANISHED):
                self._status.add_event(kind="Vanished", customer=customer, employee=lost,
                                       message=f"the document of {lost} vanished; it was stopped "
                                               "and its files are kept")
        if not docker_answers:
            sync = "Unknown"
        else:
            sync = "OutOfSync" if pending or problem or drift else "Synced"
        worst = "Degraded" if failure or {"Degraded", "Missing"} & set(health) else (
            "Progressing" if "Progressing" in health or pending else "Healthy")
        self._fleet.write_stack(
            stack, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=failure[1] if failure else None,
            sync_status=sync, health_status=worst,
            reason=problem or "; ".join(map(str, drift)))


def _kept_until(employee: Employee, grace_days: int) -> str | None:
    if not employee.retired_at:
        return None
    return f"{datetime.fromisoformat(employee.retired_at) + timedelta(days=grace_days):%Y-%m-%d}"
