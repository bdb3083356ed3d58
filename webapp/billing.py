"""From what is paid for to what may run, in one direction:

    Stripe ─fetched─▶ subscriptions (SQL) ─commit─▶ customer.yaml ─▶ reconciler

A message from Stripe is only a reason to look: the company's subscriptions are fetched again, and
what they are now is written together with the message's id in one transaction. So it does not
matter whether a message is late, doubled, out of order or lost; the next look sets all right. The
commit reads the newest row while no other writer can come in between, and makes the documents
what the row says, whatever they were. Each step may be interrupted, and repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from state_repo import StateRepoError, changes
from state_repo.changes import Terms
from state_repo.documents import Plan
from state_repo.instance import Instance
from state_repo.snapshot import CustomerView
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from webapp.billing_models import PAID, StripeEvent, Subscription
from webapp.entitlement import Entitlement, entitlement, settle, terms
from webapp.models import Closure, now
from webapp.purchases import HANDLED, Paid, PaymentEvent, Payments, PaymentsError
from webapp.reconciler_api import notify

AUTHOR = Author("Billing", "billing@instantworker.invalid")
REPLAYED, FOREIGN, KEPT = "replayed", "of nobody here", "kept"
_ATTEMPTS = 12
log = logging.getLogger(__name__)
Tell = Callable[[str, str, dict[str, Any]], None]


class Billing:
    """`tell(customer, kind, about)`: writes to a company's owners. Safe in several threads and
    processes."""

    def __init__(self, instance: Instance, store: Store, status: StatusStore, engine: Engine,
                 payments: Callable[[sessionmaker[Session]], Payments], *,
                 clock: Callable[[], datetime] = now, tell: Tell | None = None) -> None:
        self.instance, self.store, self.status, self.clock = instance, store, status, clock
        self.session = sessionmaker(engine, expire_on_commit=False)
        self.payments = payments(self.session)
        self.tell: Tell = tell or _nobody

    # ---- reading -----------------------------------------------------------------------------

    def row(self, customer: str) -> Subscription | None:
        with self.session() as session:
            return session.get(Subscription, customer)

    def rows(self) -> list[Subscription]:
        with self.session() as session:
            return list(session.scalars(select(Subscription).order_by(Subscription.customer)))

    def entitlement(self, row: Subscription | None) -> Entitlement | None:
        rules = self.store.platform().billing
        return entitlement(row.paid, rules, self.clock()) if row is not None else None

    def plans(self) -> dict[str, Plan]:
        return self.store.platform().plans

    def plan_of(self, paid: Paid, before: str | None) -> str | None:
        """By its price; else by what the checkout noted; else as before."""
        plans = self.plans()
        by_price = next((name for name, plan in plans.items()
                         if plan.price_id is not None and plan.price_id == paid.price), None)
        noted = paid.metadata.get("plan")
        return by_price or (noted if noted in plans else before)

    # ---- a message ---------------------------------------------------------------------------

    def take(self, event: PaymentEvent, source: str = "webhook") -> str:
        """Does what a message is the reason for, once. Returns what that was.

        Raises:
            PaymentsError: Stripe did not answer; nothing was stored, and it may be sent again.
        """
        with self.session() as session:
            if session.get(StripeEvent, event.id) is not None:
                return self._replayed(event)
            customer = session.scalar(select(Subscription.customer).where(
                Subscription.payer == event.payer)) if event.payer else None
        if event.type not in HANDLED or customer is None:
            effect = KEPT if event.type not in HANDLED else FOREIGN
            try:
                with self.session.begin() as session:
                    session.add(stored(event, customer, source, effect))
            except IntegrityError:
                return self._replayed(event)
            return effect
        return self.sync(customer, event, source)

    def sync(self, customer: str, event: PaymentEvent | None = None, source: str = "webhook"
             ) -> str:
        """Fetches a company's subscriptions, writes what they are, and makes git follow. Whoever
        wrote in between was newer, so that one looks again. Returns what changed."""
        for _ in range(_ATTEMPTS):
            row = self.row(customer)
            if row is None or row.payer is None or row.mode != self.payments.mode:
                return "nothing to compare"
            settled = settle(self.payments.subscriptions(row.payer))
            values = self.values(settled.kept, row)
            effect = difference_of(row, values)
            try:
                with self.session.begin() as session:
                    if event is not None:
                        session.add(stored(event, customer, source, effect))
                        session.flush()
                    done = session.execute(update(Subscription).where(
                        Subscription.customer == customer, Subscription.version == row.version
                    ).values(**values, version=row.version + 1, synced_at=self.clock()))
                    if not done.rowcount:  # type: ignore[attr-defined]
                        raise _Overtaken
            except _Overtaken:
                continue
            except IntegrityError:
                return self._replayed(event) if event else effect
            self.apply(customer)
            self._undo(customer, row, settled.undo)
            return effect
        raise PaymentsError("busy", f"{customer} changed every time it was looked at; try again")

    def values(self, kept: Paid | None, row: Subscription) -> dict[str, Any]:
        """The columns that a subscription means. One that vanished changes nothing: Stripe lists
        the ended ones too, so it is a fault, and an engineer is told."""
        if kept is None:
            return {"problem": f"Stripe lists no subscription, and {row.id} was one"
                    if row.id and row.mode == "stripe" and not row.id.startswith("local_") else ""}
        plan = self.plan_of(kept, row.plan)
        problem = "" if plan else f"no plan in platform.yaml has the price {kept.price}"
        return {"id": kept.id, "plan": plan, "problem": problem,
                **{name: getattr(kept, name) for name in PAID}}

    def _replayed(self, event: PaymentEvent) -> str:
        log.warning("the event %s (%s) was taken before; nothing was done", event.id, event.type)
        return REPLAYED

    def _undo(self, customer: str, row: Subscription, extras: tuple[tuple[Paid, datetime | None],
                                                                    ...]) -> None:
        for extra, since in extras:
            if extra.id in row.undone and not extra.live:
                continue
            returned = self.payments.undo(extra, since)
            with self.session.begin() as session:
                current = session.get(Subscription, customer)
                if current is not None:
                    current.undone = sorted({*current.undone, extra.id})
            if extra.live or returned:
                self.report(customer, f"a second subscription ({extra.id}) was ended" + (
                    f" and {returned / 100:.2f} were given back" if returned else ""))
                self.tell(customer, "doubled", {"returned": returned, "plan": row.plan})

    # ---- git ---------------------------------------------------------------------------------

    def apply(self, customer: str) -> str | None:
        """Makes the documents what is paid for. Returns how they differed, if they did."""
        seen: dict[str, Any] = {}

        def decide(view: CustomerView) -> Terms | None:
            row = self.row(customer)
            bought = entitlement(row.paid if row else None, view.platform.billing, self.clock())
            seen.update(row=row, bought=bought, before=view.customer)
            closure = self._closure(customer)
            if row is None or bought is None or (closure and closure.done_at):
                return None
            if bought.suspended and not row.stops:
                self.set(customer, stops=True)  # before the commit: who stops it may lift it
            wanted, seen["over"] = terms(view, bought, row.plan, row.chosen, row.over_until,
                                         self.clock())
            by_hand = view.customer is not None and view.customer.suspended and not row.stops
            if by_hand or closure:
                wanted = replace(wanted, suspended=True)
            seen["wanted"] = wanted
            return wanted
        before_head = self.store.head()
        try:
            made, sha = changes.set_plan(self.store, AUTHOR, customer,
                                         f"What {customer} pays for", decide)
        except StateRepoError as error:
            problem = f"the documents could not follow: {error}"[:2000]
            current = self.row(customer)
            if current is not None and current.problem != problem:  # said once, tried often
                self.report(customer, problem)
                self.set(customer, problem=problem)
            return problem
        row: Subscription | None = seen.get("row")
        if row is None:
            return None
        self._applied(row, seen.get("over"), stops=(made.suspended and row.stops) or bool(
            seen["bought"] and seen["bought"].suspended))
        difference = None
        if "wanted" in seen and sha != before_head and (
                seen["before"] != made or seen["wanted"].unseat):
            notify(self.instance.socket)
            difference = _documents(seen["before"], made, seen["wanted"])
        if seen["bought"] is not None:
            self._tell_phase(row, seen["bought"], seen.get("over"))
        return difference

    def apply_pending(self) -> int:
        """Makes git follow where it does not yet, or where a grace has ended. Returns how many."""
        with self.session() as session:
            due = session.scalars(select(Subscription.customer).where(or_(
                Subscription.version != Subscription.applied,
                Subscription.over_until <= self.clock()))).all()
        for customer in due:
            self.apply(customer)
        return len(due)

    def report(self, customer: str | None, message: str) -> None:
        """Says it where engineers look: the log, and `iw events`."""
        log.warning("billing: %s: %s", customer or "-", message)
        self.status.add_event("Billing", message, customer)

    def set(self, customer: str, **values: Any) -> None:
        """Columns that are ours alone; what Stripe says comes by `sync`."""
        with self.session.begin() as session:
            session.execute(update(Subscription).where(
                Subscription.customer == customer).values(**values))

    def _closure(self, customer: str) -> Closure | None:
        with self.session() as session:
            return session.get(Closure, customer)

    def _applied(self, row: Subscription, over: datetime | None, *, stops: bool) -> None:
        """Only if nothing was written since: else it is still to be followed."""
        values: dict[str, Any] = {"applied": row.version, "over_until": over, "stops": stops}
        if over is None:
            values["chosen"] = []
        if row.problem.startswith("the documents"):
            values["problem"] = ""
        with self.session.begin() as session:
            session.execute(update(Subscription).where(
                Subscription.customer == row.customer, Subscription.version == row.version,
            ).values(**values))

    def _tell_phase(self, row: Subscription, bought: Entitlement, over: datetime | None) -> None:
        """One mail a phase that a company has to know of."""
        until = bought.until.date().isoformat() if bought.until else ""
        phase = f"{bought.phase}:{until}" if bought.phase in ("unpaid", "stopped", "ended") else ""
        phase += f"+over:{over.date().isoformat()}" if over else ""
        if phase == row.told:
            return
        with self.session.begin() as session:
            done = session.execute(update(Subscription).where(
                Subscription.customer == row.customer, Subscription.told == row.told
            ).values(told=phase))
            if not done.rowcount:  # type: ignore[attr-defined]
                return
        about = {"until": bought.until.isoformat() if bought.until else None,
                 "over_until": over.isoformat() if over else None, "seats": bought.seats}
        if over and "+over" not in row.told:
            self.tell(row.customer, "over", about)
        if phase.partition("+")[0] != row.told.partition("+")[0]:
            if bought.phase in ("unpaid", "stopped", "ended"):
                self.tell(row.customer, bought.phase, about)
            elif row.told.startswith(("unpaid", "stopped")):
                self.tell(row.customer, "paid", about)


def _nobody(customer: str, kind: str, about: dict[str, Any]) -> None:
    return None


class _Overtaken(Exception):
    """Somebody else wrote first."""


def stored(event: PaymentEvent, customer: str | None, source: str, effect: str) -> StripeEvent:
    return StripeEvent(id=event.id, type=event.type, created=event.created, customer=customer,
                       source=source, effect=effect, body=event.body)


def difference_of(row: Subscription, values: dict[str, Any]) -> str:
    changed = [f"{name} {_word(getattr(row, name))} → {_word(value)}"
               for name, value in values.items() if getattr(row, name) != value]
    return ", ".join(changed) or "nothing new"


def _documents(before: Any, made: Any, wanted: Terms) -> str:
    parts = [f"{name} {_word(getattr(before, field))} → {_word(getattr(made, field))}"
             for name, field in (("plan", "plan"), ("maxEmployees", "max_employees"),
                                 ("suspended", "suspended"))
             if getattr(before, field) != getattr(made, field)]
    parts += [f"{name} lost its seat" for name in wanted.unseat]
    return ", ".join(parts)


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return "none" if value in (None, "") else str(value)



