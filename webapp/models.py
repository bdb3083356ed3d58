"""The web app's own tables: accounts, and what proves who somebody is.

A secret is kept as its SHA-256 alone: it is random and long, so a slow hash would add nothing.
Passwords are neither, and get argon2id (`accounts`).
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, ForeignKey, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from state_repo.status import UtcTime

VERSION_TABLE = "alembic_version_webapp"


class Base(DeclarativeBase):
    metadata = MetaData()


# What a request has read it keeps: a commit must not have the visitor read anew.
db = SQLAlchemy(model_class=Base, disable_autonaming=True,
                session_options={"expire_on_commit": False})


def now() -> datetime:
    return datetime.now(UTC)


def fresh_secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of a secret. (Whoever shows half a character shows none of ours.)"""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class Account(db.Model):  # type: ignore[name-defined, misc]
    """`customer` is None for engineers, who see every customer. `role`: owner, manager,
    viewer (see `access`) or engineer.

    `verified_at`: when somebody showed that the address is theirs. `totp_secret`: of the second
    factor, if there is one; `totp_pending`: one that was shown and not yet confirmed;
    `totp_last`: the newest 30 seconds whose code was used. `time_zone`: an IANA name, for mails
    (pages know the browser's)."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(255))
    customer: Mapped[str | None] = mapped_column(String(64), index=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    verified_at: Mapped[datetime | None] = mapped_column(UtcTime)
    totp_secret: Mapped[str | None] = mapped_column(String(64))
    totp_pending: Mapped[str | None] = mapped_column(String(64))
    totp_last: Mapped[int | None]
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC")
    mail_attention: Mapped[bool] = mapped_column(default=True)
    mail_budget: Mapped[bool] = mapped_column(default=True)

    def sees(self, customer: str) -> bool:
        return self.role == "engineer" or self.customer == customer


class _Proof(db.Model):  # type: ignore[name-defined, misc]
    """Something that, shown, proves an account; `id` is the digest of what is shown."""

    __abstract__ = True
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"),
                                            index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class LoginSession(_Proof):
    """`last_seen_at` is kept to some minutes, enough for the idle time-out."""

    __tablename__ = "sessions"
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    last_seen_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")
    account: Mapped[Account] = relationship(lazy="joined")


class ApiToken(_Proof):
    """`scope`: read, or write (which reads too); the account's role bounds both."""

    __tablename__ = "api_tokens"
    name: Mapped[str] = mapped_column(String(80))
    scope: Mapped[str] = mapped_column(String(8), default="write")
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    account: Mapped[Account] = relationship(lazy="joined")


class MailLink(_Proof):
    """What a mailed link proves, once. `kind`: verify (the address is theirs) or reset (a new
    password may be chosen)."""

    __tablename__ = "mail_links"
    kind: Mapped[str] = mapped_column(String(16))
    account: Mapped[Account] = relationship(lazy="joined")


class SecondStep(_Proof):
    """A right password that still lacks its second factor."""

    __tablename__ = "second_steps"
    failures: Mapped[int] = mapped_column(default=0)
    account: Mapped[Account] = relationship(lazy="joined")


class RecoveryCode(db.Model):  # type: ignore[name-defined, misc]
    """Stands in for the second factor once. `id`: the digest of account and code."""

    __tablename__ = "recovery_codes"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"),
                                            index=True)


class SignUp(db.Model):  # type: ignore[name-defined, misc]
    """A company that wants to be a customer, until its address is confirmed. `secret`: the digest
    of the link's, once that was mailed."""

    __tablename__ = "sign_ups"
    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[str | None] = mapped_column(String(64), unique=True)
    email: Mapped[str] = mapped_column(String(254), index=True)
    name: Mapped[str] = mapped_column(String(80))
    company: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(255))
    time_zone: Mapped[str] = mapped_column(String(64))
    plan: Mapped[str] = mapped_column(String(40))
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class Invitation(db.Model):  # type: ignore[name-defined, misc]
    """Somebody who may join a company. `secret`: the digest of the newest link's."""

    __tablename__ = "invitations"
    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[str | None] = mapped_column(String(64), unique=True)
    customer: Mapped[str] = mapped_column(String(64), index=True)
    email: Mapped[str] = mapped_column(String(254))
    role: Mapped[str] = mapped_column(String(16))
    invited_by: Mapped[str] = mapped_column(String(254))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class Letter(db.Model):  # type: ignore[name-defined, misc]
    """A mail to be sent. Its text is made when it is sent (`mail`), so that no secret lies here."""

    __tablename__ = "letters"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(24))
    to: Mapped[str] = mapped_column(String(254))
    about: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    next_at: Mapped[datetime] = mapped_column(UtcTime, default=now, index=True)
    error: Mapped[str] = mapped_column(Text, default="")


class Notice(db.Model):  # type: ignore[name-defined, misc]
    """Something worth a mail to a company's people, and whether it was sent: each is told once."""

    __tablename__ = "notices"
    id: Mapped[str] = mapped_column(String(160), primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcTime, default=now)
    seen_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    sent_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Closure(db.Model):  # type: ignore[name-defined, misc]
    """A company that asked to be deleted. `was_suspended`: before that, for whoever undoes it."""

    __tablename__ = "closures"
    customer: Mapped[str] = mapped_column(String(64), primary_key=True)
    asked_by: Mapped[str] = mapped_column(String(254))
    asked_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    due_at: Mapped[datetime] = mapped_column(UtcTime)
    was_suspended: Mapped[bool] = mapped_column(default=False)
    done_at: Mapped[datetime | None] = mapped_column(UtcTime)


class EdgeTicket(_Proof):
    """Passes one visitor once to one employee's host."""

    __tablename__ = "edge_tickets"
    host: Mapped[str] = mapped_column(String(255))
    session_id: Mapped[str] = mapped_column(String(64))


class EdgeSession(_Proof):
    """A visitor at one employee's host; ends with the sign-in that it came from."""

    __tablename__ = "edge_sessions"
    host: Mapped[str] = mapped_column(String(255))
    session_id: Mapped[str] = mapped_column(String(64), index=True)
    account: Mapped[Account] = relationship(lazy="joined")


class Attempts(db.Model):  # type: ignore[name-defined, misc]
    """When something was tried (`throttle`). `key`: a digest; `times`: JSON, seconds of the clock;
    `until`: when the row may go."""

    __tablename__ = "attempts"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    times: Mapped[str] = mapped_column(Text)
    until: Mapped[float] = mapped_column(index=True)


class ReviewEvent(db.Model):  # type: ignore[name-defined, misc]
    """A step of a change's review (`reviews`); never changed, never removed. `change`: the
    branch's name; `head`: its commit then. `kind`: comment, approved, withdrawn, merged, closed or
    rolled_back. `plan`: the digest of the plan that was looked at. `by`: an e-mail; it outlives
    the account."""

    __tablename__ = "review_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    change: Mapped[str] = mapped_column(String(201), index=True)
    head: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(80))
    at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    plan: Mapped[str | None] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text, default="")
