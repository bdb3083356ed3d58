"""A FAKE of Stripe, for tests alone: the endpoints that the web app calls, with a memory.

It keeps customers, checkouts, subscriptions, invoices and credit notes; takes idempotency keys;
pages its lists; signs its messages; and fails when told to. `tests/webapp/test_payments.py`
replays what is asked of it to stripe-mock, which knows Stripe's own description, and holds the
fields that it answers with to it. Time is the test's (`now`).

`handle` is the server without a socket (`InProcess` is the SDK's client of it); `serve` is the
same over HTTP, with the hosted page of a checkout. Whatever happens makes messages in `outbox`:
the test delivers, drops, doubles, delays or reorders them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import stripe

DAY = 86_400
PERIOD = 30 * DAY
DUNNING = 21 * DAY
Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": {
            "type": kind, "message": message, "code": code}}


class FakeStripe:
    """`prices`: id to cents a seat. `cards`: payer to whether its card works. `faults`: taken one
    a request: "busy" (429), "broken" (500), "lost" (done, and the answer never arrives)."""

    def __init__(self, prices: dict[str, int], *, now: int = 1_800_000_000,
                 secret: str = "whsec_fake") -> None:
        self.prices, self.now, self.secret = prices, now, secret
        self.cards: dict[str, bool] = {}
        self.faults: list[str] = []
        self.requests: list[tuple[str, str, Json]] = []
        self.outbox: list[Json] = []
        self.page_most = 100
        self.url = "http://stripe.fake"
        self.endpoints: list[Json] = []
        self._lock = threading.RLock()
        self._things: dict[str, dict[str, Json]] = {kind: {} for kind in (
            "customer", "session", "subscription", "invoice", "credit_note", "event", "meter")}
        self._keys: dict[str, tuple[str, int, Json]] = {}
        self._count = 0

    # ---- the API -----------------------------------------------------------------------------

    def handle(self, method: str, path: str, params: Json, key: str | None = None
               ) -> tuple[int, Json]:
        with self._lock:
            self.requests.append((method, path, params))
            fault = self.faults.pop(0) if self.faults else None
            if fault == "busy":
                return 429, {"error": {"type": "invalid_request_error", "code": "rate_limit",
                                       "message": "Too many requests"}}
            if fault == "broken":
                return 500, {"error": {"type": "api_error", "message": "Something broke"}}
            asked = hashlib.sha256(json.dumps([method, path, params]).encode()).hexdigest()
            if method == "POST" and key in self._keys:
                before, status, body = self._keys[key]
                if before != asked:
                    return 400, {"error": {"type": "idempotency_error", "message":
                                           "Keys for idempotent requests can only be used with "
                                           "the same parameters they were first used with."}}
                return status, body
            try:
                status, body = 200, _shown(self._route(method, path, params))
            except Refused as error:
                status, body = error.status, error.body
            if method == "POST" and key is not None and status in (200, 402):
                self._keys[key] = (asked, status, body)
            if fault == "lost":
                raise ConnectionResetError
            return status, body

    def _route(self, method: str, path: str, params: Json) -> Json:
        for verb, pattern, act in self._routes():
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return act(params, *found.groups())
        raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({method}: {path})")

    def _routes(self) -> list[tuple[str, str, Callable[..., Json]]]:
        return [
            ("POST", "/v1/customers", self._customer),
            ("POST", "/v1/checkout/sessions", self._session),
            ("POST", "/v1/checkout/sessions/([^/]+)/expire", self._expire),
            ("POST", "/v1/billing_portal/sessions", self._portal),
            ("GET", "/v1/subscriptions", self._list("subscription", ("customer",))),
            ("POST", "/v1/subscriptions/([^/]+)", self._update),
            ("DELETE", "/v1/subscriptions/([^/]+)", self._cancel),
            ("GET", "/v1/invoices", self._list("invoice", ("customer", "subscription", "status"))),
            ("POST", "/v1/invoices/create_preview", self._preview),
            ("POST", "/v1/invoices/([^/]+)/void", self._void),
            ("POST", "/v1/credit_notes", self._credit_note),
            ("GET", "/v1/events", self._list("event", ())),
            ("POST", "/v1/billing/meter_events", self._meter),
            ("GET", "/v1/prices/([^/]+)", lambda _, price: self._price(price)),
            ("GET", "/v1/webhook_endpoints", lambda _: {
                "object": "list", "data": self.endpoints, "has_more": False,
                "url": "/v1/webhook_endpoints"}),
            ("GET", "/v1/billing_portal/configurations", lambda _: {
                "object": "list", "has_more": False, "url": "/v1/billing_portal/configurations",
                "data": [{"id": "bpc_fake", "object": "billing_portal.configuration",
                          "active": True, "is_default": True}]}),
            ("GET", "/v1/account", lambda _: {"id": "acct_fake", "object": "account",
                                              "charges_enabled": True, "country": "US"}),
            ("GET", "/v1/balance", lambda _: {"object": "balance", "livemode": False}),
        ]

    def _customer(self, params: Json) -> Json:
        made = self._new("customer", "cus", {
            "name": params["name"], "email": params["email"],
            "metadata": params.get("metadata", {}), "livemode": False})
        self.cards[made["id"]] = True
        return made

    def _session(self, params: Json) -> Json:
        self._find("customer", params["customer"])
        (line,) = params["line_items"]
        if line["price"] not in self.prices:
            raise Refused(400, "invalid_request_error", f"No such price: '{line['price']}'",
                          "resource_missing")
        data = params.get("subscription_data", {})
        made = self._new("session", "cs_test", {
            "mode": params["mode"], "customer": params["customer"], "status": "open",
            "payment_status": "unpaid", "subscription": None, "metadata": params["metadata"],
            "client_reference_id": params["client_reference_id"], "livemode": False,
            "success_url": params["success_url"], "cancel_url": params["cancel_url"],
            "expires_at": self.now + DAY, "_price": line["price"],
            "_quantity": int(line["quantity"]), "_most": int(
                line["adjustable_quantity"]["maximum"]),
            "_trial": int(data.get("trial_period_days", 0)), "_metadata": data["metadata"]},
            object="checkout.session")
        made["url"] = f"{self.url}/pay/{made['id']}"
        return made

    def _expire(self, params: Json, session: str) -> Json:
        found = self._find("session", session)
        if found["status"] != "open":
            raise Refused(400, "invalid_request_error", "Only Checkout Sessions with a status in "
                          "[\"open\"] can be expired.")
        found |= {"status": "expired", "url": None}
        self._emit("checkout.session.expired", found)
        return found

    def _portal(self, params: Json) -> Json:
        self._find("customer", params["customer"])
        made = {"id": self._id("bps"), "object": "billing_portal.session", "livemode": False,
                "customer": params["customer"], "return_url": params["return_url"],
                "created": self.now}
        return made | {"url": f"{self.url}/portal/{params['customer']}"}

    def _update(self, params: Json, subscription: str) -> Json:
        found = self._find("subscription", subscription)
        if found["status"] == "canceled":
            raise Refused(400, "invalid_request_error", "A canceled subscription can only update "
                          "its cancellation_details and metadata.")
        if "cancel_at_period_end" in params:
            found["cancel_at_period_end"] = params["cancel_at_period_end"] == "true"
        if "items" in params:
            (item,) = params["items"]
            cost = self._proration(found, item, int(params["proration_date"]))
            if params.get("proration_behavior") == "always_invoice" and cost > 0:
                if not self.cards[found["customer"]]:
                    raise Refused(402, "card_error", "Your card was declined.", "card_declined")
                self._bill(found, cost, "subscription_update")
            else:
                found["_pending"] += cost
            self._set(found, item["price"], int(item["quantity"]))
        found["metadata"] |= params.get("metadata", {})
        self._emit("customer.subscription.updated", found)
        return found

    def _cancel(self, params: Json, subscription: str) -> Json:
        found = self._find("subscription", subscription)
        if found["status"] == "canceled":
            raise Refused(404, "invalid_request_error", f"No such subscription: '{subscription}'",
                          "resource_missing")
        self._end(found, self.now)
        return found

    def _preview(self, params: Json) -> Json:
        found = self._find("subscription", params["subscription"])
        details = params.get("subscription_details")
        if found["status"] == "canceled":
            raise Refused(404, "invalid_request_error", "No upcoming invoices for customer",
                          "invoice_upcoming_none")
        if details:
            (item,) = details["items"]
            cost = self._proration(found, item, int(details["proration_date"]))
            lines = [_line(cost, prorated=True)] if cost else []
        else:
            cost = max(0, self._amount(found) + found["_pending"])
            lines = [_line(cost, prorated=False)]
        return self._invoice_shape(found, cost, "draft", "upcoming") | {
            "id": self._id("upcoming_in"), "lines": {
                "object": "list", "data": lines, "has_more": False,
                "url": "/v1/invoices/upcoming/lines"},
            "next_payment_attempt": found["items"]["data"][0]["current_period_end"]}

    def _void(self, params: Json, invoice: str) -> Json:
        found = self._find("invoice", invoice)
        if found["status"] != "open":
            raise Refused(400, "invalid_request_error", "You can only void open invoices.")
        found["status"] = "void"
        self._emit("invoice.voided", found)
        return found

    def _credit_note(self, params: Json) -> Json:
        bill, amount = self._find("invoice", params["invoice"]), int(params["amount"])
        if amount + bill["post_payment_credit_notes_amount"] > bill["amount_paid"]:
            raise Refused(400, "invalid_request_error", "The sum of credit amount is too high.")
        bill["post_payment_credit_notes_amount"] += amount
        made = self._new("credit_note", "cn", {
            "invoice": bill["id"], "customer": bill["customer"], "amount": amount,
            "currency": "usd", "status": "issued", "reason": params.get("reason")})
        self._emit("credit_note.created", made)
        return made

    def _meter(self, params: Json) -> Json:
        if params["identifier"] in self._things["meter"]:
            raise Refused(400, "invalid_request_error",
                          f"An event already exists with identifier {params['identifier']}.")
        made = {"object": "billing.meter_event", "created": self.now, "livemode": False,
                "event_name": params["event_name"], "identifier": params["identifier"],
                "payload": params["payload"], "timestamp": int(params["timestamp"])}
        self._things["meter"][params["identifier"]] = made
        return made

    def _price(self, price: str) -> Json:
        if price not in self.prices:
            raise Refused(404, "invalid_request_error", f"No such price: '{price}'",
                          "resource_missing")
        return {"id": price, "object": "price", "active": True, "currency": "usd",
                "unit_amount": self.prices[price], "type": "recurring", "livemode": False,
                "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed",
                              "meter": None}}

    def _list(self, kind: str, filters: tuple[str, ...]) -> Callable[[Json], Json]:
        def act(params: Json) -> Json:
            rows = list(self._things[kind].values())[::-1]  # the newest first
            for name in filters:
                if name in params and params[name] != "all":
                    rows = [row for row in rows if _field(row, name) == params[name]]
            if "types" in params:
                rows = [row for row in rows if row["type"] in params["types"]]
            if "created" in params:
                rows = [row for row in rows if row["created"] >= int(params["created"]["gte"])]
            if "starting_after" in params:
                at = [row["id"] for row in rows].index(params["starting_after"])
                rows = rows[at + 1:]
            most = min(int(params.get("limit", 10)), self.page_most)
            return {"object": "list", "data": rows[:most], "has_more": len(rows) > most,
                    "url": f"/v1/{kind}s"}
        return act

    # ---- what people do at Stripe ------------------------------------------------------------

    def pay(self, session: str, quantity: int | None = None) -> Json | None:
        """Somebody finishes a checkout. None when it is no longer open, or the card is bad."""
        with self._lock:
            found = self._find("session", session)
            if found["status"] != "open" or not self.cards[found["customer"]]:
                return None
            made = self._new("subscription", "sub", {
                "customer": found["customer"], "metadata": dict(found["_metadata"]),
                "status": "active", "cancel_at": None, "cancel_at_period_end": False,
                "canceled_at": None, "ended_at": None, "trial_end": None, "currency": "usd",
                "latest_invoice": None, "livemode": False, "collection_method":
                "charge_automatically", "_pending": 0, "items": {
                    "object": "list", "has_more": False, "url": "/v1/subscription_items",
                    "data": [{"id": self._id("si"), "object": "subscription_item",
                              "metadata": {}}]}})
            until = self.now + (found["_trial"] * DAY or PERIOD)
            made["items"]["data"][0] |= {"created": self.now, "subscription": made["id"],
                                         "current_period_start": self.now,
                                         "current_period_end": until}
            self._set(made, found["_price"], quantity or found["_quantity"])
            if found["_trial"]:
                made |= {"status": "trialing", "trial_end": until}
            self._emit("customer.subscription.created", made)
            self._bill(made, 0 if found["_trial"] else self._amount(made), "subscription_create")
            found |= {"status": "complete", "subscription": made["id"], "url": None,
                      "payment_status": "paid"}
            self._emit("checkout.session.completed", found)
            return made

    def card(self, payer: str, works: bool) -> None:
        """A card stops working; or a new one is given, and what is open is paid."""
        with self._lock:
            self.cards[payer] = works
            if not works:
                return
            for bill in self._things["invoice"].values():
                owner = self._things["subscription"][_field(bill, "subscription")]
                if bill["customer"] == payer and bill["status"] == "open" and (
                        owner["status"] != "canceled"):
                    bill |= {"status": "paid", "amount_paid": bill["total"], "amount_due": 0}
                    self._emit("invoice.paid", bill)
            for found in self._of(payer):
                if found["status"] in ("past_due", "unpaid"):
                    found["status"] = "active"
                    self._emit("customer.subscription.updated", found)

    def portal_cancel(self, subscription: str, at_once: bool) -> None:
        with self._lock:
            found = self._find("subscription", subscription)
            if at_once:
                self._end(found, self.now)
            else:
                found["cancel_at_period_end"] = True
                self._emit("customer.subscription.updated", found)

    def portal_seats(self, subscription: str, quantity: int) -> None:
        with self._lock:
            found = self._find("subscription", subscription)
            item = found["items"]["data"][0]
            found["_pending"] += self._proration(found, {
                "price": item["price"]["id"], "quantity": quantity}, self.now)
            self._set(found, item["price"]["id"], quantity)
            self._emit("customer.subscription.updated", found)

    def advance(self, seconds: int) -> None:
        """Time passes, and what is due in it is billed."""
        with self._lock:
            end = self.now + seconds
            while True:
                due = [s for s in self._things["subscription"].values()
                       if s["status"] != "canceled"
                       and s["items"]["data"][0]["current_period_end"] <= end]
                if not due:
                    break
                first = min(due, key=lambda s: s["items"]["data"][0]["current_period_end"])
                self.now = max(self.now, first["items"]["data"][0]["current_period_end"])
                self._renew(first)
            self.now = end
            for found in self._things["subscription"].values():
                opened = min((b["created"] for b in self.bills(found["id"])
                              if b["status"] == "open"), default=None)
                if found["status"] == "past_due" and opened and opened + DUNNING <= self.now:
                    found["status"] = "unpaid"
                    self._emit("customer.subscription.updated", found)

    # ---- what tests look at ------------------------------------------------------------------

    def subscriptions(self) -> list[Json]:
        return list(self._things["subscription"].values())

    def bills(self, subscription: str) -> list[Json]:
        return [bill for bill in self._things["invoice"].values()
                if _field(bill, "subscription") == subscription]

    def metered(self) -> dict[str, int]:
        return {name: int(one["payload"]["value"]) for name, one in self._things["meter"].items()}

    def signed(self, event: Json, *, secret: str | None = None, at: int | None = None
               ) -> tuple[bytes, str]:
        """A message's body and its signature, now by the wall's clock unless `at` is given."""
        body = json.dumps(event)
        return body.encode(), stripe.WebhookSignature.generate_signature_header(
            body, secret or self.secret, at)

    # ---- within ------------------------------------------------------------------------------

    def _of(self, payer: str) -> list[Json]:
        return [s for s in self._things["subscription"].values() if s["customer"] == payer]

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:06d}"

    def _new(self, kind: str, prefix: str, fields: Json, object: str | None = None) -> Json:
        made = {"id": self._id(prefix), "object": object or kind, "created": self.now, **fields}
        self._things[kind][made["id"]] = made
        return made

    def _find(self, kind: str, identifier: str) -> Json:
        if identifier not in self._things[kind]:
            raise Refused(404, "invalid_request_error", f"No such {kind}: '{identifier}'",
                          "resource_missing")
        return self._things[kind][identifier]

    def _emit(self, kind: str, about: Json) -> None:
        event = self._new("event", "evt", {
            "type": kind, "api_version": stripe.api_version, "livemode": False,
            "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None},
            "data": {"object": json.loads(json.dumps(_shown(about)))}})
        self.outbox.append(event)

    def _set(self, found: Json, price: str, quantity: int) -> None:
        found["items"]["data"][0] |= {"price": self._price(price), "quantity": quantity}

    def _amount(self, found: Json) -> int:
        item = found["items"]["data"][0]
        return self.prices[item["price"]["id"]] * item["quantity"]

    def _proration(self, found: Json, item: Json, at: int) -> int:
        if found["status"] == "trialing":
            return 0
        period = found["items"]["data"][0]
        left = max(0, period["current_period_end"] - at) / PERIOD
        return round((self.prices[item["price"]] * int(item["quantity"])
                      - self._amount(found)) * left)

    def _invoice_shape(self, found: Json, amount: int, status: str, reason: str) -> Json:
        item = found["items"]["data"][0]
        return {"object": "invoice", "created": self.now, "customer": found["customer"],
                "currency": "usd", "livemode": False, "total": amount, "subtotal": amount,
                "amount_due": amount, "amount_paid": amount if status == "paid" else 0,
                "status": status, "billing_reason": reason, "number": None,
                "hosted_invoice_url": None, "post_payment_credit_notes_amount": 0,
                "period_start": item["current_period_start"],
                "period_end": item["current_period_end"], "next_payment_attempt": None,
                "parent": {"type": "subscription_details", "quote_details": None,
                           "subscription_details": {"subscription": found["id"],
                                                    "metadata": {}}}}

    def _bill(self, found: Json, amount: int, reason: str) -> None:
        pays = self.cards[found["customer"]] or amount == 0
        shape = self._invoice_shape(found, amount, "paid" if pays else "open", reason)
        made = self._new("invoice", "in", shape)
        made |= {"number": made["id"].upper(), "hosted_invoice_url":
                 f"{self.url}/invoice/{made['id']}", "id": made["id"]}
        found["latest_invoice"] = made["id"]
        self._emit("invoice.created", made)
        self._emit("invoice.paid" if pays else "invoice.payment_failed", made)

    def _renew(self, found: Json) -> None:
        item = found["items"]["data"][0]
        if found["cancel_at_period_end"]:
            self._end(found, item["current_period_end"])
            return
        item |= {"current_period_start": item["current_period_end"],
                 "current_period_end": item["current_period_end"] + PERIOD}
        owed = self._amount(found) + found["_pending"]
        found["_pending"] = min(0, owed)
        self._bill(found, max(0, owed), "subscription_cycle")
        failed = not self.cards[found["customer"]] and owed > 0
        if failed and found["status"] in ("active", "trialing"):
            found["status"] = "past_due"
        elif not failed and found["status"] == "trialing":
            found["status"] = "active"
        self._emit("customer.subscription.updated", found)

    def _end(self, found: Json, at: int) -> None:
        found |= {"status": "canceled", "ended_at": at, "canceled_at": at}
        self._emit("customer.subscription.deleted", found)


def _field(row: Json, name: str) -> Any:
    if name == "subscription" and row["object"] == "invoice":
        return row["parent"]["subscription_details"]["subscription"]
    return row.get(name)


def _line(amount: int, *, prorated: bool) -> Json:
    return {"object": "line_item", "amount": amount, "currency": "usd", "parent": {
        "type": "subscription_item_details", "invoice_item_details": None,
        "subscription_item_details": {"proration": prorated}}}


def _shown(thing: Any) -> Any:
    """Without what is the fake's own (names that begin with _)."""
    if isinstance(thing, dict):
        return {name: _shown(value) for name, value in thing.items() if not name.startswith("_")}
    if isinstance(thing, list):
        return [_shown(value) for value in thing]
    return thing


