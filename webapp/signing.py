"""Signing in and out, and the sessions between.

A session ends by being ended, 14 days after it began, or when nobody used it for three days. Each
sign-in makes a new one and ends the one that the browser showed; whoever changes a password or a
second factor gets a new one too, and all others end.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from flask import Response, current_app, request
from sqlalchemy import ColumnElement, delete, select

from webapp import accounts, passwords
from webapp.access import cookie_name, visitor
from webapp.errors import Problem
from webapp.models import (
    Account,
    ApiToken,
    EdgeSession,
    EdgeTicket,
    LoginSession,
    MailLink,
    SecondStep,
    db,
    digest,
    fresh_secret,
    now,
)
from webapp.reconciler_api import ask
from webapp.throttle import Throttles

SESSION_DAYS = 14


def throttles() -> Throttles:
    return current_app.extensions["iw_throttles"]


def refuse_if_too_many(wait_s: float) -> None:
    if wait_s > 0:
        minutes = max(round(wait_s / 60), 1)
        raise Problem(429, "too_many", "Too many attempts. Try again in "
                      + ("a minute." if minutes == 1 else f"{minutes} minutes."))


def prove(email: str, password: str) -> Account:
    """Whose e-mail and password these are.

    Raises:
        Problem: 401, 429 after too many failures, or 503 when too many try at once. Never says
            which of the two was wrong.
    """
    key, address = email.strip().lower(), request.remote_addr or ""
    with passwords.place():
        refuse_if_too_many(throttles().sign_in.take(key, address))
        account = accounts.verify(email, password)
    if account is None:
        raise Problem(401, "wrong_credentials", "E-mail or password is not right.")
    throttles().sign_in.succeeded(key, address)
    return account


def begin(account: Account) -> tuple[LoginSession, str]:
    """A new session and the secret of its cookie; the one that the browser showed ends."""
    for table in (LoginSession, EdgeSession, EdgeTicket, MailLink, SecondStep):
        db.session.execute(delete(table).where(table.expires_at < now()))
    shown = request.cookies.get(cookie_name())
    if shown:
        end(LoginSession.id == digest(shown))
    secret = fresh_secret()
    session = LoginSession(
        id=digest(secret), account_id=account.id, account=account, csrf=fresh_secret(),
        expires_at=now() + timedelta(days=SESSION_DAYS), address=request.remote_addr or "",
        user_agent=(request.user_agent.string or "")[:255])
    db.session.add(session)
    db.session.commit()
    return session, secret


def begin_anew(account: Account, response: Response) -> LoginSession:
    """After the account's password or second factor changed: ends every session of it, gives the
    person who did it a new one."""
    end(LoginSession.account_id == account.id)
    session, secret = begin(account)
    set_cookie(response, secret)
    return session


def end(which: ColumnElement[bool]) -> None:
    """Ends sessions, and with them every employee's page that was opened by them. Open streams
    of events look again who reads them: `iw_ended` counts what ended, by customer (`streams`)."""
    ids = db.session.scalars(select(LoginSession.id).where(which)).all()
    hosts = db.session.scalars(select(EdgeSession.host).where(
        EdgeSession.session_id.in_(ids))).all()
    customers = db.session.scalars(select(Account.customer).join(
        LoginSession, LoginSession.account_id == Account.id).where(
            LoginSession.id.in_(ids)).distinct()).all()
    for table in (EdgeSession, EdgeTicket):
        db.session.execute(delete(table).where(table.session_id.in_(ids)))
    db.session.execute(delete(LoginSession).where(LoginSession.id.in_(ids)))
    db.session.commit()
    current_app.extensions["iw_ended"].update(customers)
    disconnect(host.partition(".")[0] for host in hosts)


def end_all(account: Account) -> None:
    """Everything that lets somebody in as this account ends, at once."""
    used = db.session.scalars(select(ApiToken.last_used_at).where(
        ApiToken.account_id == account.id, ApiToken.last_used_at.is_not(None))).first()
    for table in (ApiToken, SecondStep, MailLink):
        db.session.execute(delete(table).where(table.account_id == account.id))
    end(LoginSession.account_id == account.id)
    if used is not None and account.customer is not None:
        disconnect_tokens(account.customer)


def disconnect_tokens(customer: str) -> None:
    """After a token ended: nobody knows which employees it was used with."""
    current_app.extensions["iw_ended"].update([customer])
    rows = current_app.extensions["iw_status"].employees(customer)
    disconnect(row.id for row in rows if row.address is not None)


def disconnect(employees: Iterable[str]) -> None:
    """Sockets that are open were let in before: they are closed, and who may comes back."""
    for employee in set(employees):
        with suppress(Problem):
            ask(current_app.config["INSTANCE"].socket, "POST",
                ["employees", employee, "disconnect"], headers={"Content-Length": "0"},
                timeout_s=5.0).json()


def sign_out(response: Response) -> None:
    who = visitor()
    if who is not None and who.session is not None:
        end(LoginSession.id == who.session.id)
    forget_cookie(response)


def set_cookie(response: Response, secret: str, kind: str = "session",
               days: float = SESSION_DAYS) -> None:
    """Host-only: an employee's page can neither read nor replace the dashboard's cookie."""
    response.set_cookie(cookie_name(kind), secret, max_age=int(days * 86400), httponly=True,
                        path="/", secure=current_app.config["SECURE"], samesite="Lax")


def forget_cookie(response: Response, kind: str = "session") -> None:
    response.delete_cookie(cookie_name(kind), path="/", secure=current_app.config["SECURE"],
                           httponly=True, samesite="Lax")
