"""The pages: sign-in, and the team, live."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for

from webapp import landing, openapi, second_factor, signing, team, texts
from webapp.access import access, check_origin, safe_next, visitor
from webapp.errors import Problem
from webapp.team_pages import show_team

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


@pages.get("/texts/<name>.js")
@access("public")
def language(name: str) -> Response:
    """The texts of a language other than English, for the browser's modules."""
    script = texts.of_the_browser(name)
    return Response(script or "", 200 if script else 404, {"Cache-Control": "no-cache"},
                    mimetype="text/javascript")


@pages.route("/sign-in", methods=["GET", "POST"])
@access("public")
def sign_in() -> Any:
    to = safe_next(request.values.get("next"))
    values: dict[str, Any] = {"next": to, "email": request.values.get("email", ""),
                              "problem": None, "done": request.args.get("done")}
    if request.method == "GET":
        if visitor() is not None:
            return redirect(to)
        return render_template("sign_in.html", **values)
    try:
        check_origin()
        account = signing.prove(values["email"], request.form.get("password", ""))
    except Problem as problem:
        values["problem"] = problem
        return render_template("sign_in.html", **values), problem.status
    return second_factor.ask_or_begin(account, to)


@pages.post("/sign-out")
@access("account", page=True, role="viewer")
def sign_out() -> Any:
    response = redirect(url_for("pages.sign_in"), code=303)
    signing.sign_out(response)  # type: ignore[arg-type]
    return response


@pages.get("/")
@access("public")
def index() -> Any:
    """The landing page for strangers; then one's own team. An engineer chooses whose by
    ?customer=."""
    who = visitor()
    if who is None:
        return landing.page()
    account = who.account
    customer = account.customer or request.args.get("customer")
    everybody = team.customers() if account.role == "engineer" else []
    if customer is None:
        customer = everybody[0] if everybody else None
    if customer is None:
        return render_template("nobody.html")
    return show_team(customer, everybody)