def nested(text: str) -> Json:
    """`a[b][0]=c` to {"a": {"b": ["c"]}}."""
    made: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = re.findall(r"[^\[\]]+", name)
        at = made
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = value
    return _lists(made)


def _lists(thing: Any) -> Any:
    if not isinstance(thing, dict):
        return thing
    if thing and all(name.isdigit() for name in thing):
        return [_lists(thing[name]) for name in sorted(thing, key=int)]
    return {name: _lists(value) for name, value in thing.items()}


class InProcess(stripe.HTTPClient):
    """The SDK's client of a fake that has no socket; it retries without waiting."""

    name = "fake"

    def __init__(self, fake: FakeStripe) -> None:
        super().__init__()
        self._fake = fake

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> Any:
        where = urlsplit(url)
        text = where.query if method.upper() in ("GET", "DELETE") else (post_data or "")
        try:
            status, body = self._fake.handle(method.upper(), where.path, nested(text or ""),
                                             headers.get("Idempotency-Key"))
        except ConnectionResetError as error:
            raise stripe.APIConnectionError("the answer was lost", should_retry=True) from error
        return json.dumps(body), status, {"Request-Id": "req_fake"}

    def _sleep_time_seconds(self, *args: Any, **kwargs: Any) -> float:
        return 0.0

    def close(self) -> None:
        return None


