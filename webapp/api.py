"""The public JSON API, /api/v1. Its OpenAPI description is made from `OPERATIONS` (`openapi`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, request
from jsonschema import Draft202012Validator
from sqlalchemy import select

from state_repo import changes
from state_repo.documents import Resources
from state_repo.status import as_json
from webapp import signing, team
from webapp.access import Level, access, me, visitor
from webapp.errors import Problem
from webapp.live import event_stream
from webapp.models import ApiToken, db, digest, fresh_secret, now

api = Blueprint("api", __name__, url_prefix="/api/v1")
Properties = dict[str, dict[str, Any]]
TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 80}
TOKEN_DAYS = 365


@dataclass(frozen=True, slots=True)
class Operation:
    """One route, as it is described. `body`: its JSON properties; `required`: those needed."""

    method: str
    path: str
    level: Level
    summary: str
    body: Properties = field(default_factory=dict)
    required: tuple[str, ...] = ()


OPERATIONS: list[Operation] = []


def operation(method: str, path: str, level: Level, summary: str, body: Properties | None = None,
              required: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a route with its access and its description in one place."""
    def add(view: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.append(Operation(method, f"/api/v1{path}", level, summary, body or {}, required))
        api.add_url_rule(path, view.__name__, access(level)(view), methods=[method])
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
    body = request.get_json(silent=True)
    schema = {"type": "object", "properties": described.body,
              "required": list(described.required), "additionalProperties": False}
    wrong = [{"field": ".".join(map(str, e.absolute_path)) or "-", "message": e.message,
              "fix": "see /api/v1/openapi.json"}
             for e in Draft202012Validator(schema).iter_errors(body)]
    if wrong:
        raise Problem(422, "invalid", "Some fields are not right.", wrong)
    assert isinstance(body, dict)  # the schema said so
    return body


# ---- session and tokens ----------------------------------------------------------------------

@operation("POST", "/session", "public", "Sign in; sets the session cookie.",
           {"email": {"type": "string"}, "password": {"type": "string"}}, ("email", "password"))
def sign_in() -> Response:
    body = given()
    session, secret = signing.sign_in(body["email"], body["password"])
    response = jsonify(csrf_token=session.csrf, account=_account(session))
    signing.set_cookie(response, secret)
    return response


@operation("GET", "/session", "account", "Who is signed in.")
def session() -> Response:
    who = visitor()
    assert who is not None
    return jsonify(account=_account(who), csrf_token=who.session.csrf if who.session else None)


@operation("DELETE", "/session", "account", "Sign out; closes the employees' pages too.")
def sign_out() -> Response:
    response = jsonify(signed_out=True)
    signing.sign_out(response)
    return response


@operation("GET", "/tokens", "account", "Your API tokens (never their secrets).")
def tokens() -> Response:
    found = db.session.scalars(select(ApiToken).where(ApiToken.account_id == me().id))
    return jsonify(tokens=[{"id": t.id[:16], "name": t.name, "expires_at": t.expires_at.isoformat()}
                           for t in found])


@operation("POST", "/tokens", "account", "Make an API token; its secret is shown once.",
           {"name": TEXT}, ("name",))
def make_token() -> tuple[Response, int]:
    secret = fresh_secret("iw_")
    token = ApiToken(id=digest(secret), account_id=me().id, name=given()["name"],
                     expires_at=now() + timedelta(days=TOKEN_DAYS))
    db.session.add(token)
    db.session.commit()
    return jsonify(token=secret, id=token.id[:16], expires_at=token.expires_at.isoformat()), 201


@operation("DELETE", "/tokens/<token>", "account", "Revoke an API token.")
def revoke_token(token: str) -> Response:
    mine = db.session.scalars(select(ApiToken).where(
        ApiToken.account_id == me().id, ApiToken.id.startswith(token, autoescape=True))).all()
    if len(token) != 16 or not mine:
        raise Problem(404, "not_found", "You have no such token.")
    for found in mine:
        db.session.delete(found)
    db.session.commit()
    return jsonify(revoked=token)


# ---- customers -------------------------------------------------------------------------------

@operation("GET", "/customers", "account", "The customers that you see.")
def customers() -> Response:
    account = me()
    names = sorted(team.store().snapshot().customers) if account.role == "engineer" else [
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
    found = team.status().receipts(customer, _limit(50), request.args.get("revision"))
    return jsonify(receipts=[as_json(r) for r in found])


@operation("GET", "/customers/<customer>/events", "account", "What happened, the oldest first.")
def events(customer: str) -> Response:
    after = request.args.get("after", "0")
    found = team.status().events(customer, int(after) if after.isdigit() else 0, _limit(100))
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
        "pids": {"type": "integer"}}}}


@operation("GET", _PATH, "account", "All employees, with what they do.")
def employees(customer: str) -> Response:
    return jsonify(employees=team.employees(customer))


@operation("POST", _PATH, "account", "Hire an employee.", _FIELDS, ("name", "role"))
def hire(customer: str) -> tuple[Response, int]:
    made, sha = changes.hire(team.store(), team.author(me()), customer, **_wanted(customer))
    team.committed(sha)
    return jsonify(employee=team.employee(customer, made.id), commit=sha), 201


@operation("GET", f"{_PATH}/<employee>", "account", "One employee.")
def employee(customer: str, employee: str) -> Response:
    return jsonify(employee=team.employee(customer, employee))


@operation("PATCH", f"{_PATH}/<employee>", "account", "Change an employee.", _FIELDS)
def change_employee(customer: str, employee: str) -> Response:
    found = team.find(customer, employee)
    wanted = _wanted(customer, found.resources)
    if not wanted:
        raise Problem(422, "invalid", "Name at least one field to change.")
    _, sha = changes.change(team.store(), team.author(me()), customer, employee, **wanted)
    return jsonify(employee=team.employee(customer, employee), commit=team.committed(sha))


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

def _wanted(customer: str, old: Resources | None = None) -> dict[str, Any]:
    """The request's fields as `changes` takes them."""
    body = given()
    if "skills" in body:
        body["skills"] = tuple(body["skills"])
    if "resources" in body:
        size = old or team.store().snapshot().platform.defaults
        body["resources"] = Resources(
            float(body["resources"].get("cpus", size.cpus)),
            body["resources"].get("memory_mb", size.memory_mb),
            body["resources"].get("pids", size.pids))
    return body


def _limit(default: int) -> int:
    text = request.args.get("limit", "")
    return min(max(int(text), 1), 500) if text.isdigit() else default


def _account(of: Any) -> dict[str, Any]:
    account = of.account
    return {"email": account.email, "name": account.name, "role": account.role,
            "customer": account.customer}
