"""The pages about money: the plan and its seats, what a change costs before it is made, what was
used, and the way to Stripe and back."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy import select

from webapp import buying, team
from webapp.access import access, holds, me
from webapp.billing_hook import billing
from webapp.billing_models import BillingRun, Subscription
from webapp.entitlement import Entitlement, newest_first
from webapp.errors import Problem
from webapp.landing import money, offers
from webapp.purchases import PaymentsError
from webapp.reconciler_api import ask
from webapp.texts import N_

billing_pages = Blueprint("billing_pages", __name__, url_prefix="/billing")
MONTHS = 6
_LOOK_S = 2.0
_looked: dict[str, float] = {}


@billing_pages.get("")
@access("account", page=True)
def index() -> Any:
    """An engineer who names no company sees all of them."""
    if _named() is None:
        return _overview()
    customer, row, bought = _mine()
    company = team.seats(customer)
    view = billing().store.view(billing().store.head() or "", customer)
    holders = newest_first(view)
    return render_template(
        "billing.html", company=company, row=row, bought=bought, local=_local(),
        plan=billing().plans().get(row.plan or "") if row else None,
        mine=_ours(row) and bought is not None and bought.phase != "ended",
        over=max(0, len(holders) - row.seats) if row and row.over_until else 0, holders=holders,
        exportable=bought is not None and bought.until is not None and (
            bought.until > billing().clock()),
        unseated=[e for e in view.employees.values() if e.state == "paused" and not e.seat],
        everybody=[e for e in view.employees.values() if e.state != "warm"],
        offers=_offers(), plans=billing().plans(), money=money, owner=holds(me(), "owner"),
        bills=_bills(row), usage=_usage(customer, view), chosen=request.args.get("plan", ""),
        retention=view.platform.billing.retention_days, customer_id=customer)


@billing_pages.post("/checkout")
@access("account", page=True, role="owner")
def checkout() -> Any:
    customer, account = _customer(), me()
    name = team.seats(customer)["name"]
    with _told():
        made = buying.checkout(billing(), customer, request.form.get("plan", ""), _seats(),
                               name=name, email=account.email)
    return _leave(made.url)


@billing_pages.route("/change", methods=["GET", "POST"])
@access("account", page=True, role="owner")
def change() -> Any:
    """GET shows what it would cost and whom it touches; POST does exactly that."""
    customer, row, bought = _mine()
    if request.method == "POST":
        with _told():
            buying.change(billing(), customer, request.form.get("plan", ""), _seats(), _at(),
                          request.form.getlist("pause"))
        return redirect(_here("billing_pages.index", changed="1"), code=303)
    if row is None or bought is None or not _ours(row) or bought.phase == "ended":
        return redirect(_here("billing_pages.index"))
    plan_id = request.args.get("plan", row.plan or "")
    wanted, problem = None, None
    if request.args.get("seats"):
        try:
            with _told():
                wanted = buying.preview(billing(), customer, plan_id, _seats())
        except Problem as error:
            problem = error
    return render_template(
        "billing_change.html", row=row, local=_local(), plans=_choices(row), wanted=wanted,
        problem=problem, plan_id=plan_id, seats=request.args.get("seats", row.seats), money=money,
        same=wanted is not None and (wanted.plan_id, wanted.seats) == (row.plan, row.seats),
        grace=billing().store.platform().billing.downgrade_grace_days,
        customer_id=customer)


@billing_pages.post("/choose")
@access("account", page=True, role="owner")
def choose() -> Any:
    buying.choose(billing(), _customer(), request.form.getlist("pause"))
    return redirect(_here("billing_pages.index"), code=303)


@billing_pages.post("/portal")
@access("account", page=True, role="owner")
def portal() -> Any:
    """Cards, bills and cancellation are Stripe's own pages."""
    _, row, _ = _mine()
    if row is None or row.payer is None or row.mode != billing().payments.mode:
        raise Problem(409, "no_plan", "Your company has no plan yet. Choose one first.")
    with _told():
        url = billing().payments.portal(row.payer, _back())
    if url is None:
        raise Problem(404, "local", "There is no such page in the local mode.")
    return _leave(url)


@billing_pages.post("/end")
@access("account", page=True, role="owner")
def end() -> Any:
    with _told():
        buying.end(billing(), _customer())
    return redirect(_here("billing_pages.index"), code=303)


@billing_pages.get("/success")
@access("account", page=True)
def success() -> Any:
    """Back from the checkout. That somebody is here proves nothing: it says what is known."""
    begin = "/onboarding" if team.seats(_customer())["seats_taken"] == 0 else "/hire"
    return render_template("billing_wait.html", local=_local(), customer_id=_customer(),
                           begin=begin)


@billing_pages.get("/cancel")
@access("account", page=True)
def cancel() -> Any:
    _, _, bought = _look(_customer())
    live = bought is not None and bought.phase != "ended"
    return render_template("billing_left.html", live=live, customer_id=_customer())


@billing_pages.get("/state")
@access("account")
def state() -> Any:
    """What is known of a purchase right now; asks Stripe itself if its message is not here yet."""
    customer = _customer()
    company, row, bought = _look(customer)
    there = row is not None and row.applied == row.version and row.problem == ""
    ready = bought is not None and bought.phase in ("trial", "active", "ending") and there and (
        not company["suspended"])
    return jsonify(paid=bought is not None and bought.phase in ("trial", "active", "ending"),
                   ready=ready, phase=bought.phase if bought else "none",
                   seats=company["seats"], seats_taken=company["seats_taken"])


