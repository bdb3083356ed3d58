"""The loop: gathers what decide needs, queues what it answers, and lets workers converge.

`cycle` is one turn: look at the ref, look at reality, decide, queue, record. It runs every few
seconds, and at once when something says so (a commit, a Docker event, the end of a run). A quiet
turn starts no process but the firewall's reader.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from policies.documents import check_customer, check_platform
from reconciler.book import LOOP, Book
from reconciler.boost import Boost
from reconciler.converge import Outcome, Receipts, Stages, run_engine
from reconciler.decide import (
    Action,
    Decision,
    Drift,
    Seen,
    customer_of,
    decide,
    is_expired,
    stack_of,
)
from reconciler.engine import Engine
from reconciler.fleet import Fleet
from reconciler.metrics import Metrics
from reconciler.queue import FairQueue
from reconciler.recorder import Recorder, Turn
from reconciler.rest import Rest
from reconciler.storage import StorageWatch
from reconciler.world import PARTS, Look, Wanted, World
from stacks import StackError
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.parsing import DocumentError
from state_repo.snapshot import CustomerState, Snapshot
from state_repo.status import StatusStore
from state_repo.store import Store

log = logging.getLogger(__name__)
WORKERS = 4


class Reconciler:
    """Wires the rooms together. Owns the status tables; one a data folder (see `locks`)."""

    def __init__(self, instance: Instance, store: Store, status: StatusStore, world: World,
                 engine: Engine) -> None:
        self.instance, self.store, self.status = instance, store, status
        self.world, self.engine, self.metrics = world, engine, Metrics()
        self.boost = Boost(instance.container_name, self._most_cpus)
        self.queue, self.fleet = FairQueue(), Fleet(status, _now, world.warm_up, self.boost)
        self.rest = Rest(instance, self.fleet.asleep(), self.fleet.mark_asleep)
        self.storage = StorageWatch(instance, self._tell_of_storage)
        self.book = Book(status, store, _now())
        for wanted in self.book.wanted().values():
            self._expect(wanted)
        self.receipts = Receipts(status, self._time)
        self._recorder = Recorder(status, self.fleet, self.book, self.queue)
        row = status.stack(LOOP)
        self._taken = row.revision if row else None
        self._snapshot: Snapshot | None = None
        self.turn: Turn | None = None
        self._look = Look()
        self._drifting: frozenset[Drift] = frozenset()
        self._noticed: dict[str, float] = {}  # the newest commit -> when it was first seen
        self._ended: dict[str, float] = {}  # stack -> when its last run ended
        self._turning, self._woken, self._stop = (
            threading.Lock(), threading.Event(), threading.Event())
        self._turned = time.monotonic()
        self._threads: list[threading.Thread] = []

    # ---- the life of the process -------------------------------------------------------------

    def start(self) -> None:
        for number in range(WORKERS):
            thread = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self.world.watch(self.wake)

    def stop(self, patience_s: float = 20.0) -> None:
        """Lets running engines finish; after `patience_s` seconds asks them to stop early."""
        self._stop.set()
        self.queue.close()
        self._woken.set()
        until = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.engine.interrupt()
        for thread in self._threads:
            thread.join(5.0)
        self.fleet.close()
        self.world.close()

    def wake(self) -> None:
        """Asks for a turn of the loop now."""
        self._woken.set()

    def turn_when_woken(self, every_s: float) -> None:
        """Turns every `every_s` seconds, and at once when woken, until stopped."""
        while not self._stop.is_set():
            try:
                self.cycle()
            except DocumentError as error:
                log.warning("nothing can be applied yet: %s", error)
            except Exception:  # the loop must survive whatever one turn meets
                log.exception("a turn of the loop failed; the next one tries again")
            self._woken.wait(every_s)
            self._woken.clear()

    def seconds_since_cycle(self) -> float:
        return time.monotonic() - self._turned

    def notice(self) -> None:
        """Looks at the ref; wakes the loop when it moved."""
        head = self.store.head()
        if head is not None and head not in self._noticed:
            self._noticed = {head: time.monotonic()}
            self.wake()

    def let_rest(self) -> None:
        """Puts to sleep who has been idle for long enough."""
        platform = self.book.platform
        if platform is None:
            return
        self.rest.wake_due(_now())
        awake, rows = {}, self.fleet.rows()
        for employee, row in rows.items():
            seen = self.fleet.sighting(employee)
            if seen and seen.running and seen.verified is True and (
                    row["desired_state"] in ("running", "warm")
                    and not self.queue.running(stack_of(row["customer"]))):
                awake[employee] = seen.container_id
        self.boost.settle(awake)
        self.rest.look(awake, platform.sleep, frozenset(
            e for e in awake if rows[e]["desired_state"] == "warm"))

    def watch_storage(self) -> None:
        """Measures some volumes, and says which fill up."""
        platform = self.book.platform
        if platform is not None:
            rows = self.fleet.rows()
            self.storage.look(rows, platform.storage)
            self.metrics.show_volumes(self.storage.used(), rows,
                                      platform.storage.employee_mb << 20)

    def _tell_of_storage(self, employee: str, customer: str, message: str) -> None:
        self.status.add_event(kind="Storage", customer=customer, employee=employee,
                              message=message)

    # ---- one turn ----------------------------------------------------------------------------

    def cycle(self) -> Decision:
        """One turn. Returns what was decided.

        Raises:
            DocumentError: there is no usable platform.yaml yet.
        """
        with self._turning, self.metrics.cycle.time():
            began, now = time.monotonic(), _now()
            self.notice()
            snapshot, halt = self._take()
            settled = self.rest.settled()
            look = self.world.look(self.book.platform, self.book.wanted().values(),
                                   self.rest.asleep())
            if look.containers is not None:
                self.fleet.see(look.containers)
                for seen in look.containers:
                    if seen.running and seen.employee in settled:
                        self.rest.forget(seen.employee)
            self._release(look)
            drift = {stack: items for stack, items in look.drift.items()
                     if not self.queue.running(stack) and self._ended.get(stack, 0.0) < began}
            platform_digest = self._platform_digest(snapshot.platform)
            decision = decide(snapshot, platform_digest, self.book.applied(), self._seen(), drift,
                              now, confirmed=self.confirmed())
            if halt is not None:
                decision = self._repairs_only(decision, drift, now)
            elif decision.hold is not None:
                halt = decision.hold.reason
            self._report(drift)
            for action in decision.actions:
                self.queue.put(action, time.monotonic())
            self.turn = Turn(snapshot, self._taken or snapshot.commit, platform_digest, decision,
                             look, drift, halt, now)
            self._recorder.write(self.turn)
            self.metrics.halted.set(halt is not None)
            self.metrics.queue.set(self.queue.depth())
            self.metrics.show([s for s in self.status.stacks() if s.id != LOOP],
                              self.fleet.rows().values())
            self._turned = time.monotonic()
            return decision

    def _take(self) -> tuple[Snapshot, str | None]:
        """The newest snapshot that may be applied, and why that is not the newest commit."""
        head = self.store.head()
        if self._snapshot is not None and self._snapshot.commit == head == self._taken:
            return self._snapshot, None
        taken, halt = self._taken, None
        if head and taken and taken != head and self.confirmed() != head and (
                not self.store.is_ancestor(taken, head)):
            halt = (f"history was rewritten: {head[:10]} is no descendant of {taken[:10]}, the "
                    "last commit taken. Nothing is applied until an engineer confirms it "
                    f"(iw confirm {head[:10]}) or pushes the old history back.")
        else:
            try:
                snapshot = self.store.snapshot(head)
                broken = check_platform(snapshot.platform)
                halt = "\n".join(map(str, broken)) or None
                if halt is None:
                    self._snapshot, self._taken = snapshot, head
                    return snapshot, None
            except DocumentError as error:
                if taken is None:
                    raise
                halt = str(error)
        if self._snapshot is None:
            self._snapshot = self.store.snapshot(taken)
        return self._snapshot, halt

    def _repairs_only(self, decision: Decision, drift: Mapping[str, tuple[Drift, ...]],
                      now: datetime) -> Decision:
        """While halted only drift from what was applied is repaired."""
        actions = []
        for stack, items in drift.items():
            record = self.book.record(stack)
            if record.revision and record.digest and not (
                    record.retry_at and record.retry_at > now):
                actions.append(Action(stack, "drift", record.revision, record.digest,
                                      "; ".join(map(str, items)), refresh=True))
        return replace(decision, actions=tuple(actions))

    def _report(self, drift: Mapping[str, tuple[Drift, ...]]) -> None:
        found = frozenset(item for items in drift.values() for item in items)
        for item in sorted(found - self._drifting, key=str):
            self.metrics.drift.labels(item.kind).inc()
            self.status.add_event(kind="Drift", customer=customer_of(item.stack), message=str(item))
        self._drifting = found

    def _release(self, look: Look) -> None:
        gone, back = (set(look.unreachable) - set(self._look.unreachable),
                      set(self._look.unreachable) - set(look.unreachable))
        for part in gone:
            self.status.add_event(kind="Unreachable", message=look.unreachable[part])
        for part in back:
            self.status.add_event(kind="Reachable", message=f"{PARTS[part]} answers again")
        if back:
            self.book.release(back)
        for part in PARTS:
            self.metrics.unreachable.labels(part).set(part in look.unreachable)
        self._look = look

    # ---- workers -----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.is_set():
            got = self.queue.get(timeout_s=1.0)
            if got is None:
                continue
            action, since = got
            try:
                self._converge(action, since)
            except Exception as error:
                log.exception("%s could not be converged", action.stack)
                self._fail(action, Outcome(False, f"{type(error).__name__}: {error}", "engine"))
            finally:
                self.world.settle(action.stack)
                self._ended[action.stack] = time.monotonic()
                self.queue.done(action.stack)
                self.wake()

    def _converge(self, action: Action, since: float) -> None:
        """One Action to its end: policy, engine, a look at the result, a receipt."""
        began = time.monotonic()
        stages = Stages(_now())
        commit = self.store.commit_info(action.revision)
        if action.cause == "commit":
            age = _now().timestamp() - commit.time.timestamp() - (began - since)
            stages.mark("detect", age if age < 600 else 0.0)
        stages.mark("queue", began - since)
        customer, made, outcome = customer_of(action.stack), self._wanted(action), None
        if isinstance(made, Wanted):
            violations = made.state.violations or check_customer(
                self.store.view(action.revision, made.state.id))
            if violations:
                outcome = Outcome(False, "\n".join(map(str, violations)), "policy")
            program = self.world.customer_program(made)
        else:
            program = self.world.platform_program(made)
        if outcome is None:
            if isinstance(made, Wanted):
                self._wake_claimed(made)
            outcome = run_engine(self.engine, action.stack.replace("/", "-"), program, action,
                                 stages)
        probes = []
        if customer is not None and isinstance(made, Wanted):
            if outcome.succeeded:
                self._expect(made)
            containers = self.world.containers_of(customer)
            if containers is not None:
                self.fleet.see(containers, customer)
            if outcome.succeeded:
                # Nobody waits for a blank: it is ready when it is.
                probes = [probe for employee in made.state.employees.values()
                          if employee.state != "warm"
                          and (probe := self.fleet.verification(employee.id))
                          and not probe.done()]
        self.metrics.total.labels(
            action.cause, "succeeded" if outcome.succeeded else "failed").inc()
        if outcome.succeeded:
            self.book.succeeded(action, _now(), made)
            if action.cause == "drift":
                self.status.add_event(kind="Repaired", customer=customer, message=action.reason)
        else:
            self._fail(action, outcome)
        for probe in probes:
            probe.add_done_callback(lambda _: self.wake())
        self.receipts.write(action, commit, outcome, stages, probes)

    def _expect(self, made: Wanted) -> None:
        """Tells the fleet whom each employee must let in."""
        for employee in made.state.employees.values():
            if employee.state != "retired":
                self.fleet.expect(employee.id, self.world.visitor(made.state.id, employee),
                                  blank=employee.state == "warm")

    def _wake_claimed(self, made: Wanted) -> None:
        """A blank that was hired has work to do soon: it wakes while the engine writes who it
        is. Until that is in force it lets nobody in."""
        rows = self.fleet.rows()
        for employee in self.rest.asleep() & made.state.employees.keys():
            row = rows.get(employee)
            if made.state.employees[employee].state == "running" and row and (
                    row["desired_state"] == "warm"):
                try:
                    self.rest.wake(employee)
                except StackError as error:  # then its first visitor wakes it
                    log.warning("%s could not be woken: %s", employee, error)

    def _wanted(self, action: Action) -> Wanted | Platform:
        """What the action makes true."""
        turn, customer = self.turn, customer_of(action.stack)
        assert turn is not None  # an Action comes from a turn
        platform = turn.snapshot.platform
        if customer is None:
            return platform if action.revision == turn.snapshot.commit else (
                self.store.snapshot(action.revision).platform)
        applied = self.book.wanted().get(customer)
        state: CustomerState = self.store.read_customer(action.revision, customer)
        if applied is not None and action.digest == self.book.record(action.stack).digest:
            return applied
        now, grace = _now(), platform.grace_days
        return Wanted(
            platform, state, (turn.decision.kept or {}).get(customer, frozenset()),
            frozenset(e.id for e in state.employees.values() if is_expired(e, grace, now)))

    def _fail(self, action: Action, outcome: Outcome) -> None:
        if outcome.waiting_for == "engine":
            part = next(iter(self.world.look(self.book.platform, ()).unreachable), None)
            outcome = replace(outcome, waiting_for=part or "engine")
        self.book.failed(action, _now(), outcome)
        self.status.add_event(kind="Failed", customer=customer_of(action.stack),
                              message=outcome.message)
        log.warning("%s: %s", action.stack, outcome.message)

    # ---- small things ------------------------------------------------------------------------

    @property
    def confirmation(self) -> Path:
        """The file that holds the commit which an engineer confirmed."""
        return self.instance.run_path / "confirmed-commit"

    def confirmed(self) -> str | None:
        try:
            return self.confirmation.read_text().strip()
        except FileNotFoundError:
            return None

    def _platform_digest(self, platform: Platform) -> str:
        text = repr(platform) + self.world.program_digest
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _most_cpus(self) -> float:
        platform = self.book.platform
        return platform.limits.max_cpus if platform else 0.0

    def _seen(self) -> dict[str, Seen]:
        return {employee: Seen(row["customer"], row["desired_state"] == "running")
                for employee, row in self.fleet.rows().items()}

    def _time(self, kind: str, phase: str, seconds: float) -> None:
        self.metrics.duration.labels(kind, phase).observe(seconds)


def _now() -> datetime:
    return datetime.now(UTC)
