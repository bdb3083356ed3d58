"""Customers by the thousand: documents in one commit, what was seen and who is in, in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench import commit_cost
from state_repo.instance import Instance
from state_repo.status import EmployeeStatus, Event, Receipt, StatusStore
from state_repo.store import Store
from webapp import accounts
from webapp.models import Account, ApiToken, LoginSession, digest

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Seeded:
    """By customer: its employees' ids, its signed-in owner's cookie, and an API token's secret."""

    store: Store
    status: StatusStore
    employees: dict[str, list[str]]
    cookies: dict[str, str]
    tokens: dict[str, str]


def seed(instance: Instance, customers: int = 1000, store: Store | None = None) -> Seeded:
    """So many customers with five employees each, all Healthy; an owner each, signed in. `store`:
    one that was filled so before."""
    each = commit_cost.PER_CUSTOMER
    store = store or commit_cost.filled(instance.data, customers * each)
    accounts.prepare(instance)
    status = StatusStore(instance.database_url)
    status.migrate()
    names = [f"c{number}" for number in range(customers)]
    employees = {name: [f"e{seat}-{name}" for seat in range(each)] for name in names}
    now, revision = datetime.now(UTC), store.head() or ""
    people = [{"id": number + 1, "email": f"ann@{name}.test", "name": "Ann", "customer": name,
               "role": "owner", "password_hash": "", "created_at": now}
              for number, name in enumerate(names)]
    password = PasswordHasher().hash(PASSWORD)  # one for all: each takes its time
    with Session(status.engine) as session:
        for table, rows in (
            (EmployeeStatus, [
                {"id": employee, "customer": name, "name": f"Employee {seat}", "role": "R",
                 "desired_state": "running", "sync_status": "Synced", "health_status": "Healthy",
                 "reason": "", "revision": revision, "address": "10.192.0.2", "updated_at": now}
                for name in names for seat, employee in enumerate(employees[name])]),
            (Receipt, [
                {"stack": f"customer/{name}", "revision": revision, "cause": "commit",
                 "result": "succeeded", "started_at": now, "changes": []}
                for name in names for _ in range(each)]),
            (Event, [
                {"at": now, "kind": "Healthy", "customer": name, "employee": employee,
                 "message": "it is Synced, Healthy"}
                for name in names for employee in employees[name]]),
            (Account, [person | {"password_hash": password} for person in people]),
            (LoginSession, [
                {"id": digest(f"secret-{name}"), "account_id": number + 1, "csrf": "c",
                 "created_at": now, "expires_at": now + timedelta(days=1)}
                for number, name in enumerate(names)]),
            (ApiToken, [
                {"id": digest(f"token-{name}"), "account_id": number + 1, "name": "bench",
                 "created_at": now, "expires_at": now + timedelta(days=1)}
                for number, name in enumerate(names)])):
            session.execute(insert(table), rows)
        session.commit()
    return Seeded(store, status, employees,
                  {name: f"iw_session=secret-{name}" for name in names},
                  {name: f"token-{name}" for name in names})
