"""The scheduled comparison of everything: what Stripe says, what we have, what git says, what was
spent. It repairs what lost messages left behind, and says what it found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from webapp.billing import Billing, difference_of, stored
from webapp.billing_closure import follow
from webapp.billing_models import BillingRun, StripeEvent, Subscription, UsageReport
from webapp.entitlement import settle
from webapp.errors import Problem
from webapp.purchases import Paid, PaymentsError
from webapp.reconciler_api import ask

IN_FLIGHT = timedelta(minutes=2)  # a younger message is not lost, only on its way
LOOK_BACK, KEEP, KEEP_RUNS = timedelta(days=3), timedelta(days=90), 1000
Spent = Callable[[str, str], float]


@dataclass(slots=True)
class Report:
    """`found`: each difference in a sentence; every one of them is repaired or says that not."""

    at: datetime
    subscriptions: int = 0
    lost_events: int = 0
    found: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "subscriptions": self.subscriptions,
                "lost_events": self.lost_events, "found": self.found,
                "seconds": round(self.seconds, 3)}


def reconcile(billing: Billing, spent: Spent | None = None) -> Report:
    """`spent(customer, month)`: USD from the model proxy's ledger, for Stripe's meter.

    Raises:
        PaymentsError: Stripe did not answer; what was repaired until then stays so.
    """
    began, report = time.perf_counter(), Report(billing.clock())
    # Messages first: one that comes after this look is not marked as taken by it.
    lost = _lost_events(billing)
    versions = {row.customer: row.version for row in billing.rows()}
    by_payer: dict[str, list[Paid]] = {}
    for paid in billing.payments.everything():
        by_payer.setdefault(paid.payer, []).append(paid)
        report.subscriptions += 1
    _adopt(billing, by_payer, report)
    for row in billing.rows():
        _compare(billing, row, by_payer, report, versions.get(row.customer) == row.version)
    report.lost_events = _mark(billing, lost)
    _unaccounted(billing, report)
    settings = getattr(billing.payments, "settings", None)
    if spent is not None and settings is not None and settings.meter is not None:
        _meter(billing, spent, report)
    report.seconds = time.perf_counter() - began
    _keep(billing, report)
    return report


def _compare(billing: Billing, row: Subscription, by_payer: dict[str, list[Paid]],
             report: Report, untouched: bool) -> None:
    """`untouched`: nobody wrote the row since before the look, so that a difference is one."""
    def say(message: str) -> None:
        report.found.append(f"{row.customer}: {message}")
        billing.report(row.customer, message)
    if row.payer is not None and row.mode == billing.payments.mode:
        settled = settle(by_payer.get(row.payer, []))
        values = billing.values(settled.kept, row)
        values.pop("problem", None)
        stale = any(getattr(row, name) != value for name, value in values.items())
        extra = [one for one, _ in settled.undo if one.live or one.id not in row.undone]
        if stale and untouched:
            say(f"our record was behind Stripe's: {difference_of(row, values)}")
        if stale or extra or settled.kept is None:
            billing.sync(row.customer)
    if row.mode != billing.payments.mode or (
            billing.payments.mode == "stripe" and (row.id or "").startswith("local_")):
        say("its plan was chosen in the local mode and is not paid for; it holds until one is "
            "bought at /billing")
    follow(billing, row.customer)
    difference = billing.apply(row.customer)
    if difference:
        say(f"its documents were not what is paid for: {difference}")
    current = billing.row(row.customer)
    if current is not None and _held(billing, current):
        report.found.append(f"{row.customer}: pays, and is suspended by hand or being deleted; "
                            "that was left so")
    if current is not None and current.problem and current.problem not in (difference or ""):
        say(current.problem)


def _held(billing: Billing, row: Subscription) -> bool:
    """Whether it pays and was suspended by hand, or is being deleted."""
    bought = billing.entitlement(row)
    state = billing.store.read_customer(billing.store.head() or "", row.customer)
    return bought is not None and not bought.suspended and not row.stops and (
        state.customer is not None and state.customer.suspended)


def _adopt(billing: Billing, by_payer: dict[str, list[Paid]], report: Report) -> None:
    """Takes up subscriptions of companies of ours that we have no row of: after a restore."""
    known = {row.payer for row in billing.rows()}
    customers = billing.store.snapshot().customers
    for payer, found in by_payer.items():
        noted = found[0].metadata
        customer = noted.get("customer", "")
        if payer in known or noted.get("instance") != billing.instance.id or (
                customer not in customers):
            continue
        with billing.session.begin() as session:
            row = session.get(Subscription, customer)
            if row is not None and row.payer is not None and row.mode == billing.payments.mode:
                report.found.append(f"{customer}: pays under two ids at Stripe, {row.payer} and "
                                    f"{payer}; move its subscription by hand")
                continue
            if row is None:
                row = Subscription(customer=customer)
                session.add(row)
            row.mode, row.payer = billing.payments.mode, payer
        report.found.append(f"{customer}: paid as {payer}, of which we knew nothing")


def _unaccounted(billing: Billing, report: Report) -> None:
    """Plans that nobody bought: reported, and left as people made them."""
    known = {row.customer for row in billing.rows()}
    for name, state in billing.store.snapshot().customers.items():
        if name not in known and state.customer is not None and state.customer.plan is not None:
            report.found.append(f"{name}: customer.yaml names the plan {state.customer.plan}, and "
                                "nobody bought it; its seats were given by hand")


def _lost_events(billing: Billing) -> list[Any]:
    with billing.session() as session:
        last = session.scalar(select(func.max(BillingRun.at)))
    since = (last or billing.clock() - LOOK_BACK) - timedelta(hours=1)
    payers = {row.payer: row.customer for row in billing.rows()}
    found = []
    for event in billing.payments.events(since):
        if event.payer in payers and event.created < billing.clock() - IN_FLIGHT:
            found.append((event, payers[event.payer]))
    return found



def _mark(billing: Billing, lost: list[Any]) -> int:
    """Notes as taken what never arrived: its effect is there, and a late copy does nothing."""
    count = 0
    for event, customer in lost:
        try:
            with billing.session.begin() as session:
                if session.get(StripeEvent, event.id) is None:
                    session.add(stored(event, customer, "reconciliation", "never arrived"))
                    count += 1
        except IntegrityError:
            continue
    return count


def ledger(billing: Billing) -> Spent:
    """What the model proxy's ledger says, by way of the reconciler."""
    def spent(customer: str, month: str) -> float:
        try:
            found = ask(billing.instance.socket, "GET", ["customers", customer, "usage"],
                        {"month": month}, timeout_s=10.0).json()
        except Problem as problem:
            raise PaymentsError("away", problem.message) from problem
        return float(found["customer"]["settled_usd"])
    return spent


