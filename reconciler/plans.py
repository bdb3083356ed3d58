"""Plans: what a commit, or a change under review, would do to reality, by real previews.

A plan touches nothing and holds no lock: each has a policy pack of its own, so that what may be
planned says nothing of what may be run. Of a change only the stacks are previewed whose documents
differ, so that its cost grows with the change and not with the fleet. Its digest names what was
reviewed: a merge is bound to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from policies.check_push import violations_of
from policies.pack import hosted
from policies.resources import Tenant
from reconciler import ReconcilerError
from reconciler.decide import (
    PLATFORM,
    Decision,
    Wanted,
    customer_of,
    decide,
    given_skills,
    is_expired,
    kept_of,
    stack_of,
)
from reconciler.engine import Program, ResourceChange
from reconciler.loop import Reconciler, seen_of
from state_repo import StateRepoError
from state_repo.documents import Platform
from state_repo.review import Changes, FileChange
from state_repo.snapshot import CustomerState, Snapshot

AT_ONCE = 4  # previews; each is a process of its own
_NOBODY: frozenset[str] = frozenset()
_CONTAINER = "docker:index/container:Container"
_DOES = {"create": "starts", "update": "changes as it runs", "replace": "is interrupted",
         "delete": "stops"}


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What would happen to one stack. `problems`: why it would fail, or be refused. `notes`: what
    else should be known."""

    stack: str
    changes: tuple[ResourceChange, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"stack": self.stack, "changes": [c.as_json(values=True) for c in self.changes],
                "problems": list(self.problems), "notes": list(self.notes),
                "employees": [{"employee": c.name.removeprefix("employee-"), "does": _DOES[c.op]}
                              for c in self.changes if c.type == _CONTAINER and c.op in _DOES
                              and c.name.startswith("employee-")]}


