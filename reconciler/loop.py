"""The loop: gathers what decide needs, queues what it answers, and lets workers converge.

`cycle` is one turn: look at the ref, look at reality, decide, queue, record. It runs every few
seconds, and at once when something says so (a commit, a Docker event, the end of a run). A quiet
turn starts no process but the firewall's reader.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime

from policies.documents import check_customer, check_platform
from reconciler.allowed import allowed, corruption, waiting
from reconciler.backups import Backups
from reconciler.book import LOOP, Book
from reconciler.boost import Boost
from reconciler.certificates import Certificates
from reconciler.confirmation import Confirmation
from reconciler.converge import Outcome, Receipts, Stages, run_engine
from reconciler.decide import (
    PLATFORM,
    Action,
    Decision,
    Drift,
    Hold,
    Seen,
    Wanted,
    customer_of,
    decide,
    is_expired,
    stack_of,
)
from reconciler.engine import Engine, Program
from reconciler.fleet import Fleet
from reconciler.judge import Judgement
from reconciler.metrics import Metrics
from reconciler.outbox import Outbox
from reconciler.queue import FairQueue
from reconciler.recorder import Recorder, Turn
from reconciler.rest import Rest
from reconciler.rollouts.parts import Parts
from reconciler.rollouts.roller import Roller
from reconciler.storage import Disk, StorageWatch
from reconciler.turns import Turns
from reconciler.workers import Workers
from reconciler.world import PARTS, Look, World
from stacks import StackError
from stacks.cgroup import host_memory
from state_repo import StateRepoError, journal
from state_repo.documents import (
    PLATFORM_PATH,
    Alerts,
    Platform,
    Tls,
    Violation,
    employee_path,
    worsened,
)
from state_repo.documents import Backups as Backed
from state_repo.instance import Instance
from state_repo.parsing import DocumentError
from state_repo.snapshot import CustomerState, CustomerView, Snapshot
from state_repo.status import StatusStore
from state_repo.store import CommitInfo, Store

log = logging.getLogger(__name__)
WORKERS = 4


class Reconciler:
    """Wires the rooms together. Owns the status tables; one a data folder (see `locks`)."""

    def __init__(self, instance: Instance, store: Store, status: StatusStore, world: World,
                 engine: Engine) -> None:
        self.instance, self.store, self.outbox = instance, store, Outbox(status)
        self.world, self.engine, self.metrics = world, engine, Metrics()
        self.boost = Boost(instance.container_name, self._most_cpus)
        self.queue = FairQueue()
        self.workers = Workers(self.queue, self._work, WORKERS, self._tell_of_workers)
        self.fleet = Fleet(self.outbox, status.employees(), status.stacks(), _now, world.warm_up,
                           self.boost)
        self.rest = Rest(instance, self.fleet.asleep(), self.fleet.mark_asleep, world.guard)
        self.storage = StorageWatch(instance, self._tell_of_storage)
        self.turns = Turns(self.fleet, self.rest)
        self.rollouts = Roller(self, Parts(instance, self.fleet, self.turns))
        self.backups = Backups(self)
        self.certificates = Certificates(self)
        world.volumes.copied = self.backups.kept
        world.asleep, world.tell = self.standing_still, self._tell_of_employee
        applied = status.applied()
        self.book = Book(self.outbox, store, applied, status.owners(), _now())
        for wanted in self.book.wanted().values():
            self._expect(wanted)
        self.confirmation = Confirmation(instance.run_path / "confirmed-commit")
        self.receipts = Receipts(self.outbox, self._time)
        self._recorder = Recorder(self.outbox, self.fleet, self.book, self.queue)
        self._taken = next((row.revision for row in applied if row.stack == LOOP), None)
        self._hold: Hold | None = None
        self._snapshot: Snapshot | None = None
        self.turn: Turn | None = None
        self._look = Look()
        self._drifting: frozenset[Drift] = frozenset()
        self._noticed: dict[str, float] = {}  # the newest commit -> when it was first seen
        self._ended: dict[str, float] = {}  # stack -> when its last run ended
        self._turning, self._woken, self._stop = (
            threading.Lock(), threading.Event(), threading.Event())
        self._turned = time.monotonic()

    # ---- the life of the process -------------------------------------------------------------

    def start(self) -> None:
        self.workers.start()
        self.world.watch(self.wake)

    def stop(self, patience_s: float = 20.0) -> None:
        """Lets running engines finish; after `patience_s` seconds asks them to stop early."""
        self._stop.set()
        self.rollouts.stop()
        self.backups.stop()
        self.certificates.stop()
        self.workers.stop()
        self._woken.set()
        self.workers.join(patience_s)
        self.engine.interrupt()
        self.workers.join(5.0)
        self.fleet.close()
        self.outbox.flush()
        self.world.close()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

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
        self.metrics.show_use(self.rest.used(), rows)

    def watch_storage(self) -> None:
        """Measures some volumes, and says which fill up."""
        platform = self.book.platform
        if platform is not None:
            rows = self.fleet.rows()
            self.world.make_room(platform.storage)
            self.storage.look(rows, platform.storage)
            self.metrics.show_volumes(self.storage.used(), rows,
                                      platform.storage.employee_mb << 20)
            self.metrics.show_capacity(self.capacity())

    def capacity(self) -> dict[str, tuple[int, int]]:
        """By resource, how much is used and how much there is: memory and disk in bytes, and
        networks for customers. What can't be told now is left out."""
        found, platform = {}, self.book.platform
        memory = host_memory()
        found["memory"] = memory["MemTotal"] - memory["MemAvailable"], memory["MemTotal"]
        with contextlib.suppress(OSError, StackError):  # Docker does not answer
            disk = Disk.of(self.world.volumes_root())
            found["disk"] = disk.total - disk.free, disk.total
        if platform is not None:
            pool = ipaddress.ip_network(platform.network.pool)
            found["networks"] = (len(self.book.wanted()),
                                 1 << (platform.network.prefix_length - pool.prefixlen))
        return found

    def guard_disk(self) -> None:
        """Looks at the disk that the volumes lie on; see `StorageWatch.guard`."""
        platform = self.book.platform
        if platform is None:
            return
        try:
            disk = Disk.of(self.world.volumes_root())
        except (OSError, StackError):
            return  # Docker does not answer: nobody writes either
        rows = self.fleet.rows()
        running = {e: rows[e] for e in rows
                   if (seen := self.fleet.sighting(e)) and (seen.running or seen.paused)
                   and rows[e]["desired_state"] in ("running", "warm")}
        before = self.storage.frozen().keys()
        self.storage.guard(running, platform.storage, disk, time.monotonic())
        if self.storage.frozen().keys() != before:
            self.wake()

    def standing_still(self) -> frozenset[str]:
        """Who does not run, and is meant not to: asleep, or frozen."""
        return self.rest.asleep() | self._frozen().keys()

    def _frozen(self) -> dict[str, Judgement]:
        """Who stands still, and what is said of it: it is too large, or its files are being
        copied."""
        return {e: Judgement("Synced", health, why) for health, frozen in (
            ("Degraded", self.storage.frozen()), ("Progressing", self.rollouts.frozen()),
            ("Healthy", self.backups.frozen()))
            for e, why in frozen.items()}

    def _tell_of_storage(self, employee: str, customer: str, message: str) -> None:
        self.outbox.event("Storage", message, customer, employee)

    def _tell_of_employee(self, kind: str, employee: str, message: str) -> None:
        customer = next((c for c, made in self.book.wanted().items()
                         if employee in made.state.employees), None)
        self.outbox.event(kind, message, customer, employee)

    def _tell_of_workers(self, message: str) -> None:
        log.error("%s", message)
        self.outbox.event("Worker", message)

    # ---- one turn ----------------------------------------------------------------------------

    def cycle(self) -> Decision:
        """One turn. Returns what was decided.

        Raises:
            DocumentError: there is no usable platform.yaml yet.
        """
        with self._turning, self.metrics.cycle.time(), self.outbox.together():
            began, now = time.monotonic(), _now()
            self.workers.tend()
            self._free_locks()
            self.notice()
            snapshot, halt = self._take()
            settled, frozen = self.rest.settled(), self._frozen()
            look = self._look_around()
            if look.containers is not None:
                self.fleet.see(look.containers, look.at)
                for seen in look.containers:
                    if seen.running and seen.employee in settled:
                        self.rest.forget(seen.employee)
            self._release(look)
            drift = {stack: items for stack, items in look.drift.items()
                     if not self.queue.running(stack) and self._ended.get(stack, 0.0) < began}
            platform_digest = self.platform_digest(snapshot.platform)
            decision = decide(snapshot, platform_digest, self.book.applied(), self.book.wanted(),
                              drift, now, seen=seen_of(look), confirmed=self.confirmation.read(),
                              owners=self.book.owners(), before=self._hold,
                              shared_digest=self.shared_digest(snapshot.platform))
            self._remember_hold(decision, halted=halt is not None)
            if halt is not None:
                decision = self._repairs_only(decision, drift, now)
            self._report(drift)
            for action in decision.actions:
                self.queue.put(action, time.monotonic())
            self.turn = Turn(snapshot, self._taken or snapshot.commit, platform_digest, decision,
                             look, drift, halt, now, self._lost_reason,
                             # Whoever was frozen when the look began may have been seen so.
                             frozen | self._frozen())
            self._recorder.write(self.turn)
            self._show(halted=halt is not None or decision.hold is not None)
            self._turned = time.monotonic()
            return decision

    def _lost_reason(self, employee: str) -> str:
        return self.world.volumes.reason(self.instance.employee_volume(employee),
                                         f"the files of {employee}", employee)

    def _look_around(self) -> Look:
        look = self.world.look(self.book.platform, self.book.wanted().values(),
                               self.standing_still())
        if self.outbox.problem is None:
            return look
        return replace(look, unreachable={**look.unreachable, "database": self.outbox.problem})

    def _free_locks(self) -> None:
        for lock in self.store.free_locks():
            self.outbox.event("LockRemoved", f"{lock.name} of the state repo was left by a git "
                              "program that died; it was removed")

    def _remember_hold(self, decision: Decision, *, halted: bool) -> None:
        if decision.hold != self._hold:
            if decision.hold is not None and (
                    self._hold is None or decision.hold.commit != self._hold.commit):
                for customer in decision.hold.stops:
                    self.outbox.event("Held", decision.hold.reason, customer)
            self._hold = decision.hold
        if not halted:
            self.confirmation.keep(decision.stopping)

    def _show(self, *, halted: bool) -> None:
        oldest = self.queue.oldest()
        self.metrics.halted.set(halted)
        self.metrics.rollout_failed.set(self.rollouts.failed)
        self.metrics.queue.set(self.queue.depth())
        self.metrics.oldest.set(time.monotonic() - oldest if oldest is not None else 0.0)
        self.metrics.workers.set(self.workers.live())
        self.metrics.wedged.set(len(self.workers.wedged()))
        self.metrics.show(self.fleet.stacks(), self.fleet.rows().values())

    def _take(self) -> tuple[Snapshot, str | None]:
        """The newest snapshot that may be applied, and why that is not the newest commit."""
        head = self.store.head()
        if self._snapshot is not None and self._snapshot.commit == head == self._taken:
            return self._snapshot, None
        taken, halt = self._taken, None
        if head and taken and taken != head and self.confirmation.read().commit != head and (
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
                    self._taking(snapshot, taken, head)
                    return snapshot, None
            except DocumentError as error:
                if taken is None:
                    raise
                halt = str(error)
        if self._snapshot is None:
            self._snapshot = self.store.snapshot(taken)
        return self._snapshot, halt

    def _taking(self, snapshot: Snapshot, taken: str | None, head: str | None) -> None:
        if head and taken and taken != head and not self.store.is_ancestor(taken, head):
            self.store.keep(taken)  # what was applied of it is read again after a restart
        self._snapshot, self._taken = snapshot, head
        if head and head != taken:
            self.outbox.applied(LOOP, revision=head, digest="", kept=[], lost=[])

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
            done = self.world.done_to(item.name)
            self.outbox.event("Drift", f"{item} ({done})" if done else str(item),
                              customer_of(item.stack))
        self._drifting = found

    def _release(self, look: Look) -> None:
        gone, back = (set(look.unreachable) - set(self._look.unreachable),
                      set(self._look.unreachable) - set(look.unreachable))
        for part in gone:
            self.outbox.event("Unreachable", f"{PARTS.get(part, part)} can't be checked: "
                              f"{look.unreachable[part]}", customer_of(part))
        for part in back:
            self.outbox.event("Reachable", f"{PARTS.get(part, part)} answers again",
                              customer_of(part))
        for customer, employees in look.lost.items():
            for employee in employees - self._look.lost.get(customer, frozenset()):
                self.outbox.event("Lost", self._lost_reason(employee), customer, employee)
        for customer in look.unshared.keys() - self._look.unshared.keys():
            self.outbox.event("Lost", look.unshared[customer], customer)
        self.metrics.lost.set(sum(map(len, look.lost.values())) + len(look.unshared))
        if back:
            self.book.release(back)
        for part in PARTS:
            self.metrics.unreachable.labels(part).set(part in look.unreachable)
        self._look = look

    # ---- workers -----------------------------------------------------------------------------

    def _work(self, action: Action, since: float) -> None:
        try:
            record = self.book.record(action.stack)
            if action.cause == "commit" and record.digest == action.digest and (
                    not record.failures):
                return  # it was decided while the run that did it came to its end
            commits = self._commits(action)
            sha, trace, why = (commits[0].sha, commits[0].trace, commits[0].subject) if commits \
                else (None, None, action.reason)
            # A repair, and what was pushed, has a trace of its own.
            with journal.about(customer=customer_of(action.stack), commit=sha,
                               trace=trace or journal.new_trace()):
                log.info("%s: %s begins: %s", action.stack, action.cause, why)
                self._converge(action, since, commits)
        except Exception as error:
            log.exception("%s could not be converged", action.stack)
            self._fail(action, Outcome(False, f"{type(error).__name__}: {error}", "engine"))
        finally:
            self.world.settle(action.stack)
            self._ended[action.stack] = time.monotonic()
            self.wake()

    def _converge(self, action: Action, since: float, commits: list[CommitInfo]) -> None:
        """One Action to its end: policy, engine, a look at the result, a receipt."""
        began = time.monotonic()
        stages = Stages(_now())
        if action.cause == "commit" and commits:
            age = _now().timestamp() - commits[0].time.timestamp() - (began - since)
            stages.mark("detect", age if age < 600 else 0.0)
        stages.mark("queue", began - since)
        customer, made = customer_of(action.stack), self._wanted(action)
        refused: Outcome | None = None
        if isinstance(made, Wanted):
            made, refused = self._judge(action, made)
        if refused is not None and not refused.begun:
            outcome = refused
        else:
            outcome = run_engine(self.engine, action.stack.replace("/", "-"),
                                 self._program(made), action, stages)
        if refused is not None and isinstance(made, Wanted) and outcome.succeeded:
            self.book.partly(action, made)
            outcome = replace(refused, changes=outcome.changes)
        probes = []
        if customer is not None and isinstance(made, Wanted):
            reached = made if outcome.succeeded or outcome.begun else (
                _without(made, outcome.blames) if outcome.is_partly_done() else None)
            if reached is not None:
                self._expect(reached)
            containers = self.world.containers_of(customer)
            if containers is not None:
                at, found = containers
                self.fleet.see(found, at, customer)
            if reached is not None:
                probes = self._probes(reached)
        self.metrics.total.labels(
            action.cause, "succeeded" if outcome.succeeded else "failed").inc()
        if outcome.succeeded:
            self.book.succeeded(action, _now(), made)
            if action.cause == "drift":
                self.outbox.event("Repaired", action.reason, customer)
        else:
            self._fail(action, outcome)
        for probe in probes:
            probe.add_done_callback(lambda _: self.wake())
        self.receipts.write(action, commits, outcome, stages, probes)

    def _program(self, made: Wanted | Platform) -> Program:
        if isinstance(made, Platform):
            return self.world.platform_program(made)
        self.world.permit(made)
        self._wake_claimed(made)
        return self.world.customer_program(made)

    def _commits(self, action: Action) -> list[CommitInfo]:
        """The commits of the stack's own documents that the action brings into force."""
        customer, applied = customer_of(action.stack), self.book.record(action.stack)
        if action.digest == applied.digest and action.cause != "commit":
            return []  # a repair of what was applied before
        path = PLATFORM_PATH if customer is None else f"customers/{customer}"
        try:
            return self.store.commits_touching(path, applied.revision, action.revision,
                                               most=50 if applied.revision else 10)
        except StateRepoError as error:  # the run matters more than what is told of it
            log.warning("the commits of %s can't be read: %s", action.stack, error)
            return []

    def _judge(self, action: Action, made: Wanted) -> tuple[Wanted, Outcome | None]:
        """What is to be brought into force of what is wanted, and what the rules refuse of it.

        They refuse only what is worse than what was applied. That was judged before, and goes on
        being repaired whatever the rules have become.
        """
        if action.digest == self.book.record(action.stack).digest:
            return made, None
        ran = self.book.wanted().get(made.state.id)
        ran_state = ran.state if ran else None
        subnets = self.store.view(action.revision, made.state.id).other_subnets

        def judged(state: CustomerState, platform: Platform) -> list[Violation]:
            return check_customer(CustomerView(platform, state.customer, state.employees,
                                               subnets, state.lessons))

        # A skill that is gone is worse than before, whatever the documents say.
        before = judged(ran.state, replace(made.platform, skills=ran.platform.skills)
                        ) if ran else []

        def worse(state: CustomerState) -> list[Violation]:
            return worsened(before, judged(state, made.platform))
        found = corruption(made.state) or worse(made.state)
        if not found:
            return made, None
        part = allowed(ran_state, made.state, found, lambda state: bool(worse(state)))
        message = "\n".join(map(str, found))
        if part is None:
            return made, Outcome(False, message, "policy")
        blames = {employee: "\n".join(
            str(v) for v in found if v.path == employee_path(part.id, employee)) or message
            for employee in waiting(part, made.state) or [""]}
        return replace(made, state=part), Outcome(False, message, "policy", blames=blames,
                                                  begun=True)

    def _probes(self, made: Wanted) -> list[Future[str | None]]:
        """Those to wait for: of who is to work, and does not answer yet. Nobody waits for a
        blank: it is ready when it is; nor for who was stopped, or sleeps."""
        company, asleep = made.state.customer, self.rest.asleep()
        if company is None or company.suspended:
            return []
        return [probe for e in made.state.employees.values()
                if e.state == "running" and e.id not in asleep and e.id not in made.lost
                and (probe := self.fleet.verification(e.id)) and not probe.done()]

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
        if customer is None:
            return turn.snapshot.platform if action.revision == turn.snapshot.commit else (
                self.store.platform(action.revision))
        applied = self.book.wanted().get(customer)
        if applied is not None and action.digest == self.book.record(action.stack).digest:
            return applied
        platform, nobody = turn.snapshot.platform, frozenset[str]()
        state = self.store.read_customer(action.revision, customer)
        return Wanted(
            platform, state, turn.decision.kept.get(customer, nobody),
            frozenset(e.id for e in state.employees.values()
                      if is_expired(e, platform.grace_days, _now())),
            turn.decision.lost.get(customer, nobody))

    def _fail(self, action: Action, outcome: Outcome) -> None:
        if outcome.waiting_for == "engine":
            needs = PARTS if action.stack == PLATFORM else ("docker", "firewall")
            away = self.world.look(self.book.platform, ()).unreachable
            outcome = replace(outcome, waiting_for=next(
                (part for part in needs if part in away), "engine"))
        self.book.failed(action, _now(), outcome)
        self.outbox.event("Failed", outcome.message, customer_of(action.stack))
        log.warning("%s: %s", action.stack, outcome.message)

    # ---- small things ------------------------------------------------------------------------

    def platform_digest(self, platform: Platform) -> str:
        """Of what the platform's stack depends on. (Skills are of those who were given them.)"""
        text = repr(replace(platform, skills={})) + self.world.program_digest
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def shared_digest(self, platform: Platform) -> str:
        """Of what every customer's stack depends on, too: a part's image, or who is told of
        alerts, is no reason to look at all of them."""
        return self.platform_digest(replace(
            platform, alerts=Alerts(), backups=Backed(), tls=Tls(),
            images={k: v for k, v in platform.images.items() if k == "employee"}))

    def _most_cpus(self) -> float:
        platform = self.book.platform
        return platform.limits.max_cpus if platform else 0.0

    def _time(self, kind: str, phase: str, seconds: float) -> None:
        self.metrics.duration.labels(kind, phase).observe(seconds)


def seen_of(look: Look) -> Seen:
    running = {c.employee: c.customer for c in look.containers or ()
               if c.employee and c.customer and (c.running or c.paused)}
    return Seen(running, None if look.containers is None else look.lost, look.unshared)


def _without(made: Wanted, employees: Collection[str]) -> Wanted:
    return replace(made, state=replace(made.state, employees={
        id: e for id, e in made.state.employees.items() if id not in employees}))


def _now() -> datetime:
    return datetime.now(UTC)
