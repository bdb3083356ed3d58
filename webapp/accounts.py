"""Accounts. `python -m webapp.accounts create` makes one from the command line."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from state_repo.database import check_database, engine_for, migrate
from state_repo.instance import Instance
from webapp import passwords
from webapp.models import VERSION_TABLE, Account, db, now

MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = ("owner", "manager", "viewer", "engineer")
_EMAIL = re.compile(r"[^@\s<>]{1,64}@[^@\s<>]+\.[^@\s<>]+")


class AccountError(ValueError):
    """The account can't be made; the message says what would be right."""


def prepare(instance: Instance) -> None:
    """Brings the web app's tables to the newest version."""
    check_database(instance)
    migrate(instance.database_url, MIGRATIONS, VERSION_TABLE)
    instance.mark_made("database")


def is_email(text: str) -> bool:
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None


def check_password(password: str, about: Iterable[str] = ()) -> None:
    """Raises AccountError, with what to tell the person."""
    fine, _, told = passwords.judge(password, about)
    if not fine:
        raise AccountError(told)


def new_account(email: str, password: str, *, customer: str | None, role: str,
                name: str = "") -> Account:
    """Raises AccountError for what can't be."""
    check_password(password, (email, name))
    return with_hash(email, passwords.hashed(password), customer=customer, role=role, name=name,
                     verified_at=now())


def with_hash(email: str, password_hash: str, *, customer: str | None, role: str, name: str = "",
              verified_at: datetime | None) -> Account:
    """An account whose password was judged before. Raises AccountError for what can't be."""
    email = email.strip().lower()
    if not is_email(email):
        raise AccountError(f"{email!r} is no e-mail address")
    if role not in ROLES or (role == "engineer") != (customer is None):
        raise AccountError(f"role is one of {', '.join(ROLES)}; only engineers have no customer")
    return Account(email=email, name=name or email.partition("@")[0].title(), customer=customer,
                   role=role, password_hash=password_hash, created_at=now(),
                   verified_at=verified_at)


def ensure(instance: Instance, email: str, password: str, *, customer: str | None,
           role: str) -> None:
    """Makes the account unless there is one with that address."""
    with Session(engine_for(instance.database_url)) as session:
        if session.scalar(select(Account).where(Account.email == email.lower())) is None:
            session.add(new_account(email, password, customer=customer, role=role))
            session.commit()


def find(email: str) -> Account | None:
    return db.session.scalar(select(Account).where(Account.email == email.strip().lower()))


def verify(email: str, password: str) -> Account | None:
    """The account that e-mail and password prove, or None; takes as long either way."""
    account = find(email)
    if not passwords.matches(account.password_hash if account else None, password) or (
            account is None):
        return None
    if passwords.is_outdated(account.password_hash):
        account.password_hash = passwords.hashed(password)
        db.session.commit()
    return account


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m webapp.accounts")
    create = parser.add_subparsers(required=True).add_parser("create")
    create.add_argument("--data", type=Path)
    create.add_argument("--email", required=True)
    create.add_argument("--customer")
    create.add_argument("--role", default="owner", choices=ROLES)
    given = parser.parse_args(arguments)
    password = secrets.token_urlsafe(12) if sys.stdin.isatty() else sys.stdin.readline().strip()
    instance = Instance.load(given.data)
    prepare(instance)
    try:
        with Session(engine_for(instance.database_url)) as session:
            session.add(new_account(given.email, password, customer=given.customer,
                                    role=given.role))
            session.commit()
    except AccountError as error:
        print(error, file=sys.stderr)
        return 1
    if sys.stdin.isatty():
        print(f"{given.email}: {password}   (shown once)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
