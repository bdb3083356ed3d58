"""The quizzes that employees take: put to the employee in a turn of its own, judged here, kept.

Taking one lasts as long as the employee thinks. Whoever asked may close the page meanwhile: the
result is kept all the same.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from flask import Response, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, mapped_column

from state_repo.documents import Employee
from state_repo.status import UtcTime, as_json
from webapp import team
from webapp.access import access, holds, me
from webapp.api import operation
from webapp.errors import Problem
from webapp.models import db, now
from webapp.pages import pages
from webapp.quiz import OWN, is_right, paper, questions, read_answers
from webapp.reconciler_api import ask

LONGEST_S = 260.0  # a cold start and an answer, as the reconciler waits for them
_MOST_DOCUMENTS, _MOST_TEXT = 12, 200_000  # looked at to make questions
_PATH = "/customers/<customer>/employees/<employee>/quiz"


class Quiz(db.Model):  # type: ignore[name-defined, misc]
    """One quiz. `state`: asking, taken, or failed (`why` in plain words). `items`: question,
    choices, expected, source, answer and right, of each. `demo`: the demo model answered."""

    __tablename__ = "quizzes"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(String(64))
    employee: Mapped[str] = mapped_column(String(64))
    taken_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    by: Mapped[str] = mapped_column(String(254))
    state: Mapped[str] = mapped_column(String(16), default="asking")
    why: Mapped[str] = mapped_column(default="")
    demo: Mapped[bool] = mapped_column(default=False)
    score: Mapped[int] = mapped_column(default=0)
    of: Mapped[int] = mapped_column(default=0)
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)


@operation("GET", _PATH, "account", "The quizzes that the employee took, the newest first.")
def quizzes(customer: str, employee: str) -> Response:
    document = team.find(customer, employee)
    return jsonify(quizzes=[_shown(q) for q in _taken(document)], demo=_is_demo(document))


@operation("POST", _PATH, "account",
           "Have the employee take a quiz about its instructions and your documents. The answer "
           "comes when it has answered.")
def take_quiz(customer: str, employee: str) -> tuple[Response, int]:
    return jsonify(quiz=_shown(_take(team.find(customer, employee)))), 201


@pages.route("/employees/<employee>/quiz", methods=["GET", "POST"])
@access("account", page=True)
def quiz_page(employee: str) -> Any:
    """The newest quiz, question by question, and the way to another one. Without JavaScript the
    page itself is posted, and waits."""
    company = me().customer
    if company is None:
        raise Problem(404, "not_found", gettext("There is no employee %(employee)s.",
                                                employee=employee))
    document = team.find(company, employee)
    if request.method == "POST":
        _take(document)
        return redirect(url_for("pages.quiz_page", employee=employee), code=303)
    taken = [_shown(q) for q in _taken(document)]
    return render_template(
        "quiz.html", employee=team.employee(company, employee), quizzes=taken,
        quiz=taken[0] if taken else None, demo=_is_demo(document),
        may_take=holds(me(), "manager") and document.state == "running",
        first="first" in request.args, account_id=me().id, own=OWN)


def _take(employee: Employee) -> Quiz:
    """Raises Problem 409 when the employee takes one already or does not work, or what the
    reconciler says when it can't be reached."""
    if employee.state != "running":
        raise Problem(409, "not_possible", gettext("%(name)s is not at work. Resume it first.",
                                                   name=employee.name))
    newest = next(iter(_taken(employee)), None)
    if newest is not None and newest.state == "asking":
        raise Problem(409, "already", gettext("%(name)s is taking a quiz right now.",
                                              name=employee.name))
    asked = questions(employee.name, employee.role, team.seats(employee.customer)["name"],
                      employee.instructions, _texts(employee.customer))
    row = Quiz(customer=employee.customer, employee=employee.id, by=me().email, of=len(asked),
               demo=_is_demo(employee))
    db.session.add(row)
    db.session.commit()
    identifier = row.id
    db.session.remove()  # holds no connection while the employee thinks
    answers: list[str] = []
    why = ""
    try:
        answers = read_answers(_answer_of(employee, paper(asked)), len(asked))
    except Problem as problem:
        why = problem.message
    row = db.session.get_one(Quiz, identifier)
    row.state, row.why, row.taken_at = "failed" if why else "taken", why, now()
    row.items = [{"question": q.text, "choices": list(q.choices), "expected": q.expected,
                  "source": q.source, "answer": answer, "right": is_right(q, answer)}
                 for q, answer in zip(asked, answers, strict=False)]
    row.score = sum(item["right"] for item in row.items)
    db.session.commit()
    return row


def _answer_of(employee: Employee, text: str) -> str:
    data = json.dumps({"text": text}).encode()
    return ask(team.instance().socket, "POST", ["employees", employee.id, "ask"], body=[data],
               headers={"Content-Type": "application/json", "Content-Length": str(len(data))},
               timeout_s=LONGEST_S).json()["text"]


def _texts(customer: str) -> dict[str, str]:
    """What the employee can read, by document: as much of it as questions need."""
    socket = team.instance().socket
    try:
        known = ask(socket, "GET", ["customers", customer, "knowledge"]).json()["documents"]
    except Problem as problem:
        if problem.status == 404:  # the shared folder is made with the first employee
            return {}
        raise
    read = [d["name"] for d in known if d["state"] == "extracted"][:_MOST_DOCUMENTS]
    texts = {}
    for name in read:
        pieces = ask(socket, "GET", ["customers", customer, "knowledge", "text"],
                     {"name": name}).pieces()
        texts[name] = b"".join(pieces).decode(errors="replace")[:_MOST_TEXT]
    return texts


def _taken(employee: Employee) -> list[Quiz]:
    """The newest first. One that was cut short (the web app stopped) says so."""
    found = list(db.session.scalars(
        select(Quiz).where(Quiz.customer == employee.customer, Quiz.employee == employee.id)
        .order_by(Quiz.id.desc()).limit(20)))
    for row in found:
        if row.state == "asking" and row.taken_at < now() - timedelta(seconds=LONGEST_S + 20):
            row.state, row.why = "failed", "it was cut short"
    return found


def _is_demo(employee: Employee) -> bool:
    """Whether the demo model answers, which can't be educated."""
    head = team.store().head()
    assert head is not None  # the employee's document was read from it
    offered = team.store().view(head, employee.customer).platform.models.get(employee.model.name)
    return offered is not None and offered.model == "demo"


def _shown(row: Quiz) -> dict[str, Any]:
    return as_json(row)
