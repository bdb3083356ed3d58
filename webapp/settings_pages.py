"""The settings of the company: its name, its people, its data. A person's own are in
`own_settings`. Each form leads back to its page, which says what was done (`?done=`)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for

from webapp import company, people, team
from webapp.access import access, holds, me
from webapp.errors import Problem
from webapp.models import Account
from webapp.texts import N_

settings_pages = Blueprint("settings_pages", __name__)
# Shown where the app has a page at that address, and (`company`) to whoever belongs to a company.
SECTIONS = (
    {"path": "/settings", "text": N_("Company"), "icon": "settings", "company": True},
    {"path": "/settings/people", "text": N_("People"), "icon": "team", "company": True},
    {"path": "/knowledge", "text": N_("Knowledge"), "icon": "knowledge", "company": True},
    {"path": "/billing", "text": N_("Billing"), "icon": "billing", "company": True},
    {"path": "/settings/security", "text": N_("You and security"), "icon": "lock",
     "company": False},
    {"path": "/settings/notifications", "text": N_("Notifications"), "icon": "bell",
     "company": False},
    {"path": "/settings/tokens", "text": N_("API tokens"), "icon": "key", "company": False},
    {"path": "/settings/data", "text": N_("Your data"), "icon": "download", "company": True},
)


@settings_pages.app_context_processor
def _frame() -> dict[str, Any]:
    return {"settings_sections": sections, "account_notices": notices, "may": holds}


def sections(account: Account) -> list[dict[str, Any]]:
    return [s for s in SECTIONS if account.customer is not None or not s["company"]]


def notices(account: Account | None) -> dict[str, Any]:
    """What a bar above each page says: an address that is not confirmed, a company that ends."""
    if account is None:
        return {}
    closing = company.closure(account.customer) if account.customer else None
    return {"unverified": account.verified_at is None, "closing": closing,
            "local": current_app.config["LOCAL"],
            "may_undo": closing is not None and account.role == "owner"}


def back(endpoint: str, done: str, **values: Any) -> Any:
    return redirect(url_for(endpoint, done=done, **values), code=303)


def _customer() -> str:
    customer = me().customer
    if customer is None:
        raise Problem(404, "not_found", "An engineer belongs to no company. A company’s own "
                      "people change its settings.")
    return customer


# ---- the company -----------------------------------------------------------------------------

@settings_pages.get("/settings")
@access("account", page=True)
def index() -> Any:
    if me().customer is None:
        return redirect(url_for("own_settings.security"))
    return _company()


def _company(problem: Problem | None = None, name: str | None = None) -> Any:
    return render_template("settings_company.html", seats=team.seats(_customer()),
                           problem=problem, name=name, done=request.args.get("done")), (
        problem.status if problem else 200)


@settings_pages.post("/settings/name")
@access("account", page=True, role="owner")
def rename() -> Any:
    name = request.form.get("name", "")
    try:
        company.rename(_customer(), me(), name)
    except Problem as problem:
        return _company(problem, name)
    return back("settings_pages.index", "name")


# ---- people ----------------------------------------------------------------------------------

@settings_pages.get("/settings/people")
@access("account", page=True)
def list_people() -> Any:
    return _people()


def _people(problem: Problem | None = None, email: str = "", role: str = "manager") -> Any:
    customer = _customer()
    return render_template(
        "settings_people.html", members=people.members(customer), email=email, role=role,
        invitations=[people.invitation_json(i) for i in people.invitations(customer)]
        if holds(me(), "owner") else [],
        problem=problem, done=request.args.get("done")), problem.status if problem else 200


@settings_pages.post("/settings/people/invite")
@access("account", page=True, role="owner")
def invite() -> Any:
    email, role = request.form.get("email", ""), request.form.get("role", "")
    try:
        people.invite(_customer(), me(), email, role)
    except Problem as problem:
        return _people(problem, email, role)
    return back("settings_pages.list_people", "invited")


@settings_pages.post("/settings/people/invitations/<invitation>/<any(resend, revoke):how>")
@access("account", page=True, role="owner")
def change_invitation(invitation: str, how: str) -> Any:
    try:
        (people.resend if how == "resend" else people.revoke)(_customer(), invitation)
    except Problem as problem:
        return _people(problem)
    return back("settings_pages.list_people", how)


@settings_pages.post("/settings/people/<member>/role")
@access("account", page=True, role="owner")
def change_role(member: str) -> Any:
    role = request.form.get("role", "")
    try:
        if role not in people.ROLES:
            raise Problem(422, "invalid", "There is no such role.")
        changed = people.set_role(_customer(), member, role)
    except Problem as problem:
        return _people(problem)
    if changed.id == me().id:
        return redirect(url_for("pages.sign_in", done="role"), code=303)
    return back("settings_pages.list_people", "role")


@settings_pages.post("/settings/people/<member>/remove")
@access("account", page=True, role="owner")
def remove(member: str) -> Any:
    myself = str(me().id) == member
    try:
        people.remove(_customer(), member)
    except Problem as problem:
        return _people(problem)
    if myself:
        return redirect(url_for("pages.sign_in", done="left"), code=303)
    return back("settings_pages.list_people", "removed")


# ---- data ------------------------------------------------------------------------------------

@settings_pages.get("/settings/data")
@access("account", page=True)
def data() -> Any:
    return _data()


def _data(problem: Problem | None = None) -> Any:
    customer = _customer()
    return render_template("settings_data.html", seats=team.seats(customer),
                           closure=company.closure(customer), days=company.grace_days(),
                           problem=problem, done=request.args.get("done")), (
        problem.status if problem else 200)


@settings_pages.post("/settings/data/delete")
@access("account", page=True, role="owner", person=True)
def close() -> Any:
    try:
        company.close(_customer(), me(), request.form.get("name", ""),
                      request.form.get("password", ""))
    except Problem as problem:
        return _data(problem)
    return back("settings_pages.data", "closing")


@settings_pages.post("/settings/data/undo")
@access("account", page=True, role="owner", person=True)
def reopen() -> Any:
    try:
        company.reopen(_customer(), me())
    except Problem as problem:
        return _data(problem)
    return back("settings_pages.data", "reopened")
