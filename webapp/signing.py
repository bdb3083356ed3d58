"""Signing in and out."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from flask import Response, current_app, request
from sqlalchemy import delete, select

from webapp import accounts
from webapp.access import cookie_name, visitor
from webapp.errors import Problem
from webapp.models import (
    EdgeSession,
    EdgeTicket,
    LoginSession,
    db,
    digest,
    fresh_secret,
    now,
)
from webapp.reconciler_api import ask

SESSION_DAYS = 14


def sign_in(email: str, password: str) -> tuple[LoginSession, str]:
    """A new session and the secret of its cookie.

    Raises:
        Problem: 401, or 429 after too many failures. Never says which of the two was wrong.
    """
    throttle: accounts.Throttle = current_app.extensions["iw_throttle"]
    key = f"{email.strip().lower()} {request.remote_addr}"
    wait = throttle.wait_s(key)
    if wait:
        raise Problem(429, "too_many", f"Too many attempts. Try again in {wait / 60:.0f} minutes.")
    account = accounts.verify(email, password)
    if account is None:
        throttle.failed(key)
        raise Problem(401, "wrong_credentials", "E-mail or password is not right.")
    throttle.succeeded(key)
    secret = fresh_secret()
    session = LoginSession(id=digest(secret), account_id=account.id, account=account,
                           csrf=fresh_secret(), expires_at=now() + timedelta(days=SESSION_DAYS))
    for table in (LoginSession, EdgeSession, EdgeTicket):
        db.session.execute(delete(table).where(table.expires_at < now()))
    db.session.add(session)
    db.session.commit()
    return session, secret


def sign_out(response: Response) -> None:
    """Ends the session, and with it every employee's page that was opened by it."""
    who = visitor()
    if who is not None and who.session is not None:
        hosts = db.session.scalars(select(EdgeSession.host).where(
            EdgeSession.session_id == who.session.id)).all()
        for table in (EdgeSession, EdgeTicket):
            db.session.execute(delete(table).where(table.session_id == who.session.id))
        db.session.delete(who.session)
        db.session.commit()
        # Sockets that are open were let in before: they are closed, and who may comes back.
        for employee in {host.partition(".")[0] for host in hosts}:
            with suppress(Problem):
                ask(current_app.config["INSTANCE"].socket, "POST",
                    ["employees", employee, "disconnect"], headers={"Content-Length": "0"},
                    timeout_s=5.0).json()
    response.delete_cookie(cookie_name(), path="/", secure=current_app.config["SECURE"],
                           httponly=True, samesite="Lax")


def set_cookie(response: Response, secret: str, kind: str = "session",
               days: int = SESSION_DAYS) -> None:
    """Host-only: an employee's page can neither read nor replace the dashboard's cookie."""
    response.set_cookie(cookie_name(kind), secret, max_age=days * 86400, httponly=True, path="/",
                        secure=current_app.config["SECURE"], samesite="Lax")