class Planner:
    """Plans of one reconciler."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._r = reconciler

    def newest(self, customer: str | None = None) -> dict[str, Any]:
        """What the newest commit would change: all of it, or one customer's part.

        Raises:
            ReconcilerError: no such customer.
        """
        snapshot = self._r.store.snapshot(self._r.store.head())
        if customer is not None and customer not in snapshot.customers:
            raise ReconcilerError(f"there is no customer {customer}; see `iw status`")
        now = datetime.now(UTC)
        decision = self._decide(snapshot, now)
        stacks = self._preview(
            snapshot, decision, now, [customer] if customer else list(snapshot.customers),
            platform=customer is None)
        return {"commit": snapshot.commit,
                "changes": [c.as_json() | {"stack": plan.stack} for plan in stacks
                            for c in plan.changes],
                "diagnostics": [line for plan in stacks for line in plan.problems]}

    def change(self, name: str) -> dict[str, Any]:
        """What main would do with a change in it.

        Raises:
            NoChangeError: there is no such branch.
        """
        r, changes = self._r, Changes(self._r.store)
        change = changes.find(name)
        found: dict[str, Any] = {"change": name, "head": change.head, "main": change.main}
        try:
            draft = r.store.draft(bytes.fromhex(changes.merged(change)), change.main)
            files = changes.files(change.main, draft)
        except StateRepoError as error:
            return _told(found, [], [], [str(error)])
        violations = list(map(str, violations_of(r.store, change.main, draft)))
        if violations:
            return _told(found, files, [], violations)
        before, after = r.store.snapshot(change.main), r.store.snapshot(draft)
        stacks = self._stacks(before, after)
        return _told(found, files, stacks, []) | {"cost": _costs(before, after)}

    def _stacks(self, before: Snapshot, after: Snapshot) -> list[StackPlan]:
        everybody = self._r.shared_digest(before.platform) != self._r.shared_digest(after.platform)
        platform = self._r.platform_digest(before.platform) != self._r.platform_digest(
            after.platform)

        def skills(of: Snapshot, name: str) -> list[str]:
            return given_skills(of.customers[name], of.platform.skills)

        touched = [name for name, state in after.customers.items()
                   if everybody or name not in before.customers
                   or before.customers[name].digest != state.digest
                   or skills(before, name) != skills(after, name)]
        now = datetime.now(UTC)
        was, decision = self._decide(before, now), self._decide(after, now)
        gone = [StackPlan(stack_of(name), notes=(
            decision.held.get(name, f"customers/{name}/ vanishes; nothing was ever made of it"),))
            for name in before.customers if name not in after.customers]
        braked = decision.hold.stops if decision.hold and decision.hold != was.hold else {}
        found = self._preview(after, decision, now, touched, platform=platform)
        return [replace(plan, notes=(*plan.notes,
            f"The brake will hold this: it would stop {', '.join(stopped)} at once. After the "
            "merge, iw confirm lets it through.",)) if (
                stopped := braked.get(customer_of(plan.stack) or "")) else plan
                for plan in found] + gone

    def _decide(self, snapshot: Snapshot, now: datetime) -> Decision:
        r = self._r
        return decide(snapshot, r.platform_digest(snapshot.platform), r.book.applied(),
                      r.book.wanted(), {}, now,
                      seen=seen_of(r.turn.look) if r.turn else None, owners=r.book.owners(),
                      shared_digest=r.shared_digest(snapshot.platform))

    def _preview(self, snapshot: Snapshot, decision: Decision, now: datetime,
                 customers: Iterable[str], *, platform: bool) -> list[StackPlan]:
        programs, tenants = dict[str, Program](), dict[str, Tenant]()
        held: list[StackPlan] = []
        notes = {name: str(freeze) for name in customers
                 if (freeze := snapshot.freeze_of(name, now))}  # to be done when that is over
        if platform:
            programs[PLATFORM] = self._r.world.platform_program(snapshot.platform)
        for name in customers:
            state = snapshot.customers[name]
            if name in decision.held and not notes.get(name) and not (
                    decision.hold and name in decision.hold.stops):
                held.append(StackPlan(stack_of(name), problems=tuple(
                    decision.held[name].splitlines())))
                continue
            wanted = self._wanted(snapshot.platform, state, decision, now)
            programs[stack_of(name)] = self._r.world.customer_program(wanted)
            tenants[f"customer-{name}"] = self._r.world.tenant_of(wanted)
        return [*(replace(plan, notes=(notes[name],)) if (
            name := customer_of(plan.stack) or "") in notes else plan
            for plan in self._run(programs, tenants)), *held]

    def _wanted(self, platform: Platform, state: CustomerState, decision: Decision,
                now: datetime) -> Wanted:
        expired = frozenset(e.id for e in state.employees.values()
                            if is_expired(e, platform.grace_days, now))
        kept = kept_of(state, self._r.book.wanted().get(state.id), (), platform.grace_days, now)
        return Wanted(platform, state, kept, expired, decision.lost.get(state.id, _NOBODY))

    def _run(self, programs: Mapping[str, Program], tenants: Mapping[str, Tenant]
             ) -> list[StackPlan]:
        r = self._r
        with hosted(lambda stack: tenants.get(stack) or r.world.tenant(stack),
                    r.instance.run_path) as policy_pack, ThreadPoolExecutor(AT_ONCE) as pool:
            def preview(stack: str) -> StackPlan:
                run = r.engine.preview(stack.replace("/", "-"), programs[stack], refresh=True,
                                       policy_pack=policy_pack)
                return StackPlan(stack, tuple(sorted(run.changes, key=lambda c: (c.type, c.name))),
                                 (*run.violations, *run.errors))
            return list(pool.map(preview, programs))


def _told(found: dict[str, Any], files: list[FileChange], stacks: list[StackPlan],
          problems: list[str]) -> dict[str, Any]:
    """The plan as it is sent, with its digest: of everything in it but where main and the branch
    stood."""
    parts = {"documents": [_document(file) for file in files],
             "stacks": [stack.as_json() for stack in stacks], "problems": problems}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    return found | parts | {"digest": digest.hexdigest()[:16]}


def _document(file: FileChange) -> dict[str, Any]:
    does = ("added" if file.before is None else "removed" if file.after is None else "changed")
    return {"path": file.path, "does": does, "diff": file.diff(),
            "fields": [{"field": name, "old": old, "new": new}
                       for name, old, new in file.fields()]}


def _costs(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """What a month costs more (or less): seats by their plans, in the minor unit of each currency
    ("seats_usd"), and what employees may spend on models, in USD."""
    found: dict[str, float] = {}
    for sign, snapshot in ((-1, before), (1, after)):
        for state in snapshot.customers.values():
            plan = snapshot.platform.plans.get((state.customer and state.customer.plan) or "")
            if state.customer is not None and plan is not None:
                seats = plan.amount * state.customer.max_employees / (
                    12 if plan.interval == "year" else 1)
                key = f"seats_{plan.currency}"
                found[key] = found.get(key, 0.0) + sign * seats
            found["models_usd"] = found.get("models_usd", 0.0) + sign * sum(
                e.model.monthly_budget_usd for e in state.employees.values()
                if e.state == "running")
    return {key: round(value, 2) for key, value in found.items() if round(value, 2)}