# ---- over HTTP -------------------------------------------------------------------------------

_PAY = """<!doctype html><html lang="en"><title>Fake checkout</title><h1>Fake checkout</h1>
<p>This is a fake of Stripe's page, for tests.</p><form method="post"><button>Pay</button></form>
<a href="{cancel}">Back</a>"""


@contextmanager
def serve(fake: FakeStripe, on_message: Callable[[Json], None] | None = None) -> Iterator[str]:
    """The fake on a port. `on_message`: called with each message, in the order it was made, from
    a thread of its own."""
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(body)),
                                 "Request-Id": "req_fake"} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def _serve(self) -> None:
            where = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if where.path.startswith("/pay/"):
                session = fake._find("session", where.path.removeprefix("/pay/"))
                if self.command == "POST":
                    fake.pay(session["id"])
                    self._answer(303, b"", "text/plain", Location=session["success_url"])
                else:
                    self._answer(200, _PAY.format(cancel=session["cancel_url"]).encode(),
                                 "text/html")
                return
            if not self.headers.get("Authorization", "").startswith(("Bearer sk_", "Basic ")):
                self._answer(401, json.dumps({"error": {
                    "type": "invalid_request_error", "message": "Invalid API Key provided"}
                }).encode(), "application/json")
                return
            try:
                status, body = fake.handle(self.command, where.path, nested(where.query or text),
                                           self.headers.get("Idempotency-Key"))
            except ConnectionResetError:
                self.close_connection = True
                return
            self._answer(status, json.dumps(body).encode(), "application/json")
        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    ended = threading.Event()

    def deliver() -> None:
        sent = 0
        while not ended.wait(0.005):
            while sent < len(fake.outbox) and on_message is not None:
                on_message(fake.outbox[sent])
                sent += 1
    threads = [threading.Thread(target=server.serve_forever, daemon=True),
               threading.Thread(target=deliver, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield fake.url
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(5)
