"""Onboarding: a newcomer's answers, kept from the first letter on, and the hire that they lead to.

The browser keeps every answer at once and sends it here; `version` counts its changes, so that a
tab that was left open can't put old answers over new ones. A hire asked for twice (the network was
lost before its answer came) is made once.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from flask import Response, jsonify, redirect, render_template, request, url_for
from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from state_repo import StateRepoError, changes
from state_repo.status import UtcTime
from webapp import team
from webapp.access import access, me
from webapp.api import Properties, given, operation
from webapp.education import MOST, STEPS, TONES, Education, educate, missing
from webapp.errors import Problem
from webapp.models import db, now
from webapp.pages import pages

_PATH = "/customers/<customer>/onboarding"
_ANSWERS: Properties = {name: {"type": "string", "maxLength": most} for name, most in MOST.items()}
_hiring = threading.Lock()  # one process serves the web app


class Onboarding(db.Model):  # type: ignore[name-defined, misc]
    """One person's answers, until the employee is hired and they are done with it. `employee`:
    who was hired from them; from then on the answers stay as they are."""

    __tablename__ = "onboarding"
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"),
                                            primary_key=True)
    customer: Mapped[str] = mapped_column(String(64), primary_key=True)
    answers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    step: Mapped[str] = mapped_column(String(16), default=STEPS[0])
    version: Mapped[int] = mapped_column(default=0)
    employee: Mapped[str | None] = mapped_column(String(64))
    hired_at: Mapped[datetime | None] = mapped_column(UtcTime)
    updated_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


@operation("GET", _PATH, "account", "Your answers so far, if you are hiring by questions.")
def onboarding(customer: str) -> Response:
    return jsonify(onboarding=_shown(_mine(customer)))


@operation("PUT", _PATH, "account",
           "Keep your answers. `version` counts your changes; an older one is refused.",
           {"version": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
            "step": {"enum": [*STEPS]},
            "answers": {"type": "object", "properties": _ANSWERS, "additionalProperties": False}},
           ("version", "step", "answers"))
def keep_onboarding(customer: str) -> Response:
    body = given()
    return jsonify(onboarding=_shown(_keep(customer, body["answers"], body["step"],
                                           body["version"])))


@operation("POST", f"{_PATH}/hire", "account",
           "Hire the employee that your answers describe. Asked again, it names the same one.")
def hire_educated(customer: str) -> tuple[Response, int]:
    row, sha = _hire(customer)
    assert row.employee is not None  # it was hired
    return jsonify(onboarding=_shown(row), commit=sha,
                   employee=team.employee(customer, row.employee)), 201 if sha else 200


@operation("DELETE", _PATH, "account", "Forget your answers: done, or never mind.")
def forget_onboarding(customer: str) -> Response:
    row = _mine(customer)
    if row is not None:
        db.session.delete(row)
        db.session.commit()
    return jsonify(forgotten=row is not None)


@operation("POST", f"{_PATH}/quiz", "account",
           "The employee is here: its quiz is what is left of the onboarding.")
def onboarding_quiz(customer: str) -> Response:
    row = _mine(customer)
    if row is None or row.employee is None:
        raise Problem(409, "not_hired", "Nobody was hired from your answers yet.")
    row.step, row.updated_at = "quiz", now()
    db.session.commit()
    return jsonify(onboarding=_shown(row))


@operation("POST", f"{_PATH}/preview", "account",
           "The employee that answers describe: name, role and instructions.",
           {"answers": {"type": "object", "properties": _ANSWERS, "additionalProperties": False}},
           ("answers",))
def preview_education(customer: str) -> Response:
    answers = given()["answers"]
    made = educate(answers, team.seats(customer)["name"])
    return jsonify(name=made.name, role=made.role, instructions=made.instructions,
                   missing=missing(answers))


@pages.route("/onboarding", methods=["GET", "POST"])
@access("account", page=True, role="manager")
def onboarding_page() -> Any:
    """All steps in one page: the browser shows one at a time; without JavaScript it is one form,
    which is posted."""
    company = me().customer
    if company is None:
        raise Problem(404, "not_found", "Onboarding is for a company’s own people.")
    row = _mine(company)
    if request.method == "POST":
        if row is None or row.employee is None:
            answers = {name: request.form.get(name, "")[:most] for name, most in MOST.items()}
            _keep(company, answers, "review", (row.version if row else 0) + 1)
            _hire(company)
        return redirect(url_for("pages.index"), code=303)
    if row is not None and row.step == "quiz" and row.employee:
        return redirect(url_for("pages.quiz_page", employee=row.employee, first=1))
    return render_template("onboarding.html", saved=_shown(row), tones=TONES, most=MOST,
                           account_id=me().id)


def _mine(customer: str) -> Onboarding | None:
    return db.session.get(Onboarding, (me().id, customer))


def _keep(customer: str, answers: dict[str, str], step: str, version: int) -> Onboarding:
    """Raises Problem 409: what is kept is as new, or the employee was hired."""
    row = _mine(customer)
    if row is None:
        row = Onboarding(account_id=me().id, customer=customer, version=0)
        db.session.add(row)
    elif row.employee is not None:
        raise Problem(409, "hired", "The employee was hired from these answers. What it knows is "
                      "changed in its settings now.")
    if version <= row.version:
        raise Problem(409, "newer", "Newer answers were given elsewhere. They are kept; load the "
                      "page again to see them.")
    row.answers, row.step, row.version, row.updated_at = answers, step, version, now()
    try:
        db.session.commit()
    except IntegrityError:  # the first answer, twice at once
        db.session.rollback()
        return _keep(customer, answers, step, version)
    return row


def _hire(customer: str) -> tuple[Onboarding, str | None]:
    """The row with its employee, and the commit; None when it was hired before."""
    with _hiring:
        db.session.expire_all()
        row = _mine(customer)
        if row is None:
            raise Problem(409, "no_answers", "There are no answers yet. Begin at the first step.")
        if row.employee is not None:
            return row, None
        if wrong := missing(row.answers):
            raise Problem(422, "invalid", "Your employee needs a name and a role.", [
                {"field": name, "message": "is missing", "fix": f"fill it in at step “{step}”"}
                for name, step in wrong.items()])
        made = educate(row.answers, team.seats(customer)["name"])
        # Begun before and never finished: the commit may have been made.
        found, sha = _hired_already(customer, made) if row.step == "hire" else None, None
        if found is None:
            row.step = "hire"
            db.session.commit()
            found, sha = _commit_hire(row, customer, made)
        row.employee, row.hired_at, row.updated_at = found, now(), now()
        row.version += 1
        db.session.commit()
        return row, sha


def _commit_hire(row: Onboarding, customer: str, made: Education) -> tuple[str, str]:
    try:
        employee, sha = changes.hire(team.store(), team.author(me()), customer, made.name,
                                     made.role, instructions=made.instructions)
    except StateRepoError:
        row.step = "review"  # refused: nothing was committed
        db.session.commit()
        raise
    return employee.id, team.committed(sha)


def _hired_already(customer: str, made: Education) -> str | None:
    return next((e["id"] for e in team.employees(customer) if e["state"] == "running"
                 and (e["name"], e["role"]) == (made.name, made.role)
                 and team.find(customer, e["id"]).instructions == made.instructions), None)


def _shown(row: Onboarding | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"answers": row.answers, "step": row.step, "version": row.version,
            "employee": row.employee, "updated_at": row.updated_at.isoformat(),
            "hired_at": row.hired_at.isoformat() if row.hired_at else None}