def _meter(billing: Billing, spent: Spent, report: Report) -> None:
    """Tells Stripe's meter what was spent since the last time, this month and last."""
    now = billing.clock()
    months = {now.strftime("%Y-%m"), (now.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")}
    for row in billing.rows():
        if row.payer is None or row.mode != "stripe":
            continue
        for month in sorted(months):
            try:
                _meter_one(billing, row.customer, row.payer, month,
                           round(spent(row.customer, month) * 100))
            except PaymentsError as error:
                report.found.append(f"{row.customer}: its model spend could not be reported: "
                                    f"{error}; it is sent again next time")


def _meter_one(billing: Billing, customer: str, payer: str, month: str, cents: int) -> None:
    with billing.session.begin() as session:
        written = list(session.scalars(select(UsageReport).where(
            UsageReport.customer == customer, UsageReport.month == month)))
        told = max((one.upto_cents for one in written), default=0)
        if cents > told:
            fresh = UsageReport(id=f"iw-{billing.instance.id}-{customer}-{month}-{cents}",
                                customer=customer, month=month, upto_cents=cents,
                                cents=cents - told, at=billing.clock(), sent=False)
            session.add(fresh)
            written.append(fresh)
    for one in written:
        if not one.sent:
            billing.payments.report_usage(payer, one.cents, one.id, one.at)
            with billing.session.begin() as session:
                stored = session.get(UsageReport, one.id)
                if stored is not None:
                    stored.sent = True


def _keep(billing: Billing, report: Report) -> None:
    with billing.session.begin() as session:
        session.add(BillingRun(at=report.at, seconds=report.seconds, found=report.found,
                               subscriptions=report.subscriptions,
                               lost_events=report.lost_events))
        session.execute(delete(StripeEvent).where(
            StripeEvent.received_at < billing.clock() - KEEP))
        newest = session.scalar(select(func.max(BillingRun.id))) or 0
        session.execute(delete(BillingRun).where(BillingRun.id <= newest - KEEP_RUNS))
    if report.lost_events:
        billing.report(None, f"{report.lost_events} messages from Stripe never arrived; what they "
                             "were about was looked up. Check the webhook: iw billing doctor")
