"""The engineers' pages: changes under review, and the history of main."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask_babel import gettext

from state_repo.parsing import DocumentError
from state_repo.review import NAME
from webapp import reviews, team
from webapp.access import access, me
from webapp.errors import Problem
from webapp.reconciler_api import ask

review_pages = Blueprint("reviews", __name__)
HISTORY, MOST, REPAIRS = 40, 50, 60  # commits, changes and repairs on a page
# The verbs stand behind a `-`, which begins no branch's name.


@review_pages.get("/changes")
@access("engineer", page=True)
def index() -> Any:
    """What waits for a review, and what main became, by whom."""
    store, customer = team.store(), request.args.get("customer") or None
    employee = request.args.get("employee") or None
    head = store.head() or ""
    if customer is not None and customer not in store.customers(head):
        raise Problem(404, "not_found", gettext("There is no customer %(customer)s.",
                                                customer=customer))
    path = f"customers/{customer}" if customer else "."
    if customer and employee:
        path += f"/employees/{employee}.yaml"
    commits = store.commits_touching(path, None, head, HISTORY)
    results: dict[str, str] = {}
    for receipt in reversed(team.status().receipts(customer, 500)):
        for sha in (receipt.revision, *(c["sha"] for c in receipt.commits)):
            results[sha] = receipt.result
    names = reviews.changes().names()
    waiting = [found for name in names[:MOST] if (found := _waiting(name)) is not None]
    return render_template(
        "changes.html", forge=reviews.forge(), waiting=waiting, more=max(len(names) - MOST, 0),
        frozen=_frozen(), commits=commits, results=results, of_customer=customer,
        of_employee=employee, remote=store.remote, done=request.args.get("done"),
        sha=request.args.get("sha", ""))


@review_pages.get("/changes/-/drift")
@access("engineer", page=True)
def drift() -> Any:
    """What differs from what was applied, now; and what did, with what it was set back to."""
    try:
        now: dict[str, Any] | None = ask(team.instance().socket, "GET", ["drift"]).json()
    except Problem:
        now = None
    customer = request.args.get("customer") or None
    return render_template("drift.html", now=now, of_customer=customer, repairs=(
        team.status().receipts(customer, REPAIRS, cause="drift")), found=[
        e for e in reversed(team.status().events(customer, limit=500)) if e.kind == "Drift"][:60])


def _frozen() -> list[str]:
    """What stands still, in words."""
    now = datetime.now(UTC)
    try:
        snapshot = team.store().snapshot()
    except DocumentError:  # it is told where it is read
        return []
    if everything := snapshot.freeze_of(None, now):
        return [f"Everything is {everything}."]
    return [f"{name} is {freeze}." for name in snapshot.customers
            if (freeze := snapshot.freeze_of(name, now))]


def _waiting(name: str) -> dict[str, Any] | None:
    try:
        change = reviews.find(name)
    except Problem:  # merged or closed a moment ago
        return None
    steps = reviews.events(name)
    return {"change": change, "comments": sum(s.kind == "comment" for s in steps),
            "approvals": len({s.by for s in steps if s.kind == "approved"
                              and s.head == change.head})}


@review_pages.get("/changes/<path:name>")
@access("engineer", page=True)
def change(name: str) -> Any:
    """One change; its plan is loaded after the page, for that takes seconds."""
    steps = reviews.events(name)
    try:
        found = reviews.find(name)
    except Problem:
        if not steps:
            raise
        found = None  # merged or closed: what was said of it is kept
    forge = reviews.forge()
    return render_template("change.html", name=name, change=found, steps=steps, forge=forge,
                           on_forge=_request_of(forge, name), new_request=_new_request(name),
                           most=reviews.MOST_TEXT, done=request.args.get("done"))


@review_pages.get("/changes/-/plan")
@access("engineer")
def plan() -> Any:
    """The part of the page that shows what would happen; or why that can't be said, as text."""
    name = request.args.get("name", "")
    try:
        plan, found = reviews.plan_of(name), reviews.find(name)
    except Problem as problem:
        return Response(problem.message, problem.status, mimetype="text/plain")
    return render_template(
        "change_plan.html", plan=plan, change=found, me=me(), forge=team.instance().state_forge,
        gate=reviews.gate(
            plan, found, reviews.events(name), me(), team.platform().review))


@review_pages.post("/changes/-/comment")
@access("engineer", page=True)
def comment() -> Any:
    text = request.form.get("text", "").strip()
    if not text:
        raise Problem(422, "empty", "Write something first.")
    if len(text) > reviews.MOST_TEXT:
        raise Problem(422, "too_long", gettext(
            "Write at most %(most)s characters; yours has %(count)s.",
            most=format(reviews.MOST_TEXT, ","), count=format(len(text), ",")))
    reviews.reviewed_here()
    reviews.note(reviews.find(_name()), me(), "comment", text)
    return _back("commented")


@review_pages.post("/changes/-/approve")
@access("engineer", page=True, person=True)
def approve() -> Any:
    reviews.approve(_name(), request.form.get("head", ""), request.form.get("plan", ""), me())
    return _back("approved")


@review_pages.post("/changes/-/withdraw")
@access("engineer", page=True, person=True)
def withdraw() -> Any:
    reviews.reviewed_here()
    reviews.note(reviews.find(_name()), me(), "withdrawn")
    return _back("withdrawn")


@review_pages.post("/changes/-/merge")
@access("engineer", page=True, person=True)
def merge() -> Any:
    sha = reviews.merge(_name(), request.form.get("head", ""), request.form.get("plan", ""), me())
    return redirect(url_for("reviews.index", done="merged", sha=sha), code=303)


@review_pages.post("/changes/-/close")
@access("engineer", page=True, person=True)
def close() -> Any:
    reviews.close(_name(), request.form.get("head", ""), me())
    return redirect(url_for("reviews.index", done="closed"), code=303)


@review_pages.post("/changes/-/roll-back")
@access("engineer", page=True, person=True)
def roll_back() -> Any:
    made = reviews.roll_back(request.form.get("commit", ""), me())
    return redirect(url_for("reviews.change", name=made.name, done="rolled_back"), code=303)


def _request_of(forge: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    return next((r for r in forge["requests"] if r["branch"] == name), None) if forge else None


def _new_request(name: str) -> str:
    address = team.instance().state_forge
    return address.new_request(name) if address else ""


def _name() -> str:
    name = request.form.get("name", "")
    if not NAME.fullmatch(name):
        raise Problem(404, "no_change", "There is no such change.")
    return name


def _back(done: str) -> Any:
    return redirect(url_for("reviews.change", name=_name(), done=done), code=303)
