"""The pages: sign-in, and the team, live."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for

from webapp import openapi, signing, team
from webapp.access import access, me, visitor
from webapp.edge import ticket_url
from webapp.errors import Problem

pages = Blueprint("pages", __name__)


@pages.get("/healthz")
@access("public")
def healthz() -> Response:
    team.status().stack("loop")
    return jsonify(ok=True)


@pages.get("/api/v1/openapi.json")
@access("public")
def openapi_json() -> Response:
    return jsonify(openapi.description(team.instance().app_url))


@pages.route("/sign-in", methods=["GET", "POST"])
@access("public")
def sign_in() -> Any:
    if request.method == "GET":
        if visitor() is not None:
            return redirect(url_for("pages.index"))
        return render_template("sign_in.html", problem=None, email="")
    email = request.form.get("email", "")
    try:
        _, secret = signing.sign_in(email, request.form.get("password", ""))
    except Problem as problem:
        return render_template("sign_in.html", problem=problem, email=email), problem.status
    response = redirect(url_for("pages.index"), code=303)
    signing.set_cookie(response, secret)  # type: ignore[arg-type]
    return response


@pages.post("/sign-out")
@access("account", page=True)
def sign_out() -> Any:
    response = redirect(url_for("pages.sign_in"), code=303)
    signing.sign_out(response)  # type: ignore[arg-type]
    return response


@pages.get("/employees/<employee>")
@access("account", page=True)
def workspace(employee: str) -> Any:
    """One employee: its chat and its browser, side by side."""
    row, account = team.status().employee(employee), me()
    if row is None or row.customer != account.customer or row.desired_state == "warm":
        raise Problem(404, "not_found", f"There is no employee {employee}.")
    return render_template(
        "workspace.html", employee=team.employee(row.customer, employee), account=account,
        chat=ticket_url(employee, "chat"), browser=ticket_url(employee, "browser"))


@pages.get("/")
@access("account", page=True)
def index() -> Any:
    """One customer's team; an engineer chooses whose by ?customer=."""
    account, who = me(), visitor()
    customer = account.customer or request.args.get("customer")
    everybody = sorted(team.store().snapshot().customers) if account.role == "engineer" else []
    if customer is None:
        customer = everybody[0] if everybody else None
    if customer is None:
        return render_template("nobody.html")
    return render_template("team.html", customer=team.seats(customer), account=account,
                           everybody=everybody,
                           csrf=who.session.csrf if who and who.session else "")
