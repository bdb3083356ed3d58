"""The API of one employee's workspace: the way into its frames, its screen as a small picture, and
what happened to it."""

from __future__ import annotations

from flask import Response, jsonify, request

from webapp import activity, team
from webapp.access import visitor
from webapp.api import given, operation
from webapp.edge import ticket_url
from webapp.errors import Problem
from webapp.reconciler_api import ask

_FRESH_S = 5
_EMPLOYEE = "/customers/<customer>/employees/<employee>"


@operation("POST", f"{_EMPLOYEE}/open", "account",
           "A one-time address of the employee's chat or browser, for a signed-in person.",
           {"kind": {"enum": ["chat", "browser"]}}, ("kind",), role="viewer")
def open_employee(customer: str, employee: str) -> Response:
    team.find(customer, employee)
    who = visitor()
    if who is None or who.session is None:
        raise Problem(409, "not_possible", "An address is for a signed-in person. Send your token "
                      "to the chat's or browser's own address instead (Authorization: Bearer …).")
    return jsonify(url=ticket_url(employee, given()["kind"]))


@operation("GET", f"{_EMPLOYEE}/activity", "account",
           "What happened to an employee, in plain words, the newest first.")
def employee_activity(customer: str, employee: str) -> Response:
    team.find(customer, employee)
    return jsonify(activity=activity.of(customer, employee))


@operation("GET", f"{_EMPLOYEE}/uptime", "account",
           "Of each of the last two weeks' days, the oldest first: the share of the time in which "
           "the employee was to answer, and did; null where nobody asked.")
def employee_uptime(customer: str, employee: str) -> Response:
    team.find(customer, employee)
    return jsonify(days=ask(team.instance().socket, "GET", ["employees", employee, "uptime"],
                            timeout_s=10.0).json())


@operation("GET", f"{_EMPLOYEE}/thumbnail", "account",
           "A small picture of the employee's screen (JPEG); 204 when its screen is off.")
def thumbnail(customer: str, employee: str) -> Response:
    """Wakes nobody: who sleeps has no screen."""
    team.find(customer, employee)
    row = team.status().employee(employee)
    if row is None or row.asleep_since is not None or row.health_status != "Healthy" or (
            row.desired_state != "running"):
        return Response(status=204, headers={"Cache-Control": f"private, max-age={_FRESH_S}"})
    answer = ask(team.instance().socket, "GET", ["employees", employee, "thumbnail"],
                 timeout_s=5.0)
    picture = b"".join(answer.pieces())
    response = Response(picture, 200 if picture else 204, mimetype="image/jpeg")
    response.cache_control.private = True
    response.cache_control.max_age = _FRESH_S
    response.add_etag()
    response.make_conditional(request)
    return response
