"""One customer's employees as the API and the pages show them: what is wanted, from git, joined
with what was seen, from the status tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask, current_app
from flask_babel import gettext

from policies.documents import check_customer
from state_repo.documents import Employee, Platform, Skill
from state_repo.instance import Instance
from state_repo.status import EmployeeStatus, StatusStore, as_json
from state_repo.store import Author, Store
from webapp import words
from webapp.errors import Problem
from webapp.models import Account
from webapp.reconciler_api import notify

_WAITING = {"sync_status": "OutOfSync", "health_status": "Progressing",
            "reason": "it was just asked for; the reconciler takes it up", "deadline": None,
            "revision": None, "asleep_since": None, "updated_at": None}
_SEEN = tuple(_WAITING)


def instance() -> Instance:
    return current_app.config["INSTANCE"]


def status() -> StatusStore:
    return current_app.extensions["iw_status"]


def store() -> Store:
    return current_app.extensions["iw_store"]


def open_store(where: Instance) -> Store:
    return Store.open_or_create(where, check_customer)


def author(account: Account) -> Author:
    return Author(account.name, account.email)


def committed(sha: str) -> str:
    """After a commit: tells the reconciler, which would see it within a second anyway."""
    notify(instance().socket)
    return sha


def platform() -> Platform:
    """What holds for everybody. (A whole snapshot would read every customer's documents.)"""
    return store().platform()


def skills() -> Mapping[str, Skill]:
    """What employees can be taught, by name."""
    return platform().skills


def customers() -> list[str]:
    """The ids of all customers."""
    return sorted(store().customers(_head()))


def warm(app: Flask) -> None:
    """Reads every customer once, so that nobody's first page waits for it."""
    with app.app_context():
        found = store()
        head = found.head()
        for customer in found.customers(head) if head else ():
            found.read_customer(head or "", customer)
            time.sleep(0.001)  # whoever is served comes first


def seats(customer: str) -> dict[str, Any]:
    """The customer with its seats, taken and in all. Raises Problem 404."""
    found = store().read_customer(_head(), customer)
    if found.customer is None:
        raise Problem(404, "not_found", gettext("There is no customer %(customer)s, or its "
                                                "document holds a mistake.",
                                                customer=customer), [
            {"field": v.field, "message": v.message, "fix": v.fix} for v in found.violations])
    taken = sum(e.holds_seat for e in found.employees.values())
    return {"id": customer, "name": found.customer.name, "suspended": found.customer.suspended,
            "seats": found.customer.max_employees, "seats_taken": taken}


def documents(customer: str) -> list[Employee]:
    """Who is employed: neither a blank nor retired."""
    return [e for e in store().read_customer(_head(), customer).employees.values()
            if e.state in ("running", "paused")]


def versions(customers: Sequence[str]) -> dict[str, str]:
    """Each customer's version: another one whenever what is wanted or seen of it changed."""
    seen, wanted = status().versions(customers), store().customers(_head())
    return {customer: f"{seen[customer]}/{wanted.get(customer)}" for customer in customers}


def employees(customer: str) -> list[dict[str, Any]]:
    return teams([customer])[customer]


def teams(customers: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Several customers' employees, with one query."""
    if not customers:
        return {}
    head = _head()
    return {customer: _employees(customer, rows, head)
            for customer, rows in status().employees_of(customers).items()}


def _employees(customer: str, seen_rows: Sequence[EmployeeStatus], head: str
               ) -> list[dict[str, Any]]:
    rows = {row.id: row for row in seen_rows}
    documents = store().read_customer(head, customer).employees
    found = {document.id: rows.pop(document.id, None) for document in documents.values()}
    # A blank is nobody yet, and who is retired is gone once its files are.
    shown = [describe(document, found[document.id]) for document in documents.values()
             if document.state != "warm" and (document.state != "retired" or found[document.id])]
    # Seen, and without a document: vanished.
    shown += [seen(row) for row in rows.values()]
    return sorted(shown, key=lambda e: (e["state"] == "retired", e["name"].lower(), e["id"]))


def employee(customer: str, employee_id: str) -> dict[str, Any]:
    document = find(customer, employee_id)
    return describe(document, status().employee(employee_id)) | {
        "instructions": document.instructions, "skills": list(document.skills),
        "resources": {"cpus": document.resources.cpus, "memory_mb": document.resources.memory_mb,
                      "pids": document.resources.pids},
        "model": {"monthly_budget_usd": document.model.monthly_budget_usd}}


def find(customer: str, employee_id: str) -> Employee:
    found = store().read_customer(_head(), customer).employees.get(employee_id)
    if found is None or found.state == "warm":
        raise Problem(404, "not_found", gettext("There is no employee %(id)s.", id=employee_id))
    return found


def describe(document: Employee, row: EmployeeStatus | None) -> dict[str, Any]:
    if row is not None and row.desired_state == "warm":
        row = None  # seen as the blank that it was: its hire was not taken up yet
    known = as_json(row, _SEEN) if row else _WAITING
    return _with_words({
        "id": document.id, "customer": document.customer, "name": document.name,
        "role": document.role, "state": document.state,
        "monthly_budget_usd": document.model.monthly_budget_usd, **known, **_links(document.id)})


def seen(row: EmployeeStatus) -> dict[str, Any]:
    """An employee by its status alone."""
    return _with_words({
        "id": row.id, "customer": row.customer, "name": row.name, "role": row.role,
        "state": row.desired_state, "monthly_budget_usd": None,
        **as_json(row, _SEEN), **_links(row.id)})


def _with_words(shown: dict[str, Any]) -> dict[str, Any]:
    return shown | {"summary": words.summary(shown)}


def _links(employee_id: str) -> dict[str, str]:
    where = instance()
    return {"chat_url": where.url(where.chat_host(employee_id)),
            "browser_url": where.url(where.browser_host(employee_id))}


def _head() -> str:
    head = store().head()
    if head is None:
        raise Problem(503, "empty_state", "The state repo is empty; `make run` fills it.")
    return head
