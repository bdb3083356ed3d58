"""The local mode: no Stripe keys, so plans are chosen freely and nothing is charged. It keeps in a
table what Stripe would keep, and everything else goes the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from state_repo.documents import Plan
from webapp.billing_models import LocalSubscription
from webapp.purchases import (
    Bill,
    Checkout,
    ForgedError,
    Paid,
    PaymentEvent,
    Purchase,
    Quote,
)

_PAYER = "local_"


class LocalPayments:
    mode = "local"

    def __init__(self, session: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        self._session, self._clock = session, clock

    def payer(self, customer: str, name: str, email: str) -> str:
        return _PAYER + customer

    def checkout(self, purchase: Purchase) -> Checkout:
        with self._session.begin() as session:
            if _current(session, purchase.customer) is None:
                session.add(LocalSubscription(
                    customer=purchase.customer, plan=purchase.plan_id, seats=purchase.seats,
                    created=self._clock()))
        return Checkout(purchase.key, purchase.success_url)

    def abandon(self, checkout: str) -> bool:
        return False

    def portal(self, payer: str, return_url: str) -> str | None:
        return None

    def subscriptions(self, payer: str) -> list[Paid]:
        with self._session() as session:
            return [_paid(row) for row in session.scalars(select(LocalSubscription).where(
                LocalSubscription.customer == payer.removeprefix(_PAYER)))]

    def everything(self) -> Iterator[Paid]:
        with self._session() as session:
            return iter([_paid(row) for row in session.scalars(select(LocalSubscription))])

    def quote(self, paid: Paid, plan: Plan, seats: int, at: datetime) -> Quote:
        return Quote(0, plan.currency, at)

    def change(self, paid: Paid, plan_id: str, plan: Plan, seats: int, at: datetime) -> None:
        with self._session.begin() as session:
            row = _current(session, paid.payer.removeprefix(_PAYER))
            if row is not None:
                row.plan, row.seats = plan_id, seats

    def end(self, paid: Paid, ends: bool = True) -> None:
        with self._session.begin() as session:
            row = _current(session, paid.payer.removeprefix(_PAYER))
            if row is not None and ends:
                row.ended_at = self._clock()

    def undo(self, extra: Paid, since: datetime | None) -> int:
        self.end(extra)
        return 0

    def bills(self, payer: str) -> list[Bill]:
        return []

    def next_bill(self, paid: Paid) -> Bill | None:
        return None

    def events(self, since: datetime) -> Iterator[PaymentEvent]:
        return iter(())

    def verified(self, body: bytes, signature: str) -> PaymentEvent:
        raise ForgedError("this instance has no Stripe keys")

    def report_usage(self, payer: str, value: int, identifier: str, at: datetime) -> None:
        return None


def _current(session: Session, customer: str) -> LocalSubscription | None:
    return session.scalar(select(LocalSubscription).where(
        LocalSubscription.customer == customer, LocalSubscription.ended_at.is_(None)))


def _paid(row: LocalSubscription) -> Paid:
    return Paid(f"{_PAYER}{row.id}", _PAYER + row.customer,
                "active" if row.ended_at is None else "canceled", row.seats, row.created,
                ended_at=row.ended_at, metadata={"plan": row.plan, "customer": row.customer})
