"""The web app's own tables: accounts, and what proves who somebody is.

A secret is kept as its SHA-256 alone: it is random and long, so a slow hash would add nothing.
Passwords are neither, and get argon2id (`accounts`).
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from state_repo.status import UtcTime

VERSION_TABLE = "alembic_version_webapp"


class Base(DeclarativeBase):
    metadata = MetaData()


db = SQLAlchemy(model_class=Base, disable_autonaming=True)


def now() -> datetime:
    return datetime.now(UTC)


def fresh_secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Account(db.Model):  # type: ignore[name-defined, misc]
    """`customer` is None for engineers, who see every customer. `role`: owner, member or
    engineer."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(255))
    customer: Mapped[str | None] = mapped_column(String(64), index=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)

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
    __tablename__ = "sessions"
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    account: Mapped[Account] = relationship(lazy="joined")


class ApiToken(_Proof):
    __tablename__ = "api_tokens"
    name: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    account: Mapped[Account] = relationship(lazy="joined")


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
