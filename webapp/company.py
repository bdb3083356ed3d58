"""The company itself: its name, and its end.

Who deletes a company types its name and proves to be the owner. Then every employee stops at once
(the company is suspended), and for `grace_days` nothing is lost and any owner can undo it: they can
still sign in, and take everything with them. After that the employees are retired, a commit each,
and the accounts are removed; the employees' files go as every retired employee's do.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from flask import Flask, Response, current_app, jsonify
from flask_babel import gettext
from sqlalchemy import delete, select

from state_repo import StateRepoError, changes
from state_repo.store import Author
from webapp import billing_closure, mail, passwords, signing, team
from webapp.access import me
from webapp.api import TEXT, given, operation
from webapp.errors import Problem
from webapp.models import Account, Closure, Invitation, Letter, db, now
from webapp.quizzes import Quiz

log = logging.getLogger(__name__)
_CUSTOMER = "/customers/<customer>"


def rename(customer: str, by: Account, name: str) -> str:
    """Returns the commit."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise Problem(422, "invalid", "A company’s name has at most 80 characters.")
    _, sha = changes.rename_customer(team.store(), team.author(by), customer, name)
    return team.committed(sha)


# ---- its end ---------------------------------------------------------------------------------

def closure(customer: str) -> Closure | None:
    return db.session.get(Closure, customer)


def close(customer: str, by: Account, typed: str, password: str) -> Closure:
    """Asks for the deletion; every employee stops now."""
    found = team.seats(customer)
    if typed.strip() != found["name"]:
        raise Problem(422, "name", gettext("Type the company’s name exactly: %(name)s",
                                           name=found["name"]))
    prove_again(by, password)
    if closure(customer) is not None:
        raise Problem(409, "closing", "This was asked for already.")
    asked = Closure(customer=customer, asked_by=by.email, was_suspended=found["suspended"],
                    due_at=now() + timedelta(days=grace_days()))
    db.session.add(asked)
    db.session.flush()  # of two who ask, one does
    _, sha = changes.set_seats(team.store(), team.author(by), customer, suspended=True)
    _tell_owners(customer, "closure")
    db.session.commit()
    billing_closure.follow(current_app.extensions["iw_billing"], customer)
    team.committed(sha)
    return asked


def reopen(customer: str, by: Account) -> None:
    """Undoes it, until it is done."""
    found = closure(customer)
    if found is None or found.done_at is not None:
        raise Problem(409, "not_closing", "This company is not being deleted.")
    was_suspended = found.was_suspended
    db.session.delete(found)
    db.session.flush()
    _, sha = changes.set_seats(team.store(), team.author(by), customer, suspended=was_suspended)
    _tell_owners(customer, "closure_undone")
    db.session.commit()
    billing_closure.follow(current_app.extensions["iw_billing"], customer)
    team.committed(sha)


def prove_again(account: Account, password: str) -> None:
    """Before something that can't be undone easily: whoever sits at an open browser is not
    necessarily the person. Raises Problem."""
    key = f"again {account.id}"
    signing.refuse_if_too_many(signing.throttles().code.take(key))
    if not passwords.matches(account.password_hash, password):
        raise Problem(403, "wrong_password", "That is not your password.")
    signing.throttles().code.forget(key)


def grace_days() -> int:
    return team.platform().grace_days


def finish_due(app: Flask) -> None:
    """Ends the companies whose time has come; again after an error. One thread calls it."""
    with app.app_context():
        due = db.session.scalars(select(Closure.customer).where(
            Closure.due_at <= now(), Closure.done_at.is_(None))).all()
        for customer in due:
            try:
                _finish(customer)
            except (StateRepoError, Problem) as error:
                db.session.rollback()
                log.warning("%s could not be ended yet: %s", customer, error)


def _finish(customer: str) -> None:
    store = team.store()
    author = Author("InstantWorker", f"no-reply@{current_app.config['INSTANCE'].domain}")
    head = store.head()
    employees = store.read_customer(head, customer).employees if head else {}
    changes.set_seats(store, author, customer, max_employees=_taken(employees), suspended=True)
    for employee in employees.values():
        if employee.state != "retired":
            changes.retire(store, author, customer, employee.id)
    _, sha = changes.set_seats(store, author, customer, max_employees=0)
    for account in db.session.scalars(select(Account).where(Account.customer == customer)).all():
        mail.send("closed", account.email, name=account.name, company=team.seats(customer)["name"])
        signing.end_all(account)
        db.session.execute(delete(Account).where(Account.id == account.id))
    # Answers of quizzes quote the company's documents.
    for table in (Invitation, Quiz):
        db.session.execute(delete(table).where(table.customer == customer))
    found = closure(customer)
    if found is not None:
        found.done_at = now()
    db.session.commit()
    billing_closure.follow(current_app.extensions["iw_billing"], customer)
    team.committed(sha)
    log.info("%s was ended", customer)


def _taken(employees: Any) -> int:
    return sum(e.holds_seat for e in employees.values())


def _tell_owners(customer: str, kind: str) -> None:
    for owner in db.session.scalars(select(Account).where(Account.customer == customer,
                                                          Account.role == "owner")):
        mail.send(kind, owner.email)


@mail.writes("closure")
def _write_closure(letter: Letter) -> mail.Text | None:
    account = db.session.scalar(select(Account).where(Account.email == letter.to))
    found = closure(account.customer or "") if account is not None else None
    if account is None or found is None:
        return None
    return "closure", {"name": account.name, "company": team.seats(found.customer)["name"],
                       "by": found.asked_by, "due": mail.local_time(account, found.due_at),
                       "days": grace_days(), "link": mail.link("/settings/data")}


@mail.writes("closure_undone")
def _write_closure_undone(letter: Letter) -> mail.Text | None:
    account = db.session.scalar(select(Account).where(Account.email == letter.to))
    if account is None or account.customer is None or closure(account.customer) is not None:
        return None
    return "closure_undone", {"name": account.name, "link": mail.link("/"),
                              "company": team.seats(account.customer)["name"]}


@mail.writes("closed")
def _write_closed(letter: Letter) -> mail.Text | None:
    return "closed", dict(letter.about)


# ---- the same for programs -------------------------------------------------------------------

@operation("PATCH", _CUSTOMER, "account", "Change the company's name.", {"name": TEXT}, ("name",),
           role="owner")
def rename_company(customer: str) -> Response:
    sha = rename(customer, me(), given()["name"])
    return jsonify(customer=team.seats(customer), commit=sha)


@operation("POST", f"{_CUSTOMER}/closure", "account", "Delete the company: its employees stop now, "
           "everything is kept for the grace period.", {"name": TEXT, "password": {
               "type": "string"}}, ("name", "password"), role="owner", person=True)
def close_company(customer: str) -> tuple[Response, int]:
    body = given()
    asked = close(customer, me(), body["name"], body["password"])
    return jsonify(closes_at=asked.due_at.isoformat()), 201


@operation("DELETE", f"{_CUSTOMER}/closure", "account", "Undo the company's deletion.",
           role="owner", person=True)
def reopen_company(customer: str) -> Response:
    reopen(customer, me())
    return jsonify(customer=team.seats(customer))
