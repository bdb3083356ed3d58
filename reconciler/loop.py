"""The loop: gathers what decide needs, queues what it answers, and lets workers converge.

`cycle` is one turn: look at the ref, look at reality, judge every employee, decide, queue. It
runs every few seconds, and at once when something says so (a commit, a Docker event, the end of
a run). A quiet turn starts no process.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from policies.documents import check_platform
from reconciler import ReconcilerError
from reconciler.converge import Outcome, Receipts, Stages, check_policies, run_engine
from reconciler.decide import (
    PLATFORM,
    Action,
    Applied,
    Decision,
    Drift,
    Seen,
    customer_of,
    decide,
    is_expired,
    stack_of,
)
from reconciler.engine import Engine, Program
from reconciler.fleet import Fleet
from reconciler.judge import judge
from reconciler.metrics import Metrics
from reconciler.queue import FairQueue, backoff
from reconciler.world import PARTS, Look, World
from state_repo.instance import Instance
from state_repo.snapshot import CustomerState, Snapshot
from state_repo.status import StatusStore
from state_repo.store import Store

log = logging.getLogger(__name__)

LOOP = "loop"  # the stack row that records the last commit taken, and why the loop is halted
WORKERS = 4


class Reconciler:
    """Wires the rooms together. Owns the status tables; one a data folder (see `locks`)."""

    def __init__(self, instance: Instance, store: Store, status: StatusStore, world: World,
                 engine: Engine) -> None:
        self.instance, self.store, self.status = instance, store, status
        self.world, self.engine, self.metrics = world, engine, Metrics()
        self.fleet = Fleet(status, self._now)
        self.receipts = Receipts(status, self._time)
        self.queue = FairQueue()
        self._applied: dict[str, Applied] = {
            row.id: Applied(row.revision, row.digest, refreshed_at=self._now())
            for row in status.stacks() if row.id != LOOP}
        loop_row = status.stack(LOOP)
        self._taken = loop_row.revision if loop_row else None
        self._snapshot: Snapshot | None = None
        self._decision = Decision()
        self._halt: str | None = None
        self._look = Look(None, {})
        self._drifting: frozenset[Drift] = frozenset()
        self._problems: dict[str, tuple[str, str]] = {}  # stack -> (message, waiting_for)
        self._noticed: dict[str, float] = {}  # commit -> monotonic time it was first seen
        self._ended: dict[str, float] = {}  # stack -> monotonic time its last run ended
        self._turning, self._woken = threading.Lock(), threading.Event()
        self._state = threading.RLock()
        self._stop = threading.Event()
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
            except Exception:  # the loop must survive whatever one turn meets
                log.exception("a turn of the loop failed; the next one tries again")
            self._woken.wait(every_s)
            self._woken.clear()

    def seconds_since_cycle(self) -> float:
        return time.monotonic() - self._turned

    # ---- one turn ----------------------------------------------------------------------------

    def notice(self) -> bool:
        """Looks at the ref; wakes the loop when it moved."""
        head = self.store.head()
        if head in self._noticed:
            return False
        self._noticed = {head: time.monotonic()}
        self.wake()
        return True

    def cycle(self) -> Decision:
        """One turn. Returns what was decided."""
        with self._turning, self.metrics.cycle.time():
            began = time.monotonic()
            self.notice()
            snapshot = self._take_snapshot()
            kept = self._decision.kept or {}
            look = self.world.look(snapshot, self._current_states(snapshot), kept)
            if look.containers is not None:
                self.fleet.see(look.containers)
            self._release(look)
            drift = self._settled(look.drift, began)
            self._report(drift)
            if self._halt is None:
                self._decision = decide(
                    snapshot, self._platform_digest(snapshot), self._applied, self._seen(),
                    drift, self._now(), confirmed=self._confirmed())
            else:
                self._decision = self._repairs_only(drift)
            for action in self._decision.actions:
                self.queue.put(action, time.monotonic())
            self._record(snapshot)
            self._turned = time.monotonic()
            return self._decision

    def _take_snapshot(self) -> Snapshot:
        """The newest snapshot that may be applied; sets or ends the halt of rewritten history."""
        head = self.store.head()
        if self._snapshot is not None and self._snapshot.commit == head:
            return self._snapshot
        taken, self._halt = self._taken, None
        if taken and taken != head and self._confirmed() != head and (
                not self.store.is_ancestor(taken, head)):
            self._halt = (f"history was rewritten: {head[:10]} is no descendant of {taken[:10]}, "
                          "the last commit taken. Nothing is applied until an engineer confirms "
                          f"it (iw confirm {head[:10]}) or pushes the old history back.")
            if self._snapshot is None:
                self._snapshot = self.store.snapshot(taken)
            return self._snapshot
        snapshot = self.store.snapshot(head)
        broken = check_platform(snapshot.platform) if snapshot.platform else []
        if broken:
            self._halt = "\n".join(map(str, broken))
            if self._snapshot is not None:
                return self._snapshot
        self._snapshot, self._taken = snapshot, head
        return snapshot

    def _repairs_only(self, drift: Mapping[str, tuple[Drift, ...]]) -> Decision:
        actions = tuple(
            Action(stack, "drift", record.revision, record.digest,
                   "; ".join(map(str, drift[stack])), refresh=True)
            for stack, record in self._applied.items()
            if stack in drift and record.revision and record.digest and not (
                record.retry_at and record.retry_at > self._now()))
        return replace(self._decision, actions=actions)

    def _settled(self, drift: Mapping[str, tuple[Drift, ...]], began: float
                 ) -> dict[str, tuple[Drift, ...]]:
        """Without what was seen of stacks that were being converged meanwhile."""
        return {stack: items for stack, items in drift.items()
                if not self.queue.running(stack) and self._ended.get(stack, 0.0) < began}

    def _report(self, drift: Mapping[str, tuple[Drift, ...]]) -> None:
        now = frozenset(item for items in drift.values() for item in items)
        for item in now - self._drifting:
            self.metrics.drift.labels(item.kind).inc()
            self.status.add_event(kind="Drift", customer=customer_of(item.stack), message=str(item))
        self._drifting = now

    def _release(self, look: Look) -> None:
        """Backoff ends with its cause: whoever waited for a part that is back goes at once."""
        back = set(self._look.unreachable) - set(look.unreachable)
        for part in set(look.unreachable) - set(self._look.unreachable):
            self.status.add_event(kind="Unreachable", message=look.unreachable[part])
        for part in back:
            self.status.add_event(kind="Reachable", message=f"{PARTS[part]} answers again")
            with self._state:
                for stack, (_, waiting_for) in self._problems.items():
                    if waiting_for in (part, "engine"):
                        self._applied[stack] = replace(self._applied[stack], retry_at=None)
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
                self._failed(action, Outcome(False, f"{type(error).__name__}: {error}", "engine"))
            finally:
                self._ended[action.stack] = time.monotonic()
                self.queue.done(action.stack)
                self.wake()

    def _converge(self, action: Action, since: float) -> None:
        now = time.monotonic()
        stages = Stages(self._now(), now)
        commit = self.store.commit_info(action.revision)
        if action.cause == "commit":
            noticed = self._noticed.get(action.revision, since)
            age = self._now().timestamp() - commit.time.timestamp() - (now - noticed)
            stages.mark("detect", age if age < 3600 else 0.0)
        stages.mark("queue", now - since)
        customer = customer_of(action.stack)
        snapshot = self._snapshot
        assert snapshot is not None  # an Action comes from a snapshot
        kept = (self._decision.kept or {}).get(customer or "", frozenset())
        state: CustomerState | None = None
        outcome: Outcome | None = None
        program: Program
        if customer is None:
            program = self.world.platform_program(snapshot.platform)
        else:
            state = self.store.read_customer(action.revision, customer)
            outcome = check_policies(state, self.store.view(state, snapshot.platform))
            program = self.world.customer_program(
                snapshot.platform, state, kept, self._expired(snapshot, state))
        if outcome is None:
            outcome = run_engine(self.engine, action.stack.replace("/", "-"), program, action,
                                 stages)
        if not outcome.succeeded and outcome.waiting_for == "engine":
            outcome = replace(outcome, waiting_for=self.world.missing_part() or "engine")
        probes = []
        if customer is not None and state is not None:
            containers = self.world.containers_of(customer)
            if containers is not None:
                self.fleet.see(containers, customer)
            if outcome.succeeded:
                probes = [probe for employee in state.employees
                          if (probe := self.fleet.verification(employee)) and not probe.done()]
        (self._succeeded if outcome.succeeded else self._failed)(action, outcome)
        self.metrics.total.labels(
            action.cause, "succeeded" if outcome.succeeded else "failed").inc()
        self.receipts.write(action, commit, outcome, stages, probes)

    def _succeeded(self, action: Action, outcome: Outcome) -> None:
        with self._state:
            before = self._applied.get(action.stack, Applied())
            self._applied[action.stack] = Applied(
                action.revision, action.digest, action.digest,
                refreshed_at=self._now() if action.refresh else before.refreshed_at or self._now())
            self._problems.pop(action.stack, None)
        if action.cause == "drift":
            self.status.add_event(kind="Repaired", customer=customer_of(action.stack),
                                  message=action.reason)

    def _failed(self, action: Action, outcome: Outcome) -> None:
        with self._state:
            before = self._applied.get(action.stack, Applied())
            failures = before.failures + 1 if before.attempted == action.digest else 1
            wait = timedelta(hours=6) if outcome.waiting_for == "policy" else backoff(failures)
            self._applied[action.stack] = replace(
                before, attempted=action.digest, failures=failures, retry_at=self._now() + wait)
            self._problems[action.stack] = (outcome.message, outcome.waiting_for or "engine")
        self.status.add_event(kind="Failed", customer=customer_of(action.stack),
                              message=outcome.message)
        log.warning("%s: %s", action.stack, outcome.message)

    # ---- what is recorded --------------------------------------------------------------------

    def _record(self, snapshot: Snapshot) -> None:
        """Judges every employee and stack and writes what is new."""
        now, unreachable = self._now(), self._look.unreachable
        halt = self._halt or (self._decision.hold.reason if self._decision.hold else None)
        self.metrics.halted.set(halt is not None)
        self.fleet.write_stack(
            LOOP, sync_status="OutOfSync" if halt else "Synced", revision=self._taken,
            health_status="Degraded" if halt else "Healthy", reason=halt or "")
        for customer, state in self._current_states(snapshot).items():
            self._record_customer(snapshot, customer, state, halt, now)
        parts = [part for part in unreachable]
        stack = PLATFORM
        problem = self._problem(stack, halt)
        record = self._applied.get(stack, Applied())
        applied = record.digest == self._platform_digest(snapshot)
        reason = "; ".join(f"{PARTS[p]} can't be checked: {unreachable[p]}" for p in parts)
        self.fleet.write_stack(
            stack, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=self._problems.get(stack, ("", None))[1],
            sync_status="Unknown" if parts else
            "Synced" if applied and problem is None else "OutOfSync",
            health_status="Degraded" if parts or record.failures else
            "Healthy" if applied else "Progressing",
            reason=reason or problem or "")
        self.metrics.queue.set(self.queue.depth())
        self.metrics.show((s for s in self.status.stacks() if s.id != LOOP),
                          self.status.employees())

    def _record_customer(self, snapshot: Snapshot, customer: str, state: CustomerState,
                         halt: str | None, now: datetime) -> None:
        stack = stack_of(customer)
        record, problem = self._applied.get(stack, Applied()), self._problem(stack, halt)
        corrupt = (self._decision.corrupt or {}).get(customer)
        problem = problem or (f"held at its last good state: {corrupt}" if corrupt else None)
        due = {a.stack for a in self._decision.actions}
        working = stack in due or self.queue.running(stack)
        applied = record.digest is not None and stack not in {
            a.stack for a in self._decision.actions if a.cause in ("commit", "retry")}
        docker_answers = "docker" not in self._look.unreachable
        drift = {d.name: d for d in self._drifting if d.stack == stack}
        worst, waiting = "Healthy", 0
        kept = (self._decision.kept or {}).get(customer, frozenset())
        for employee in state.employees.values():
            if is_expired(employee, snapshot.platform.grace_days, now) and (
                    applied and self.fleet.sighting(employee.id) is None):
                self.fleet.forget(employee.id)
                continue
            own = problem or next((str(d) for name, d in drift.items() if employee.id in name),
                                  None)
            judgement = judge(
                employee, self.fleet.sighting(employee.id),
                suspended=bool(state.customer and state.customer.suspended), applied=applied,
                docker_answers=docker_answers, problem=own, working=working, now=now,
                retry_at=record.retry_at, kept_until=self._kept_until(snapshot, employee))
            self.fleet.write(employee, judgement, record.revision)
            waiting += judgement.health_status == "Progressing"
            if judgement.health_status in ("Degraded", "Missing"):
                worst = "Degraded"
        for lost in kept:
            if self.fleet.write_vanished(
                    lost, "its document vanished from the state repo; it was stopped and its "
                    "files are kept. Restore the file, or restore and retire it"):
                self.status.add_event(kind="Vanished", customer=customer, employee=lost,
                                      message=f"the document of {lost} vanished; it was stopped")
        self.fleet.write_stack(
            stack, revision=record.revision, digest=record.digest, failures=record.failures,
            retry_at=record.retry_at, waiting_for=self._problems.get(stack, ("", None))[1],
            sync_status="Unknown" if not docker_answers else
            "Synced" if applied and problem is None and not drift else "OutOfSync",
            health_status=worst if worst != "Healthy" or not waiting else "Progressing",
            reason=problem or "; ".join(map(str, drift.values())))

    def _problem(self, stack: str, halt: str | None) -> str | None:
        if stack in self._problems:
            return self._problems[stack][0]
        return halt

    def _kept_until(self, snapshot: Snapshot, employee: Any) -> str | None:
        if not employee.retired_at:
            return None
        until = datetime.fromisoformat(employee.retired_at) + timedelta(
            days=snapshot.platform.grace_days)
        return f"{until:%Y-%m-%d}"

    # ---- what it is asked by the internal API ------------------------------------------------

    def plan(self, customer: str | None = None) -> dict[str, Any]:
        """What the newest commit would change, without changing it."""
        snapshot = self.store.snapshot(self.store.head())
        states = {c: s for c, s in snapshot.customers.items() if customer in (None, c)}
        if customer is not None and not states:
            raise ReconcilerError(f"there is no customer {customer}; see `iw status`")
        changes: list[dict[str, Any]] = []
        diagnostics: list[str] = []
        programs = [(stack_of(c), s) for c, s in states.items()]
        if customer is None:
            run = self.engine.preview(PLATFORM, self.world.platform_program(snapshot.platform),
                                      refresh=True)
            changes += [c.as_json() | {"stack": PLATFORM} for c in run.changes]
            diagnostics += [*run.violations, *run.errors]
        for stack, state in programs:
            if state.violations:
                diagnostics += map(str, state.violations)
                continue
            kept = (self._decision.kept or {}).get(state.id, frozenset())
            run = self.engine.preview(
                stack.replace("/", "-"), self.world.customer_program(
                    snapshot.platform, state, kept, self._expired(snapshot, state)), refresh=True)
            changes += [c.as_json() | {"stack": stack} for c in run.changes]
            diagnostics += [*run.violations, *run.errors]
        return {"commit": snapshot.commit, "changes": changes, "diagnostics": diagnostics}

    def describe_drift(self) -> dict[str, Any]:
        snapshot = self._take_snapshot()
        look = self.world.look(snapshot, self._current_states(snapshot),
                               self._decision.kept or {})
        return {"items": [{"stack": d.stack, "kind": d.kind, "name": d.name, "problem": d.problem}
                          for items in look.drift.values() for d in items],
                "unknown": dict(look.unreachable)}

    def describe(self) -> dict[str, Any]:
        return {"commit": self._taken, "halted": self._halt or (
                    self._decision.hold.reason if self._decision.hold else None),
                "queue": self.queue.depth(), "unreachable": dict(self._look.unreachable)}

    def info(self) -> dict[str, Any]:
        return {"instance": self.instance.id, "commit": self._taken, "workers": WORKERS,
                "versions": self.world.versions()}

    def scrape_targets(self) -> list[dict[str, Any]]:
        """Prometheus' http_sd: every employee whose container has an address."""
        return [{"targets": [f"http://{row['address']}:18789/healthz"],
                 "labels": {"employee": employee, "customer": row["customer"]}}
                for employee, row in sorted(self.fleet.rows().items())
                if row["address"] and row["desired_state"] == "running"]

    def logs(self, employee: str, tail: int) -> str | None:
        return self.world.logs(employee, tail)

    def retry(self, customer: str) -> None:
        """Ends the backoff of a customer's stack, and converges it again."""
        stack = stack_of(customer)
        with self._state:
            record = self._applied.get(stack)
            if record is None:
                raise ReconcilerError(f"nothing was ever applied for {customer}; see `iw status`")
            self._applied[stack] = replace(record, retry_at=None, failures=max(record.failures, 1))
        self.wake()

    def confirm(self, commit: str) -> str:
        """Lets a held or rewritten snapshot be applied; `commit` may be shortened."""
        head = self.store.head()
        if len(commit) < 7 or not head.startswith(commit):
            raise ReconcilerError(f"{commit} is not the newest commit ({head[:10]}); look at what "
                                  "it would stop (iw plan), then confirm that one")
        self._confirmation.write_text(head)
        self.status.add_event(kind="Confirmed", message=f"commit {head[:10]} was confirmed")
        self.wake()
        return head

    # ---- small things ------------------------------------------------------------------------

    @property
    def _confirmation(self) -> Path:
        return self.instance.run_path / "confirmed-commit"

    def _confirmed(self) -> str | None:
        try:
            return self._confirmation.read_text().strip()
        except FileNotFoundError:
            return None

    def _expired(self, snapshot: Snapshot, state: CustomerState) -> frozenset[str]:
        grace, now = snapshot.platform.grace_days, self._now()
        return frozenset(e.id for e in state.employees.values() if is_expired(e, grace, now))

    def _current_states(self, snapshot: Snapshot) -> dict[str, CustomerState]:
        """What each customer should be now: its newest documents, or the last good ones."""
        states = {}
        held = self._decision.hold is not None or self._halt is not None
        for customer, state in snapshot.customers.items():
            revision = self._applied.get(stack_of(customer), Applied()).revision
            if (state.violations or state.customer is None or held) and revision:
                state = self.store.read_customer(revision, customer)
            states[customer] = state
        return states

    def _platform_digest(self, snapshot: Snapshot) -> str:
        text = repr(snapshot.platform) + self.world.program_digest
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _seen(self) -> dict[str, Seen]:
        return {employee: Seen(row["customer"], row["desired_state"] == "running")
                for employee, row in self.fleet.rows().items()}

    def _time(self, kind: str, phase: str, seconds: float) -> None:
        self.metrics.duration.labels(kind, phase).observe(seconds)

    @staticmethod
    def _now() -> datetime:
        return datetime.now(UTC)
