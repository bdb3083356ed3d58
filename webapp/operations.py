"""The operator's page: the fleet at a glance, what fires, how much is left, and from an alert to
the culprit's log in two clicks. And the public page that says how well each service was there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, jsonify, render_template, request

from state_repo.logbook import LEVELS
from webapp import team
from webapp.access import access
from webapp.errors import Problem
from webapp.reconciler_api import ask
from webapp.texts import N_

operations = Blueprint("operations", __name__)
SLOWEST, RUNS, PRINTED = 8, 12, 200
SPANS = ("1h", "1d", "7d")
SERVICES = {"dashboard": N_("Dashboard and sign-in"),
            "employees": N_("Employees: chat and browser"),
            "thinking": N_("Language models"), "hiring": N_("Hiring and changes")}
RESOURCES = {"memory": N_("Memory"), "disk": N_("Disk"), "networks": N_("Networks")}
_GOOD = 0.999  # of a day: what is below is shown as not quite there


@operations.get("/operations")
@access("engineer", page=True)
def index() -> Any:
    return render_template("operations.html", spans=SPANS, **_now())


@operations.get("/operations/-/now")
@access("engineer")
def now() -> Any:
    """What changes while one looks, as a part of the page."""
    return render_template("operations_now.html", **_now())


@operations.get("/operations/-/charts")
@access("engineer")
def charts() -> Any:
    span = request.args.get("span", "1h")
    return jsonify(ask(team.instance().socket, "GET", ["charts"], {"span": span}).json())


@operations.get("/operations/log")
@access("engineer", page=True)
def log() -> Any:
    """What was logged about a customer, an employee, a commit or a trace; of an employee, also
    what its container printed."""
    about, level = request.args.get("about", "").strip(), request.args.get("level", "INFO")
    level = level if level in LEVELS else "INFO"
    problem, lines, printed = None, [], None
    try:
        lines = ask(team.instance().socket, "GET", ["journal"],
                    {"about": about, "level": level}).json()
        if about and team.status().employee(about) is not None:
            printed = b"".join(ask(team.instance().socket, "GET", ["employees", about, "logs"],
                                   {"tail": str(PRINTED)}).pieces()).decode(errors="replace")
    except Problem as error:
        problem = error.message
    return render_template("operations_log.html", about=about, level=level, lines=lines,
                           levels=LEVELS, printed=printed, problem=problem)


@operations.get("/status")
@access("public")
def status() -> Any:
    """For everybody: is it there, and was it. The same for who asks: nobody's name is in it."""
    found: list[dict[str, Any]] | None
    try:
        found = ask(team.instance().socket, "GET", ["services"], timeout_s=6.0).json()
    except Problem:
        found = None
    today = datetime.now(UTC).date()
    for service in found or ():
        service["title"] = SERVICES[service["service"]]
        service["days"] = [{"day": (today - timedelta(days=ago)).isoformat(), "share": share,
                            "tone": tone(share)}
                           for ago, share in enumerate(reversed(service["days"]))][::-1]
        known = [day["share"] for day in service["days"] if day["share"] is not None]
        service["mean"] = sum(known) / len(known) if known else None
    return render_template("status.html", services=found, url=team.instance().app_url)


def tone(share: float | None) -> str:
    """How a day is coloured."""
    return "" if share is None else "good" if share >= _GOOD else "warn" if share >= 0.95 else "bad"


def _now() -> dict[str, Any]:
    try:
        found: dict[str, Any] | None = ask(team.instance().socket, "GET", ["overview"],
                                           timeout_s=20.0).json()
        problem = None
    except Problem as error:
        found, problem = None, error.message
    receipts = team.status().receipts(None, 300)
    since = datetime.now(UTC) - timedelta(days=1)
    made = [r for r in receipts if r.started_at > since]
    slowest: dict[str, Any] = {}
    for receipt in sorted(made, key=lambda r: -r.total_s):
        if receipt.stack.startswith("customer/"):
            slowest.setdefault(receipt.stack.removeprefix("customer/"), receipt)
    return {"found": found, "problem": problem, "runs": receipts[:RUNS], "resources": RESOURCES,
            "slowest": list(slowest.items())[:SLOWEST], "at": datetime.now(UTC)}
