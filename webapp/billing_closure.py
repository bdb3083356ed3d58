"""A company that is being deleted is not charged any more: its subscription is told to end when the
deletion is asked for, goes on if that is undone, and ends when it is done. Repeated by the
scheduled comparison, so that an answer of Stripe's that was lost costs nobody money."""

from __future__ import annotations

import logging

from webapp.billing import Billing
from webapp.models import Closure
from webapp.purchases import PaymentsError

log = logging.getLogger(__name__)


def follow(billing: Billing, customer: str) -> None:
    """Makes the subscription what the company's closure says. Never raises: it is repeated."""
    try:
        _follow(billing, customer)
    except PaymentsError as error:
        log.warning("%s is being deleted, and its subscription could not be told: %s", customer,
                    error)


def _follow(billing: Billing, customer: str) -> None:
    row = billing.row(customer)
    paid = row.paid if row is not None else None
    if row is None or paid is None or not paid.live or row.mode != billing.payments.mode:
        return
    with billing.session() as session:
        closure = session.get(Closure, customer)
    if closure is not None and closure.done_at is not None:
        billing.payments.undo(paid, None)
    elif row.mode == "local":
        return
    elif closure is not None and not row.closing and paid.ends_at is None:
        billing.payments.end(paid)
        billing.set(customer, closing=True)
    elif closure is None and row.closing:
        billing.payments.end(paid, ends=False)
        billing.set(customer, closing=False)
    else:
        return
    billing.sync(customer)
