"""The tables of money. `subscriptions` is what Stripe said last; git follows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Float, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from state_repo.status import UtcTime
from webapp.models import db, now
from webapp.purchases import Paid

# Columns of a subscription that are Stripe's word, by the same names as in `Paid`.
PAID = ("status", "seats", "created", "item", "price", "period_end", "trial_end", "ends_at",
        "ended_at", "unpaid_since")


class Subscription(db.Model):  # type: ignore[name-defined, misc]
    """One company's. `mode`: stripe or local. `version` counts what was written, `applied` is the
    version that git was made equal to. `checkout`: the newest that may still be open, `attempts`
    how many were made. `over_until`: when the newest are paused, if more hold a seat than are
    paid for; `chosen`: whom the company named instead. `told`: the last phase that a mail told
    of. `undone`: subscriptions that were given back. `stops`: billing suspended the company, so
    that billing may lift it; who was suspended by hand stays so. `closing`: it was told to end
    because the company is being deleted."""

    __tablename__ = "subscriptions"
    customer: Mapped[str] = mapped_column(String(64), primary_key=True)
    mode: Mapped[str] = mapped_column(String(8))
    payer: Mapped[str | None] = mapped_column(String(80), unique=True)
    id: Mapped[str | None] = mapped_column(String(80), index=True)
    plan: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(24), default="none")
    seats: Mapped[int] = mapped_column(Integer, default=0)
    item: Mapped[str] = mapped_column(String(80), default="")
    price: Mapped[str | None] = mapped_column(String(80))
    created: Mapped[datetime | None] = mapped_column(UtcTime)
    period_end: Mapped[datetime | None] = mapped_column(UtcTime)
    trial_end: Mapped[datetime | None] = mapped_column(UtcTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    unpaid_since: Mapped[datetime | None] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer, default=0)
    applied: Mapped[int] = mapped_column(Integer, default=0)
    checkout: Mapped[str | None] = mapped_column(String(120))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    over_until: Mapped[datetime | None] = mapped_column(UtcTime)
    chosen: Mapped[list[str]] = mapped_column(JSON, default=list)
    told: Mapped[str] = mapped_column(String(80), default="")
    undone: Mapped[list[str]] = mapped_column(JSON, default=list)
    stops: Mapped[bool] = mapped_column(Boolean, default=False)
    closing: Mapped[bool] = mapped_column(Boolean, default=False)
    problem: Mapped[str] = mapped_column(Text, default="")
    synced_at: Mapped[datetime | None] = mapped_column(UtcTime)

    @property
    def paid(self) -> Paid | None:
        """The subscription that counts; None when nothing was bought yet."""
        if self.id is None or self.created is None:
            return None
        return Paid(self.id, self.payer or "", **{name: getattr(self, name) for name in PAID})


class StripeEvent(db.Model):  # type: ignore[name-defined, misc]
    """A message that was taken, with what it did: so that it does it once. `source`: webhook, or
    reconciliation, which found that it had been lost."""

    __tablename__ = "stripe_events"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    type: Mapped[str] = mapped_column(String(80))
    created: Mapped[datetime] = mapped_column(UtcTime)
    received_at: Mapped[datetime] = mapped_column(UtcTime, default=now, index=True)
    customer: Mapped[str | None] = mapped_column(String(64), index=True)
    source: Mapped[str] = mapped_column(String(16))
    effect: Mapped[str] = mapped_column(Text, default="")
    body: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class BillingRun(db.Model):  # type: ignore[name-defined, misc]
    """One reconciliation: what it compared, and each difference that it found and repaired."""

    __tablename__ = "billing_runs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    seconds: Mapped[float] = mapped_column(Float, default=0.0)
    subscriptions: Mapped[int] = mapped_column(Integer, default=0)
    lost_events: Mapped[int] = mapped_column(Integer, default=0)
    found: Mapped[list[str]] = mapped_column(JSON, default=list)


class UsageReport(db.Model):  # type: ignore[name-defined, misc]
    """Model spend told to Stripe's meter. Written before it is sent and sent as it was written,
    so that asking again can't count it twice. Cents; `id` is Stripe's identifier."""

    __tablename__ = "usage_reports"
    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    customer: Mapped[str] = mapped_column(String(64), index=True)
    month: Mapped[str] = mapped_column(String(7))
    upto_cents: Mapped[int] = mapped_column(Integer)
    cents: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    sent: Mapped[bool] = mapped_column(Boolean, default=False)


class LocalSubscription(db.Model):  # type: ignore[name-defined, misc]
    """What was chosen in the local mode (`local_payments`); Stripe's place in it."""

    __tablename__ = "local_subscriptions"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    customer: Mapped[str] = mapped_column(String(64), index=True)
    plan: Mapped[str] = mapped_column(String(64))
    seats: Mapped[int] = mapped_column(Integer)
    created: Mapped[datetime] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
