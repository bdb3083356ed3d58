"""Whether payments are set up rightly: each check by itself, each with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from state_repo.documents import Plan
from webapp.billing import Billing
from webapp.billing_models import BillingRun, StripeEvent
from webapp.models import now
from webapp.payments import API_VERSION, TOLERANCE_S, StripePayments
from webapp.purchases import HANDLED, PaymentsError

SKEW_S = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """`result`: ok, warn or fail."""

    name: str
    result: str
    found: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine(billing: Billing) -> list[Finding]:
    stripe = billing.payments
    if not isinstance(stripe, StripePayments):
        return [Finding("mode", "ok", "local: plans are chosen freely and nothing is charged",
                        "to sell them, set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET and run "
                        "`make run`"), *_record(billing)]
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _keys(stripe), lambda: _clock(stripe), lambda: _endpoint(stripe, billing),
        lambda: _prices(stripe, billing), lambda: _portal(stripe), lambda: _record(billing)]
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except PaymentsError as error:
            found.append(Finding("Stripe", "fail", str(error), {
                "keys": "set a secret key that works in STRIPE_SECRET_KEY; a restricted one needs "
                        "write access to Customers, Checkout Sessions, Subscriptions, Invoices, "
                        "Credit notes and Customer portal, and read access to Prices, Events and "
                        "Webhook endpoints",
            }.get(error.trouble, "look at https://status.stripe.com, and try again")))
            if error.trouble in ("keys", "away"):
                return [*found, *_record(billing)]
    return found


def _keys(stripe: StripePayments) -> Iterator[Finding]:
    account = stripe.account()
    kind = "live" if "_live_" in stripe.settings.secret_key else "test"
    yield Finding("secret key", "ok", f"{kind} mode, account {account['id']}")
    if account.get("charges_enabled") is False:
        yield Finding("account", "fail", "can't take payments yet",
                      "finish its set-up at https://dashboard.stripe.com/account")
    secret = stripe.settings.webhook_secret
    if secret is None:
        yield Finding("webhook secret", "fail", "is not set: every message is refused",
                      "set STRIPE_WEBHOOK_SECRET to the endpoint's signing secret (whsec_…)")
    elif not secret.startswith("whsec_"):
        yield Finding("webhook secret", "fail", "does not begin with whsec_",
                      "copy the endpoint's signing secret, not its id and not an API key")
    else:
        yield Finding("webhook secret", "ok", "is set")
    yield Finding("API version", "ok", f"{API_VERSION} (fixed by the SDK)")


def _clock(stripe: StripePayments) -> Iterator[Finding]:
    theirs = stripe.clock()
    if theirs is None:
        return
    skew = abs((now() - theirs).total_seconds())
    bad = "ok" if skew < SKEW_S else "warn" if skew < TOLERANCE_S else "fail"
    yield Finding("clock", bad, f"{skew:.0f} s from Stripe's", "" if bad == "ok" else
                  f"set this machine's clock (NTP): messages older than {TOLERANCE_S} s are "
                  "refused")


def _endpoint(stripe: StripePayments, billing: Billing) -> Iterator[Finding]:
    url = f"{billing.instance.app_url}/webhooks/stripe"
    if billing.instance.domain.endswith(".localhost"):
        yield Finding("webhook", "warn", f"Stripe can't reach {url}",
                      f"for a try: stripe listen --forward-to {url} (its whsec_… is "
                      "STRIPE_WEBHOOK_SECRET then); the comparison makes good what is missed")
        return
    ours = [e for e in stripe.endpoints() if e["url"] == url]
    if not ours:
        yield Finding("webhook", "fail", f"Stripe has no endpoint {url}",
                      "add it at https://dashboard.stripe.com/webhooks for these events: "
                      + ", ".join(sorted(HANDLED)))
        return
    for endpoint in ours:
        missing = sorted(HANDLED - set(endpoint["enabled_events"]))
        if endpoint["status"] != "enabled":
            yield Finding("webhook", "fail", f"{endpoint['id']} is {endpoint['status']}",
                          "enable it in Stripe's dashboard")
        elif missing and "*" not in endpoint["enabled_events"]:
            yield Finding("webhook", "fail", f"{endpoint['id']} is not sent {', '.join(missing)}",
                          "add these events to it in Stripe's dashboard")
        else:
            yield Finding("webhook", "ok", f"{endpoint['id']} is enabled, with all events")
        if endpoint.get("api_version") not in (None, API_VERSION):
            yield Finding("webhook version", "ok", f"{endpoint['api_version']}, and we speak "
                          f"{API_VERSION}: no harm, for only ids are read from a message")


def _prices(stripe: StripePayments, billing: Billing) -> Iterator[Finding]:
    plans = {name: plan for name, plan in billing.plans().items() if plan.offered}
    if not plans:
        yield Finding("plans", "fail", "platform.yaml offers none", "add plans to it")
    for name, plan in plans.items():
        what = f"plan {name}"
        if plan.price_id is None:
            yield Finding(what, "fail", "has no price at Stripe, so nobody can buy it",
                          f"make a recurring price of {plan.amount} {plan.currency} a "
                          f"{plan.interval} in Stripe's dashboard, and write its id as priceId in "
                          "platform.yaml; or set offered: false")
            continue
        try:
            wrong = _differences(plan, stripe.price(plan.price_id))
        except PaymentsError as error:
            if error.trouble != "refused":
                raise
            wrong = [str(error)]
        yield Finding(what, "fail" if wrong else "ok", "; ".join(wrong) or f"{plan.price_id}: "
                      f"{plan.amount} {plan.currency} a {plan.interval}",
                      "a price can't be changed at Stripe: make a new one, and write its id and "
                      "amount in platform.yaml" if wrong else "")


def _differences(plan: Plan, price: dict[str, Any]) -> list[str]:
    recurring = price.get("recurring") or {}
    wanted = {"active": (price["active"], True), "amount": (price["unit_amount"], plan.amount),
              "currency": (price["currency"], plan.currency),
              "interval": (recurring.get("interval"), plan.interval),
              "interval count": (recurring.get("interval_count"), 1),
              "usage": (recurring.get("usage_type"), "licensed")}
    return [f"its {name} at Stripe is {theirs}, not {ours}"
            for name, (theirs, ours) in wanted.items() if theirs != ours]


def _portal(stripe: StripePayments) -> Iterator[Finding]:
    if stripe.portals():
        yield Finding("customer portal", "ok", "is set up")
    else:
        yield Finding("customer portal", "fail", "has no settings, so it can't be opened",
                      "save them at https://dashboard.stripe.com/settings/billing/portal (cards, "
                      "bills, cancellation at the period's end)")


def _record(billing: Billing) -> Iterator[Finding]:
    """What our own tables tell."""
    behind = [row.customer for row in billing.rows() if row.version != row.applied or row.problem]
    yield Finding("subscriptions", "warn" if behind else "ok",
                  f"git does not follow, or there is a problem: {', '.join(behind)}" if behind
                  else f"{len(billing.rows())}, and git follows all of them",
                  "iw billing list says why" if behind else "")
    with billing.session() as session:
        run = session.scalar(select(BillingRun).order_by(BillingRun.id.desc()).limit(1))
        event = session.scalar(select(StripeEvent).where(StripeEvent.source == "webhook")
                               .order_by(StripeEvent.received_at.desc()).limit(1))
    late = run is None or run.at < now() - timedelta(minutes=30)
    yield Finding("comparison", "warn" if late else "ok",
                  f"the last one was at {run.at:%Y-%m-%d %H:%M} UTC" if run else "none yet",
                  "the web app does it every 10 minutes while it runs; at once: iw billing "
                  "reconcile" if late else "")
    if run is not None and run.lost_events:
        yield Finding("messages", "warn", f"{run.lost_events} never arrived before the last "
                      "comparison", "look at the endpoint's deliveries in Stripe's dashboard")
    elif event is not None:
        yield Finding("messages", "ok", f"the last one at {event.received_at:%Y-%m-%d %H:%M} UTC")
