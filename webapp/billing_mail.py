"""Mails about money, to a company's owners."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask, current_app
from sqlalchemy import select

from webapp import mail
from webapp.billing import Tell
from webapp.models import Account, Letter, db

# By what happened: whether it is only said while it is so.
KINDS = {"unpaid": True, "stopped": True, "ended": True, "over": False, "paid": False,
         "doubled": False}


def teller(app: Flask) -> Tell:
    def tell(customer: str, kind: str, about: dict[str, Any]) -> None:
        with app.app_context():
            for owner in db.session.scalars(select(Account).where(
                    Account.customer == customer, Account.role == "owner")):
                mail.send(f"billing_{kind}", owner.email, customer=customer, **about)
            db.session.commit()
    return tell


def _writer(kind: str, only_while_so: bool) -> None:
    @mail.writes(f"billing_{kind}")
    def write(letter: Letter) -> mail.Text | None:
        account = db.session.scalar(select(Account).where(Account.email == letter.to))
        if account is None or account.customer != letter.about["customer"]:
            return None
        billing = current_app.extensions["iw_billing"]
        bought = billing.entitlement(billing.row(account.customer))
        if only_while_so and (bought is None or bought.phase != kind):
            return None
        returned = letter.about.get("returned")
        return f"billing_{kind}", {
            "name": account.name, "seats": letter.about.get("seats"),
            "until": _day(letter.about.get("until")),
            "over_until": _day(letter.about.get("over_until")),
            "returned": f"{returned / 100:.2f}" if returned else None,
            "link": mail.link("/billing")}


for _kind, _while in KINDS.items():
    _writer(_kind, _while)


def _day(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%-d %B %Y}" if text else ""
