"""The public JSON API, /api/v1. Its OpenAPI description is made from `OPERATIONS` (`openapi`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Blueprint, Response, jsonify, request
from jsonschema import Draft202012Validator

from state_repo import changes
from state_repo.status import as_json
from webapp import second_factor, signing, team
from webapp.access import Level, Role, access, check_origin, me, visitor
from webapp.errors import Problem
from webapp.live import event_stream

api = Blueprint("api", __name__, url_prefix="/api/v1")
Properties = dict[str, dict[str, Any]]
# NUL as JSON writes it. Behind a backslash of its own it is six characters of somebody's text.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 80}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route, as it is described. `body`: its JSON properties; `required`: those needed.
    `role` and `person`: as in `access`."""

    method: str
    path: str
    level: Level
    summary: str
    body: Properties = field(default_factory=dict)
    required: tuple[str, ...] = ()
    role: Role | None = None
    person: bool = False


OPERATIONS: list[Operation] = []


def operation(method: str, path: str, level: Level, summary: str, body: Properties | None = None,
              required: tuple[str, ...] = (), role: Role | None = None, person: bool = False
              ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a route with its access and its description in one place."""
    def add(view: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.append(Operation(method, f"/api/v1{path}", level, summary, body or {}, required,
                                    role, person))
        api.add_url_rule(path, view.__name__, access(level, role=role, person=person)(view),
                         methods=[method])
        return view
    return add


def given() -> dict[str, Any]:
    """The request's JSON, checked against the operation's description.

    Raises:
        Problem: 422 with every field that is wrong.
    """
    rule = str(request.url_rule).replace("<", "{").replace(">", "}")
    described = next(o for o in OPERATIONS if o.method == request.method
                     and o.path.replace("<", "{").replace(">", "}") == rule)
    try:
        body = request.get_json(silent=True)
        text = json.dumps(body, allow_nan=False, ensure_ascii=False)
        text.encode()
        if _NUL.search(text):
            raise ValueError("NUL")
    except (RecursionError, ValueError):  # too deep, no finite number, half a character
        raise Problem(422, "invalid", "The JSON holds what can't be kept: values nested too "
                      "deeply, numbers without end, NUL, or half a character.") from None
    schema = {"type": "object", "properties": described.body,
              "required": list(described.required), "additionalProperties": False}
    wrong = [{"field": ".".join(map(str, e.absolute_path)) or "-", "message": e.message,
              "fix": "see /api/v1/openapi.json"}
             for e in Draft202012Validator(schema).iter_errors(body)]
    if wrong:
        raise Problem(422, "invalid", "Some fields are not right.", wrong)
    assert isinstance(body, dict)  # the schema said so
    return body


# ---- session ---------------------------------------------------------------------------------

@operation("POST", "/session", "public", "Sign in; sets the session cookie.",
           {"email": {"type": "string"}, "password": {"type": "string"},
            "code": {"type": "string", "maxLength": 40}}, ("email", "password"))
def sign_in() -> Response:
    check_origin()
    body = given()
    found = signing.prove(body["email"], body["password"])
    second_factor.check_with_password(found, body.get("code"))
    session, secret = signing.begin(found)
    response = jsonify(csrf_token=session.csrf, account=_account(session))
    signing.set_cookie(response, secret)
    return response


@operation("GET", "/session", "account", "Who is signed in.")
def session() -> Response:
    who = visitor()
    assert who is not None
    return jsonify(account=_account(who), csrf_token=who.session.csrf if who.session else None)


@operation("DELETE", "/session", "account", "Sign out; closes the employees' pages too.",
           role="viewer")
def sign_out() -> Response:
    response = jsonify(signed_out=True)
    signing.sign_out(response)
    return response


# ---- customers -------------------------------------------------------------------------------

@operation("GET", "/customers", "account", "The customers that you see.")
def customers() -> Response:
    account = me()
    names = team.customers() if account.role == "engineer" else [
        account.customer or ""]
    return jsonify(customers=[team.seats(name) for name in names])


@operation("POST", "/customers", "engineer", "Create a customer.",
           {"id": TEXT, "name": TEXT, "seats": {"type": "integer", "minimum": 0}},
           ("id", "name", "seats"))
def create_customer() -> tuple[Response, int]:
    body = given()
    made, sha = changes.create_customer(team.store(), team.author(me()), body["id"], body["name"],
                                        body["seats"])
    team.committed(sha)
    return jsonify(customer=team.seats(made.id), commit=sha), 201


@operation("GET", "/customers/<customer>", "account", "One customer and its seats.")
def customer(customer: str) -> Response:
    return jsonify(customer=team.seats(customer))


@operation("GET", "/customers/<customer>/status", "account",
           "Whether everything of the customer is as wanted, and works.")
def customer_status(customer: str) -> Response:
    row = team.status().stack(f"customer/{customer}")
    return jsonify(status=as_json(row) if row else None, employees=team.employees(customer))


@operation("GET", "/customers/<customer>/receipts", "account",
           "What became of each commit, the newest first.")
def receipts(customer: str) -> Response:
    revision = request.args.get("revision")
    if revision is not None and not re.fullmatch(r"[0-9a-f]{4,40}", revision):
        raise Problem(422, "invalid", "revision: a commit, of 4 to 40 of 0-9 and a-f.")
    found = team.status().receipts(customer, _limit(50), revision)
    return jsonify(receipts=[as_json(r) for r in found])


@operation("GET", "/customers/<customer>/events", "account", "What happened, the oldest first.")
def events(customer: str) -> Response:
    found = team.status().events(customer, _whole("after", 0, 2**53), _limit(100))
    return jsonify(events=[as_json(e) for e in found])


@operation("GET", "/customers/<customer>/events/stream", "account",
           "Server-sent events: `team` with all employees whenever anything changes.")
def stream(customer: str) -> Response:
    return event_stream(customer)


# ---- employees -------------------------------------------------------------------------------

_PATH = "/customers/<customer>/employees"
_FIELDS: Properties = {
    "name": TEXT, "role": TEXT, "instructions": {"type": "string", "maxLength": 20000},
    "skills": {"type": "array", "items": {"type": "string"}, "maxItems": 50},
    "resources": {"type": "object", "additionalProperties": False, "properties": {
        "cpus": {"type": "number"}, "memory_mb": {"type": "integer"},
        "pids": {"type": "integer"}}},
    "model": {"type": "object", "additionalProperties": False, "properties": {
        "monthly_budget_usd": {"type": "number"}}}}


@operation("GET", _PATH, "account", "All employees, with what they do.")
def employees(customer: str) -> Response:
    return jsonify(employees=team.employees(customer))


@operation("POST", _PATH, "account", "Hire an employee.", _FIELDS, ("name", "role"))
def hire(customer: str) -> tuple[Response, int]:
    wanted = _wanted()
    if "resources" in wanted:
        usual = team.platform().defaults
        wanted["resources"] = replace(usual, **wanted["resources"])
    made, sha = changes.hire(team.store(), team.author(me()), customer, **wanted)
    team.committed(sha)
    return jsonify(employee=team.employee(customer, made.id), commit=sha), 201


@operation("GET", f"{_PATH}/<employee>", "account", "One employee.")
def employee(customer: str, employee: str) -> Response:
    return jsonify(employee=team.employee(customer, employee))


@operation("PATCH", f"{_PATH}/<employee>", "account", "Change an employee.", _FIELDS)
def change_employee(customer: str, employee: str) -> Response:
    team.find(customer, employee)
    wanted = _wanted()
    if not wanted:
        raise Problem(422, "invalid", "Name at least one field to change.")
    _, sha = changes.change(team.store(), team.author(me()), customer, employee, **wanted)
    return jsonify(employee=team.employee(customer, employee), commit=team.committed(sha))


@operation("GET", "/skills", "account",
           "What employees can be taught: the catalogue, with a task to try each.")
def skills() -> Response:
    return jsonify(skills=[
        {"name": skill.name, "title": skill.title, "description": skill.description,
         "version": skill.version, "uses": list(skill.uses), "example": skill.example}
        for skill in team.skills().values()])


def _verb(name: str, summary: str) -> None:
    def view(customer: str, employee: str) -> Response:
        act = getattr(changes, name)
        _, sha = act(team.store(), team.author(me()), customer, employee)
        return jsonify(employee=team.employee(customer, employee), commit=team.committed(sha))
    view.__name__ = f"{name}_employee"
    operation("POST", f"{_PATH}/<employee>/{name}", "account", summary)(view)


_verb("pause", "Stop an employee; everything is kept.")
_verb("resume", "Start a paused employee.")
_verb("retire", "End an employment: the seat is free; files are kept for the grace period.")
_verb("retry", "Replace the employee's container; files are kept.")


# ---- small things ----------------------------------------------------------------------------

def _wanted() -> dict[str, Any]:
    """The request's fields as `changes` takes them."""
    body = given()
    if "skills" in body:
        body["skills"] = tuple(body["skills"])
    for part, name in (("resources", "cpus"), ("model", "monthly_budget_usd")):
        if name in body.get(part, {}):
            body[part][name] = float(body[part][name])
    return body


def _limit(default: int) -> int:
    return max(_whole("limit", default, 500), 1)


def _whole(name: str, default: int, most: int) -> int:
    """A whole number of the query, at most `most`; the default for whatever is none. (Many
    digits that are none of ASCII's are digits to Python, and not to `int`.)"""
    text = request.args.get(name, "")
    return min(int(text), most) if re.fullmatch(r"[0-9]{1,18}", text) else default


def _account(of: Any) -> dict[str, Any]:
    account = of.account
    return {"email": account.email, "name": account.name, "role": account.role,
            "customer": account.customer}
