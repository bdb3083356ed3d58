"""What is bought, in words of our own: the seam between the house and whoever takes the money.

Two sides implement `Payments`: Stripe (`payments`), and the local mode (`local_payments`), in
which plans are chosen freely and nothing is charged. Money is in the currency's minor unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from state_repo.documents import Plan

Trouble = Literal["declined", "busy", "away", "refused", "keys"]
LIVE = ("trialing", "active", "past_due", "unpaid", "paused")
GOOD = ("trialing", "active")
# What the web app acts on; a webhook endpoint has to be sent all of these.
HANDLED = frozenset((
    "checkout.session.completed", "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed", "customer.subscription.created",
    "customer.subscription.updated", "customer.subscription.deleted",
    "customer.subscription.paused", "customer.subscription.resumed",
    "customer.subscription.trial_will_end", "invoice.paid", "invoice.payment_failed",
    "invoice.payment_action_required", "invoice.voided"))


class PaymentsError(Exception):
    """Whoever takes the money did not do it. `trouble`: the card was declined; too many requests;
    no answer (what was asked may or may not have been done); the request itself; our keys."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class ForgedError(Exception):
    """A message that does not prove to come from Stripe, or is too old."""


@dataclass(frozen=True, slots=True)
class Paid:
    """One subscription, as it is now. `payer`: who pays, by the other side's id. `status`: in
    Stripe's words. `ends_at`: when it was told to end. `unpaid_since`: the oldest open bill."""

    id: str
    payer: str
    status: str
    seats: int
    created: datetime
    item: str = ""
    price: str | None = None
    period_end: datetime | None = None
    trial_end: datetime | None = None
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    unpaid_since: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return self.status in LIVE


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a checkout is for. `key`: the same key makes the same checkout again."""

    customer: str
    payer: str
    plan_id: str
    plan: Plan
    seats: int
    trial_days: int
    success_url: str
    cancel_url: str
    key: str


@dataclass(frozen=True, slots=True)
class Checkout:
    id: str
    url: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a change costs. `due_now`: charged at once; below 0: a credit on the next bill."""

    due_now: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Bill:
    number: str
    status: str
    total: int
    currency: str
    created: datetime
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One message: only its id, its type and whom it is about are believed."""

    id: str
    type: str
    created: datetime
    payer: str | None
    body: dict[str, Any]


class Payments(Protocol):
    """Whoever takes the money. Every method may raise PaymentsError."""

    mode: str

    def payer(self, customer: str, name: str, email: str) -> str:
        """The id under which a customer pays; the same one each time."""
    def checkout(self, purchase: Purchase) -> Checkout: ...
    def abandon(self, checkout: str) -> bool:
        """Closes a checkout. False: it was finished before, or is too old."""
    def portal(self, payer: str, return_url: str) -> str | None:
        """Where cards, bills and cancellation are; None: here."""

    def subscriptions(self, payer: str) -> list[Paid]: ...

    def everything(self) -> Iterator[Paid]: ...
    def quote(self, paid: Paid, plan: Plan, seats: int, at: datetime) -> Quote: ...
    def change(self, paid: Paid, plan_id: str, plan: Plan, seats: int, at: datetime) -> None:
        """Changes plan and seats; asked again with the same `at`, nothing is charged again."""
    def end(self, paid: Paid, ends: bool = True) -> None:
        """At the end of what is paid for; `ends=False`: not, after all."""
    def undo(self, extra: Paid, since: datetime | None) -> int:
        """Ends a subscription that should not be, voids what is open of it, and gives back what
        was paid since. Returns how much."""
    def bills(self, payer: str) -> list[Bill]: ...
    def next_bill(self, paid: Paid) -> Bill | None: ...
    def events(self, since: datetime) -> Iterator[PaymentEvent]: ...
    def verified(self, body: bytes, signature: str) -> PaymentEvent:
        """Raises ForgedError."""
    def report_usage(self, payer: str, value: int, identifier: str, at: datetime) -> None: ...
