"""Stripe, and the only module that knows it. Answers become our own words (`purchases`) here, and
so do its errors.

Every call that charges carries an idempotency key made of what is asked, never of chance: asked
twice, by a double click or after a lost answer, it is done once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import stripe

from state_repo.documents import Plan
from webapp.purchases import (
    HANDLED,
    Bill,
    Checkout,
    ForgedError,
    Paid,
    PaymentEvent,
    PaymentsError,
    Purchase,
    Quote,
    Trouble,
)
from webapp.settings import StripeSettings

TOLERANCE_S = 300
TIMEOUT_S = 20
API_VERSION = stripe.api_version
_PAGE = 100
Json = dict[str, Any]


class StripePayments:
    """`instance`: marks what is ours, where several installations share an account."""

    mode = "stripe"

    def __init__(self, settings: StripeSettings, instance: str,
                 http_client: stripe.HTTPClient | None = None) -> None:
        self.settings, self._instance = settings, instance
        self._client = stripe.StripeClient(
            settings.secret_key, stripe_version=API_VERSION, max_network_retries=2,
            base_addresses={"api": settings.api_base} if settings.api_base else {},
            http_client=http_client or stripe.RequestsClient(timeout=TIMEOUT_S))
        self._v1: Any = self._client.v1

    # ---- buying ------------------------------------------------------------------------------

    def payer(self, customer: str, name: str, email: str) -> str:
        # Of a changed name or address Stripe must not say that the key was used for another one.
        made = self._ask(lambda: self._v1.customers.create(
            {"name": name, "email": email,
             "metadata": {"customer": customer, "instance": self._instance}},
            {"idempotency_key": _key("payer", self._instance, customer, name, email)}))
        return made["id"]

    def checkout(self, purchase: Purchase) -> Checkout:
        plan = purchase.plan
        about = {"customer": purchase.customer, "instance": self._instance,
                 "plan": purchase.plan_id, "max_employees": str(purchase.seats)}
        wanted: Any = {
            "mode": "subscription", "customer": purchase.payer,
            "client_reference_id": purchase.customer, "metadata": about,
            "line_items": [{
                "price": _price(plan), "quantity": purchase.seats,
                "adjustable_quantity": {"enabled": True, "minimum": plan.seats.min,
                                        "maximum": plan.seats.max}}],
            "subscription_data": {"metadata": about} | (
                {"trial_period_days": purchase.trial_days} if purchase.trial_days else {}),
            "allow_promotion_codes": True, "tax_id_collection": {"enabled": True},
            "customer_update": {"name": "auto", "address": "auto"},
            "success_url": purchase.success_url, "cancel_url": purchase.cancel_url}
        if self.settings.automatic_tax:
            wanted["automatic_tax"] = {"enabled": True}
        made = self._ask(lambda: self._v1.checkout.sessions.create(
            wanted, {"idempotency_key": purchase.key}))
        return Checkout(made["id"], made["url"])

    def abandon(self, checkout: str) -> bool:
        try:
            self._ask(lambda: self._v1.checkout.sessions.expire(checkout))
        except PaymentsError as error:
            if error.trouble != "refused":
                raise
            return False
        return True

    def portal(self, payer: str, return_url: str) -> str | None:
        return self._ask(lambda: self._v1.billing_portal.sessions.create(
            {"customer": payer, "return_url": return_url}))["url"]

    # ---- what was bought ---------------------------------------------------------------------

    def subscriptions(self, payer: str) -> list[Paid]:
        return list(self._subscriptions({"customer": payer}))

    def everything(self) -> Iterator[Paid]:
        return self._subscriptions({})

    def _subscriptions(self, which: Json) -> Iterator[Paid]:
        for found in self._all(lambda after: self._v1.subscriptions.list(
                {**which, "status": "all", "limit": _PAGE, **after})):
            since = None
            if found["status"] in ("past_due", "unpaid"):
                since = min((bill["created"] for bill in self._invoices(
                    {"subscription": found["id"], "status": "open"})), default=None)
            paid = _paid(found, since)
            if paid is not None:
                yield paid

    def bills(self, payer: str) -> list[Bill]:
        found = self._ask(lambda: self._v1.invoices.list({"customer": payer, "limit": 12}))
        return [_bill(bill) for bill in found["data"]]

    def next_bill(self, paid: Paid) -> Bill | None:
        if not paid.live or paid.ends_at is not None:
            return None
        return _bill(self._ask(lambda: self._v1.invoices.create_preview(
            {"customer": paid.payer, "subscription": paid.id})))

    # ---- changing ----------------------------------------------------------------------------

    def quote(self, paid: Paid, plan: Plan, seats: int, at: datetime) -> Quote:
        preview = self._ask(lambda: self._v1.invoices.create_preview({
            "customer": paid.payer, "subscription": paid.id, "subscription_details": {
                "items": [{"id": paid.item, "price": _price(plan), "quantity": seats}],
                "proration_behavior": "always_invoice", "proration_date": _stamp(at)}}))
        return Quote(sum(line["amount"] for line in preview["lines"]["data"] if _prorated(line)),
                     preview["currency"], at)

    def change(self, paid: Paid, plan_id: str, plan: Plan, seats: int, at: datetime) -> None:
        wanted: Any = {
            "items": [{"id": paid.item, "price": _price(plan), "quantity": seats}],
            "proration_date": _stamp(at), "metadata": {"plan": plan_id,
                                                       "max_employees": str(seats)}}
        # What costs more is given when it is paid; what costs less becomes a credit.
        dearer = self.quote(paid, plan, seats, at).due_now > 0
        wanted |= {"proration_behavior": "always_invoice",
                   "payment_behavior": "error_if_incomplete"} if dearer else {
                       "proration_behavior": "create_prorations"}
        self._ask(lambda: self._v1.subscriptions.update(paid.id, wanted, {
            "idempotency_key": _key("change", paid.id, _price(plan), seats, _stamp(at), dearer)}))

    def end(self, paid: Paid, ends: bool = True) -> None:
        self._ask(lambda: self._v1.subscriptions.update(paid.id, {"cancel_at_period_end": ends}))

    def undo(self, extra: Paid, since: datetime | None) -> int:
        # Money first: a subscription that is still there is found again after a crash.
        returned = 0
        for bill in list(self._invoices({"subscription": extra.id})):
            due = bill["amount_paid"] - (bill.get("post_payment_credit_notes_amount") or 0)
            if bill["status"] == "open":
                self._ask(lambda bill=bill: self._v1.invoices.void_invoice(bill["id"]))
            elif bill["status"] == "paid" and due > 0 and (
                    since is not None and bill["created"] >= _stamp(since)):
                wanted: Any = {"invoice": bill["id"], "amount": due, "refund_amount": due,
                               "reason": "duplicate"}
                self._ask(lambda bill=bill, wanted=wanted: self._v1.credit_notes.create(
                    wanted, {"idempotency_key": _key("undo", bill["id"], wanted["amount"])}))
                returned += due
        if extra.live:
            self._ask(lambda: self._v1.subscriptions.cancel(extra.id, {"prorate": False}))
        return returned

    # ---- events and usage --------------------------------------------------------------------

    def verified(self, body: bytes, signature: str) -> PaymentEvent:
        try:
            text = body.decode()
            stripe.WebhookSignature.verify_header(text, signature, self.settings.webhook_secret,
                                                  TOLERANCE_S)
            return _event(json.loads(text))
        except (stripe.SignatureVerificationError, UnicodeDecodeError, ValueError, KeyError,
                TypeError, IndexError) as error:
            raise ForgedError(str(error).splitlines()[0] if str(error) else "malformed") from error

    def events(self, since: datetime) -> Iterator[PaymentEvent]:
        types: Any = sorted(HANDLED)
        return (_event(found) for found in self._all(lambda after: self._v1.events.list({
            "types": types, "created": {"gte": _stamp(since)}, "limit": _PAGE, **after})))

    def report_usage(self, payer: str, value: int, identifier: str, at: datetime) -> None:
        if self.settings.meter is None:
            return
        meter = self.settings.meter
        try:
            self._ask(lambda: self._v1.billing.meter_events.create({
                "event_name": meter, "identifier": identifier, "timestamp": _stamp(at),
                "payload": {"stripe_customer_id": payer, "value": str(value)}}))
        except PaymentsError as error:
            if error.trouble != "refused" or "identifier" not in str(error):
                raise  # else: it was counted before, and the answer was lost

    # ---- for the doctor ----------------------------------------------------------------------

    def account(self) -> Json:
        return self._ask(lambda: self._v1.accounts.retrieve_current())

    def price(self, price: str) -> Json:
        return self._ask(lambda: self._v1.prices.retrieve(price))

    def endpoints(self) -> list[Json]:
        return list(self._all(lambda after: self._v1.webhook_endpoints.list(
            {"limit": _PAGE, **after})))

    def portals(self) -> list[Json]:
        """The default settings of the customer portal; without them it can't be opened."""
        return list(self._all(lambda after: self._v1.billing_portal.configurations.list(
            {"is_default": True, "active": True, "limit": _PAGE, **after})))

    def clock(self) -> datetime | None:
        """Stripe's, by the header of an answer."""
        with _our_errors():
            answer = self._v1.balance.retrieve().last_response
        stated = answer.headers.get("Date") or answer.headers.get("date") if answer else None
        return (datetime.strptime(stated, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
                if stated else None)

    # ---- small things ------------------------------------------------------------------------

    def _invoices(self, which: Json) -> Iterator[Json]:
        return self._all(lambda after: self._v1.invoices.list({**which, "limit": _PAGE, **after}))

    def _ask(self, call: Callable[..., Any]) -> Json:
        with _our_errors():
            return call().to_dict()

    def _all(self, page: Callable[[Json], Any]) -> Iterator[Json]:
        after: Json = {}
        while True:
            found = self._ask(lambda after=after: page(after))
            yield from found["data"]
            if not found["has_more"] or not found["data"]:
                return
            after = {"starting_after": found["data"][-1]["id"]}


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        said = getattr(error, "user_message", None) or str(error) or type(error).__name__
        logging.getLogger(__name__).warning("Stripe: %s %s (request %s)", type(error).__name__,
                                            error.code or "", error.request_id)
        raise PaymentsError(_trouble(error), said) from error


def _trouble(error: stripe.StripeError) -> Trouble:
    match error:
        case stripe.CardError():
            return "declined"
        case stripe.RateLimitError():
            return "busy"
        case stripe.AuthenticationError() | stripe.PermissionError():
            return "keys"
        case stripe.InvalidRequestError() | stripe.IdempotencyError():
            return "refused"
    return "away"


def _key(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _price(plan: Plan) -> str:
    if plan.price_id is None:
        raise PaymentsError("refused", f"{plan.title} has no price at Stripe yet")
    return plan.price_id


def _stamp(at: datetime) -> int:
    return int(at.timestamp())


def _time(stamp: int | None) -> datetime | None:
    return datetime.fromtimestamp(stamp, UTC) if stamp is not None else None


def _paid(found: Json, unpaid_since: int | None) -> Paid | None:
    """None for a subscription without a seat in it: something else that the account sells."""
    item = next((i for i in found["items"]["data"]
                 if i["price"]["recurring"]["usage_type"] == "licensed"), None)
    if item is None:
        return None
    ends = found["cancel_at"] or (
        item["current_period_end"] if found["cancel_at_period_end"] else None)
    created = _time(found["created"])
    assert created is not None
    return Paid(found["id"], found["customer"], found["status"], item.get("quantity") or 0, created,
                item["id"], item["price"]["id"], _time(item["current_period_end"]),
                _time(found["trial_end"]), _time(ends), _time(found["ended_at"]),
                _time(unpaid_since), dict(found["metadata"]))


def _bill(found: Json) -> Bill:
    created = _time(found.get("next_payment_attempt") if found["status"] == "draft"
                    else found["created"]) or _time(found["created"])
    assert created is not None
    return Bill(found.get("number") or "", found["status"], found["total"], found["currency"],
                created, found.get("hosted_invoice_url"))


def _prorated(line: Json) -> bool:
    parent = line.get("parent") or {}
    return any((parent.get(name) or {}).get("proration")
               for name in ("invoice_item_details", "subscription_item_details"))


def _event(found: Json) -> PaymentEvent:
    about = found["data"]["object"]
    payer = about["id"] if about.get("object") == "customer" else about.get("customer")
    created = _time(found["created"])
    if not isinstance(found["id"], str) or not isinstance(found["type"], str) or created is None:
        raise ValueError("no event")
    return PaymentEvent(found["id"], found["type"], created,
                        payer if isinstance(payer, str) else None, found)
