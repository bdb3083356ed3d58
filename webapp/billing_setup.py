"""Billing with its parts: for the web app, and for `python -m webapp.billing_admin`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from state_repo.database import engine_for
from state_repo.status import StatusStore
from state_repo.store import Store
from webapp.billing import Billing, Tell
from webapp.local_payments import LocalPayments
from webapp.models import now
from webapp.payments import StripePayments
from webapp.purchases import Payments
from webapp.settings import Settings


def billing_of(settings: Settings, store: Store, status: StatusStore, *, http_client: Any = None,
               clock: Callable[[], datetime] = now, tell: Tell | None = None) -> Billing:
    """With Stripe if there are keys; else in the local mode, in which nothing is charged."""
    def payments(session: sessionmaker[Session]) -> Payments:
        if settings.stripe is not None:
            return StripePayments(settings.stripe, settings.instance.id, http_client)
        return LocalPayments(session, clock)
    return Billing(settings.instance, store, status, engine_for(settings.instance.database_url),
                   payments, clock=clock, tell=tell)
