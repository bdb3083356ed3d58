"""Mails about employees: one needs attention, or a budget is nearly spent.

Looked for every minute in the status tables; what is spent is asked of the reconciler, a company
every ten minutes. Each thing is told once: an employee that comes and goes is told again only after
it was well for an hour, a budget once a month.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import delete, select

from state_repo.status import EmployeeStatus
from webapp import mail, team
from webapp.errors import Problem
from webapp.models import Account, Letter, Notice, db, now
from webapp.reconciler_api import ask

BAD = ("Degraded", "Missing")
PATIENCE, WELL = timedelta(minutes=2), timedelta(hours=1)
NEARLY = 0.8
_ASK_EVERY, _KEPT = timedelta(minutes=10), timedelta(days=62)


class Watcher:
    """One thread calls `look`."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._asked: dict[str, datetime] = {}

    def look(self) -> None:
        with self._app.app_context():
            rows = team.status().employees()
            _attention(rows)
            for customer in sorted({r.customer for r in rows if r.desired_state == "running"}):
                asked = self._asked.get(customer)
                if asked is not None and now() - asked < _ASK_EVERY:
                    continue
                try:
                    spent = ask(team.instance().socket, "GET", ["customers", customer, "usage"],
                                timeout_s=10).json()
                except Problem as problem:
                    if problem.code == "reconciler_away":
                        break  # another minute
                    spent = None
                self._asked[customer] = now()
                if spent is not None:
                    _budget(customer, spent)
            db.session.execute(delete(Notice).where(Notice.seen_at < now() - _KEPT))
            db.session.commit()


def _attention(rows: list[EmployeeStatus]) -> None:
    known = {n.id: n for n in db.session.scalars(select(Notice).where(
        Notice.id.startswith("attention:")))}
    for row in rows:
        key = f"attention:{row.id}"
        if row.desired_state != "running" or row.health_status not in BAD:
            continue
        notice = known.pop(key, None)
        if notice is None:
            db.session.add(Notice(id=key))
            continue
        notice.seen_at = now()
        if notice.sent_at is None and notice.since <= now() - PATIENCE:
            notice.sent_at = now()
            for account in _people(row.customer, Account.mail_attention):
                mail.send("attention", account.email, employee=row.id)
    for notice in known.values():
        # Never told, it only hiccuped; told, it has to be well for a while before it counts again.
        if notice.sent_at is None or notice.seen_at < now() - WELL:
            db.session.delete(notice)
    db.session.commit()


def _budget(customer: str, spent: dict[str, Any]) -> None:
    head = team.store().head()
    state = team.store().read_customer(head, customer) if head else None
    if state is None or state.customer is None:
        return
    at_work = [e for e in state.employees.values() if e.state in ("running", "paused")]
    limits = [(e.id, e.name, e.model.monthly_budget_usd,
               spent["employees"].get(e.id, {}).get("settled_usd", 0.0)) for e in at_work]
    limits.append((customer, state.customer.name, state.customer.monthly_budget_usd or sum(
        e.model.monthly_budget_usd for e in at_work), spent["customer"]["settled_usd"]))
    told = []
    for identity, name, limit, used in limits:
        key = f"budget:{identity}:{spent['month']}"
        if limit > 0 and used >= NEARLY * limit and db.session.get(Notice, key) is None:
            db.session.add(Notice(id=key, sent_at=now()))
            told.append({"name": name, "used": round(used, 2), "limit": round(limit, 2),
                         "percent": int(100 * used / limit)})
    if told:
        for account in _people(customer, Account.mail_budget):
            mail.send("budget", account.email, told=told, month=spent["month"])
    db.session.commit()


def _people(customer: str, wanted: Any) -> list[Account]:
    return list(db.session.scalars(select(Account).where(
        Account.customer == customer, wanted, Account.verified_at.is_not(None))))


@mail.writes("attention")
def _write_attention(letter: Letter) -> mail.Text | None:
    row = team.status().employee(letter.about["employee"])
    if row is None or row.health_status not in BAD:
        return None
    return "attention", {"name": row.name, "reason": row.reason, "health": row.health_status,
                         "link": mail.link(f"/employees/{row.id}"),
                         "settings": mail.link("/settings/notifications")}


@mail.writes("budget")
def _write_budget(letter: Letter) -> mail.Text | None:
    return "budget", {"told": letter.about["told"], "link": mail.link("/"),
                      "settings": mail.link("/settings/notifications")}
