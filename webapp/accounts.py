"""Accounts and their passwords (argon2id, the library's own parameters: RFC 9106's low-memory
profile). `python -m webapp.accounts create` makes one from the command line."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import time
from collections import deque
from pathlib import Path

from alembic import command
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from state_repo.instance import Instance
from state_repo.status import alembic_config, engine_for
from webapp.models import VERSION_TABLE, Account, db, now

MIN_PASSWORD = 10
ROLES = ("owner", "member", "engineer")
_HASHER = PasswordHasher()
_EMAIL = re.compile(r"[^@\s<>]{1,64}@[^@\s<>]+\.[^@\s<>]+")
# Checked where there is no account, so that a stranger can't tell by the time it takes.
_NOBODY = _HASHER.hash("nobody's password")


class AccountError(ValueError):
    """The account can't be made; the message says what would be right."""


def prepare(instance: Instance) -> None:
    """Brings the web app's tables to the newest version."""
    folder = Path(__file__).parent / "migrations"
    command.upgrade(alembic_config(instance.database_url, folder, VERSION_TABLE), "head")


def new_account(email: str, password: str, *, customer: str | None, role: str,
                name: str = "") -> Account:
    """Raises AccountError for what can't be."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise AccountError(f"{email!r} is no e-mail address")
    if len(password) < MIN_PASSWORD:
        raise AccountError(f"a password has at least {MIN_PASSWORD} characters")
    if role not in ROLES or (role == "engineer") != (customer is None):
        raise AccountError(f"role is one of {', '.join(ROLES)}; only engineers have no customer")
    return Account(email=email, name=name or email.partition("@")[0].title(), customer=customer,
                   role=role, password_hash=_HASHER.hash(password), created_at=now())


def ensure(instance: Instance, email: str, password: str, *, customer: str | None,
           role: str) -> None:
    """Makes the account unless there is one with that address."""
    with Session(engine_for(instance.database_url)) as session:
        if session.scalar(select(Account).where(Account.email == email.lower())) is None:
            session.add(new_account(email, password, customer=customer, role=role))
            session.commit()


def verify(email: str, password: str) -> Account | None:
    """The account that e-mail and password prove, or None; takes as long either way."""
    account = db.session.scalar(select(Account).where(Account.email == email.strip().lower()))
    try:
        _HASHER.verify(account.password_hash if account else _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return None
    if account is not None and _HASHER.check_needs_rehash(account.password_hash):
        account.password_hash = _HASHER.hash(password)
        db.session.commit()
    return account


class Throttle:
    """At most `most` failures a key within `window_s` seconds; in memory, for one process."""

    def __init__(self, most: int = 5, window_s: float = 300.0) -> None:
        self._most, self._window_s = most, window_s
        self._failures: dict[str, deque[float]] = {}

    def wait_s(self, key: str) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        times = self._failures.get(key)
        if not times:
            return 0.0
        current = time.monotonic()
        while times and times[0] < current - self._window_s:
            times.popleft()
        return times[0] + self._window_s - current if len(times) >= self._most else 0.0

    def failed(self, key: str) -> None:
        if len(self._failures) > 10_000:
            self._failures.clear()
        self._failures.setdefault(key, deque()).append(time.monotonic())

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)


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
