"""One customer's employees as the API and the pages show them: what is wanted, from git, joined
with what was seen, from the status tables."""

from __future__ import annotations

from typing import Any

from flask import current_app

from policies.documents import check_customer
from state_repo.documents import Employee
from state_repo.instance import Instance
from state_repo.status import EmployeeStatus, StatusStore, as_json
from state_repo.store import Author, Store
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


def seats(customer: str) -> dict[str, Any]:
    """The customer with its seats, taken and in all. Raises Problem 404."""
    found = store().read_customer(_head(), customer)
    if found.customer is None:
        raise Problem(404, "not_found", f"There is no customer {customer}, or its document holds "
                      "a mistake.", [{"field": v.field, "message": v.message, "fix": v.fix}
                                     for v in found.violations])
    taken = sum(e.state in ("running", "paused") for e in found.employees.values())
    return {"id": customer, "name": found.customer.name, "suspended": found.customer.suspended,
            "seats": found.customer.max_employees, "seats_taken": taken}


def employees(customer: str) -> list[dict[str, Any]]:
    rows = {row.id: row for row in status().employees(customer)}
    documents = store().read_customer(_head(), customer).employees
    seen = {document.id: rows.pop(document.id, None) for document in documents.values()}
    # A blank is nobody yet, and who is retired is gone once its files are.
    shown = [describe(document, seen[document.id]) for document in documents.values()
             if document.state != "warm" and (document.state != "retired" or seen[document.id])]
    # Seen, and without a document: vanished.
    shown += [_row(row) for row in rows.values()]
    return sorted(shown, key=lambda e: (e["state"] == "retired", e["name"].lower(), e["id"]))


def employee(customer: str, employee_id: str) -> dict[str, Any]:
    document = find(customer, employee_id)
    return describe(document, status().employee(employee_id)) | {
        "instructions": document.instructions, "skills": list(document.skills),
        "resources": {"cpus": document.resources.cpus, "memory_mb": document.resources.memory_mb,
                      "pids": document.resources.pids}}


def find(customer: str, employee_id: str) -> Employee:
    found = store().read_customer(_head(), customer).employees.get(employee_id)
    if found is None or found.state == "warm":
        raise Problem(404, "not_found", f"There is no employee {employee_id}.")
    return found


def describe(document: Employee, row: EmployeeStatus | None) -> dict[str, Any]:
    seen = {k: v for k, v in as_json(row).items() if k in _SEEN} if row else _WAITING
    return {"id": document.id, "customer": document.customer, "name": document.name,
            "role": document.role, "state": document.state, **seen, **_links(document.id)}


def _row(row: EmployeeStatus) -> dict[str, Any]:
    values = as_json(row)
    return {"id": row.id, "customer": row.customer, "name": row.name, "role": row.role,
            "state": row.desired_state, **{k: values[k] for k in _SEEN}, **_links(row.id)}


def _links(employee_id: str) -> dict[str, str]:
    where = instance()
    return {"chat_url": where.url(where.chat_host(employee_id)),
            "browser_url": where.url(where.browser_host(employee_id))}


def _head() -> str:
    head = store().head()
    if head is None:
        raise Problem(503, "empty_state", "The state repo is empty; `make run` fills it.")
    return head
