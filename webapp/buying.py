"""What an owner does about money: buy, change, choose who is paused, end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_babel import gettext
from sqlalchemy import update

from state_repo.documents import Employee, Plan
from webapp.billing import Billing
from webapp.billing_models import Subscription
from webapp.entitlement import newest_first
from webapp.errors import Problem
from webapp.purchases import Checkout, Paid, PaymentsError, Purchase, Quote

QUOTE_HOLDS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change would do. `excess`: employees that would have no seat; `holders`: who might
    be named for it, the newest first. `smaller`: whose size or budget the plan lowers."""

    plan_id: str
    plan: Plan
    seats: int
    quote: Quote
    excess: int
    holders: list[Employee]
    smaller: list[Employee]


def checkout(billing: Billing, customer: str, plan_id: str, seats: int, *, name: str, email: str
             ) -> Checkout:
    """Where a company pays for its first plan. A second one can't be bought beside it: what was
    bought is looked up first, and an older checkout that is still open is closed."""
    plan = _offered(billing, plan_id, seats)
    row = _payer(billing, customer, name, email)
    for _ in range(3):
        billing.sync(customer)
        row = billing.row(customer) or row
        if row.paid is not None and row.paid.live and ours(billing, row):
            raise Problem(409, "has_plan", "Your company has a plan already. Change it instead.")
        if row.checkout is None or billing.payments.abandon(row.checkout):
            break
        # It was finished meanwhile, or is too old: look again, and don't ask for it a third time.
        _opened(billing, row, None)
    first = row.id is None or not ours(billing, row)
    key = hashlib.sha256("\n".join(map(str, (
        "checkout", billing.instance.id, customer, plan_id, seats, plan.price_id, first,
        row.attempts))).encode()).hexdigest()
    base = billing.instance.app_url
    made = billing.payments.checkout(Purchase(
        customer, row.payer or "", plan_id, plan, seats, plan.trial_days if first else 0,
        f"{base}/billing/success", f"{base}/billing/cancel", key))
    _opened(billing, row, made.id)
    return made


def preview(billing: Billing, customer: str, plan_id: str, seats: int) -> Change:
    """What a change costs and whom it touches, before anybody agrees to it."""
    row, paid = _living(billing, customer)
    plan = _offered(billing, plan_id, seats, holds=row.plan)
    now = billing.clock().replace(microsecond=0)
    quote = billing.payments.quote(paid, plan, seats, now)
    view = billing.store.view(billing.store.head() or "", customer)
    holders = newest_first(view)
    smaller = [e for e in holders if e.resources.cpus > plan.limits.cpus
               or e.resources.memory_mb > plan.limits.memory_mb
               or e.model.monthly_budget_usd > plan.model_budget_usd]
    return Change(plan_id, plan, seats, quote, max(0, len(holders) - seats), holders, smaller)


def change(billing: Billing, customer: str, plan_id: str, seats: int, at: datetime,
           chosen: Iterable[str]) -> None:
    """Does what was previewed at `at`; asked twice, once. `chosen`: who is paused at once."""
    row, paid = _living(billing, customer)
    plan = _offered(billing, plan_id, seats, holds=row.plan)
    if not timedelta(0) <= billing.clock() - at <= QUOTE_HOLDS:
        raise Problem(409, "old_quote", "This price was shown a while ago. Look at it again.")
    if (row.plan, paid.seats) != (plan_id, seats):
        _choose(billing, customer, chosen)
        try:
            billing.payments.change(paid, plan_id, plan, seats, at)
        except PaymentsError as error:
            if error.trouble != "away":  # else it may have been done
                _choose(billing, customer, ())
            raise
    billing.sync(customer)


def choose(billing: Billing, customer: str, chosen: Iterable[str]) -> None:
    """Names who is paused at once, while more hold a seat than are paid for."""
    row = billing.row(customer)
    if row is None or row.over_until is None:
        raise Problem(409, "nothing_to_choose", "There is a seat for everybody.")
    _choose(billing, customer, chosen)
    billing.apply(customer)


def end(billing: Billing, customer: str) -> None:
    _, paid = _living(billing, customer)
    billing.payments.end(paid)
    billing.sync(customer)


def _offered(billing: Billing, plan_id: str, seats: int, holds: str | None = None) -> Plan:
    plan = billing.plans().get(plan_id)
    if plan is None or not (plan.offered or plan_id == holds):
        raise Problem(404, "no_plan", "This plan is not offered. Choose another one.")
    if not plan.seats.min <= seats <= plan.seats.max:
        raise Problem(422, "seats", gettext("%(title)s has %(min)s to %(max)s seats.",
                                            title=plan.title, min=plan.seats.min,
                                            max=plan.seats.max))
    return plan


def ours(billing: Billing, row: Subscription) -> bool:
    """Whether its subscription is with who takes the money now: one of the local mode is not
    paid for once there are keys."""
    return row.mode == billing.payments.mode and (
        row.id or "").startswith("local_") == (billing.payments.mode == "local")


def _living(billing: Billing, customer: str) -> tuple[Subscription, Paid]:
    row = billing.row(customer)
    paid = row.paid if row is not None else None
    if row is None or paid is None or not paid.live or not ours(billing, row):
        raise Problem(409, "no_plan", "Your company has no plan yet. Choose one first.")
    return row, paid


def _payer(billing: Billing, customer: str, name: str, email: str) -> Subscription:
    """The company's row, with the id under which it pays."""
    row = billing.row(customer)
    if row is not None and row.payer is not None and row.mode == billing.payments.mode:
        return row
    payer = billing.payments.payer(customer, name, email)
    with billing.session.begin() as session:
        row = session.get(Subscription, customer)
        if row is None:
            row = Subscription(customer=customer)
            session.add(row)
        row.mode, row.payer, row.checkout = billing.payments.mode, payer, None
    return row


def _opened(billing: Billing, row: Subscription, made: str | None) -> None:
    with billing.session.begin() as session:
        session.execute(update(Subscription).where(
            Subscription.customer == row.customer, Subscription.attempts == row.attempts
        ).values(checkout=made, attempts=row.attempts + (made is not None)))
    row.checkout = made


def _choose(billing: Billing, customer: str, chosen: Iterable[str]) -> None:
    with billing.session.begin() as session:
        session.execute(update(Subscription).where(Subscription.customer == customer)
                        .values(chosen=sorted(set(chosen))[:10_000]))