# ---- parts -----------------------------------------------------------------------------------

def _look(customer: str) -> tuple[dict[str, Any], Subscription | None, Entitlement | None]:
    """Looks itself if nothing was heard for a while: a lost message must not keep anybody."""
    if time.monotonic() - _looked.get(customer, 0.0) > _LOOK_S:
        _looked[customer] = time.monotonic()
        row = billing().row(customer)
        if row is not None and not (row.paid and row.paid.live and row.applied == row.version):
            with suppress(PaymentsError):  # nothing is known yet; it looks again
                billing().sync(customer)
    row = billing().row(customer)
    return team.seats(customer), row, billing().entitlement(row)


def _named() -> str | None:
    return me().customer or request.values.get("customer") or None


def _customer() -> str:
    name = _named()
    if name is None:
        raise Problem(404, "not_found", "Name a company: ?customer=…")
    return name


def _mine() -> tuple[str, Subscription | None, Entitlement | None]:
    customer = _customer()
    team.seats(customer)  # 404 where there is none
    row = billing().row(customer)
    return customer, row, billing().entitlement(row)


def _ours(row: Subscription | None) -> bool:
    return row is not None and buying.ours(billing(), row)


def _local() -> bool:
    return billing().payments.mode == "local"


def _offers() -> list[dict[str, Any]]:
    plans = billing().plans()
    return [asdict(offer) | {"seats": plans[offer.id].seats,
                             "ready": _local() or plans[offer.id].price_id is not None}
            for offer in offers(billing().store.platform())]


def _choices(row: Subscription) -> dict[str, Any]:
    """Plans that can be changed to, and the one that is held."""
    return {name: plan for name, plan in billing().plans().items()
            if name == row.plan or (plan.offered and (_local() or plan.price_id))}


def _bills(row: Subscription | None) -> dict[str, Any]:
    """The next one and the last ones, for an owner; `away` if Stripe does not answer."""
    if row is None or row.payer is None or not holds(me(), "owner") or not _ours(row):
        return {}
    try:
        paid = row.paid
        return {"next": billing().payments.next_bill(paid) if paid else None,
                "past": billing().payments.bills(row.payer)}
    except PaymentsError:
        return {"away": True}


def _usage(customer: str, view: Any) -> dict[str, Any]:
    """Model spend of one month by employee, from the model proxy's ledger."""
    now = datetime.now(UTC)
    months = [now.strftime("%Y-%m")]
    while len(months) < MONTHS:
        first = datetime.strptime(months[-1], "%Y-%m")
        months.append((first - timedelta(days=1)).strftime("%Y-%m"))
    month = request.args.get("month", "")
    month = month if month in months else months[0]
    try:
        found = ask(team.instance().socket, "GET", ["customers", customer, "usage"],
                    {"month": month}, timeout_s=5.0).json()
    except Problem:
        return {"months": months, "month": month, "rows": None}
    rows = [{"id": name, "name": view.employees[name].name if name in view.employees else name,
             "role": view.employees[name].role if name in view.employees else "",
             "budget": view.employees[name].model.monthly_budget_usd
             if name in view.employees else None, **spent}
            for name, spent in found["employees"].items()]
    return {"months": months, "month": month, "total": found["customer"],
            "rows": sorted(rows, key=lambda r: -r["settled_usd"])}


def _overview() -> Any:
    rows = billing().rows()
    with billing().session() as session:
        runs = list(session.scalars(select(BillingRun).order_by(BillingRun.id.desc()).limit(20)))
    return render_template(
        "billing_overview.html", local=_local(), runs=runs,
        rows=[(row, billing().entitlement(row)) for row in rows])


def _seats() -> int:
    text = request.values.get("seats", "")
    if not text.isdigit() or len(text) > 6:
        raise Problem(422, "seats", "Say how many seats you want, as a number.")
    return int(text)


def _at() -> datetime:
    text = request.form.get("at", "")
    if not text.isdigit() or len(text) > 12:
        raise Problem(422, "at", "Look at the price again, then confirm it.")
    return datetime.fromtimestamp(int(text), UTC)


def _here(endpoint: str, **query: Any) -> str:
    """An engineer keeps the company that was chosen."""
    named: dict[str, Any] = {} if me().customer else {"customer": _customer()}
    return url_for(endpoint, **named, **query)


def _back() -> str:
    return team.instance().app_url + _here("billing_pages.index")


def _leave(url: str) -> Any:
    """To Stripe's page by way of a page of ours: the content policy lets no form lead away, and
    that holds for where an answer to it redirects."""
    if url.startswith(team.instance().app_url):
        return redirect(url, code=303)
    return render_template("billing_leave.html", url=url)


class _told:
    """Turns the seam's errors into what an owner can do about them."""

    WORDS = {  # noqa: RUF012
        "declined": (402, N_("The payment did not go through: %(why)s. Nothing was changed. Update "
                             "your card under “Cards, bills and cancellation”, then try again.")),
        "busy": (503, N_("Too much is going on right now. Nothing was charged; try again in a "
                         "minute.")),
        "away": (502, N_("Our payment provider did not answer. Nothing is charged twice: look at "
                         "this page again in a minute, and repeat it if nothing has changed.")),
        "refused": (409, N_("That is not possible: %(why)s.")),
        "keys": (502, N_("Payments are not set up rightly. Nothing was charged; tell whoever runs "
                         "this site (iw billing doctor says more).")),
    }

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, PaymentsError):
            status, text = self.WORDS[error.trouble]
            raise Problem(status, error.trouble, gettext(
                text, why=str(error).rstrip("."))) from error
