"""What lets somebody in besides the password: API tokens and sessions, each person's own."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from flask import Response, jsonify
from flask_babel import gettext
from sqlalchemy import select

from webapp import signing
from webapp.access import IDLE, me, visitor
from webapp.api import TEXT, given, operation
from webapp.errors import Problem
from webapp.models import Account, ApiToken, LoginSession, db, digest, fresh_secret, now

DAYS = (7, 30, 90, 365)
SCOPES = ("read", "write")
MOST = 50
_SHOWN = 16
# What a browser's user agent holds, and what people call it; the first that fits.
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"),
             ("Firefox", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"),
             ("Chromium", "Chromium"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"),
            ("Windows", "Windows"), ("Macintosh", "a Mac"), ("CrOS", "a Chromebook"),
            ("Linux", "Linux"))


# ---- tokens ----------------------------------------------------------------------------------

def tokens_of(account: Account) -> list[ApiToken]:
    return list(db.session.scalars(select(ApiToken).where(ApiToken.account_id == account.id)
                                   .order_by(ApiToken.created_at.desc())))


def make(account: Account, name: str, scope: str, days: int) -> tuple[ApiToken, str]:
    """A token and its secret, which nobody can show again."""
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise Problem(422, "invalid", "Give the token a name, in at most 80 characters.")
    if scope not in SCOPES or not 1 <= days <= max(DAYS):
        raise Problem(422, "invalid", "Choose what the token may do, and how long it lasts.")
    if len(tokens_of(account)) >= MOST:
        raise Problem(409, "too_many_tokens", gettext("You have %(most)s tokens. Revoke one "
                                                      "first.",
                                                      most=MOST))
    secret = fresh_secret("iw_")
    token = ApiToken(id=digest(secret), account_id=account.id, name=name, scope=scope,
                     expires_at=now() + timedelta(days=days))
    db.session.add(token)
    db.session.commit()
    return token, secret


def revoke(account: Account, shown: str) -> None:
    token = _one(ApiToken, account, shown, "You have no such token.")
    used = token.last_used_at is not None
    db.session.delete(token)
    db.session.commit()
    if used and account.customer is not None:
        signing.disconnect_tokens(account.customer)


def token_json(token: ApiToken) -> dict[str, Any]:
    return {"id": token.id[:_SHOWN], "name": token.name, "scope": token.scope,
            "created_at": token.created_at.isoformat(), "expires_at": token.expires_at.isoformat(),
            "expired": token.expires_at <= now(),
            "last_used_at": token.last_used_at.isoformat() if token.last_used_at else None}


# ---- sessions --------------------------------------------------------------------------------

def sessions_of(account: Account) -> list[LoginSession]:
    return list(db.session.scalars(select(LoginSession).where(
        LoginSession.account_id == account.id, LoginSession.expires_at > now(),
        LoginSession.last_seen_at > now() - IDLE).order_by(LoginSession.last_seen_at.desc())))


def end_session(account: Account, shown: str) -> None:
    found = _one(LoginSession, account, shown, "You have no such session.")
    signing.end(LoginSession.id == found.id)


def device(user_agent: str) -> str:
    """A user agent in plain words: Firefox on Windows."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser is None:
        return gettext("A program") if system is None else gettext(
            "A program on %(system)s", system=system)
    return browser if system is None else gettext(
        "%(browser)s on %(system)s", browser=browser, system=system)


def session_json(session: LoginSession) -> dict[str, Any]:
    who = visitor()
    return {"id": session.id[:_SHOWN], "device": device(session.user_agent),
            "address": session.address, "began_at": session.created_at.isoformat(),
            "last_seen_at": session.last_seen_at.isoformat(),
            "this": who is not None and who.session is not None and who.session.id == session.id}


def _one(table: Any, account: Account, shown: str, missing: str) -> Any:
    """The account's row whose id begins so."""
    found = db.session.scalars(select(table).where(
        table.account_id == account.id, table.id.startswith(shown))).all() if (
            re.fullmatch(rf"[0-9a-f]{{{_SHOWN}}}", shown)) else []
    if len(found) != 1:
        raise Problem(404, "not_found", missing)
    return found[0]


# ---- the same for programs -------------------------------------------------------------------

@operation("GET", "/tokens", "account", "Your API tokens (never their secrets).")
def tokens() -> Response:
    return jsonify(tokens=[token_json(t) for t in tokens_of(me())])


@operation("POST", "/tokens", "account", "Make an API token; its secret is shown once.",
           {"name": TEXT, "scope": {"enum": list(SCOPES)},
            "days": {"type": "integer", "minimum": 1, "maximum": max(DAYS)}},
           ("name",), role="viewer", person=True)
def make_token() -> tuple[Response, int]:
    body = given()
    token, secret = make(me(), body["name"], body.get("scope", "write"), body.get("days", 90))
    return jsonify(token=secret, **token_json(token)), 201


@operation("DELETE", "/tokens/<token>", "account", "Revoke an API token.", role="viewer",
           person=True)
def revoke_token(token: str) -> Response:
    revoke(me(), token)
    return jsonify(revoked=token)


@operation("GET", "/sessions", "account", "Where you are signed in.")
def sessions() -> Response:
    return jsonify(sessions=[session_json(s) for s in sessions_of(me())])


@operation("DELETE", "/sessions", "account", "Sign out everywhere, here too.", role="viewer",
           person=True)
def end_sessions() -> Response:
    signing.end(LoginSession.account_id == me().id)
    response = jsonify(signed_out=True)
    signing.forget_cookie(response)
    return response


@operation("DELETE", "/sessions/<session>", "account", "End one session.", role="viewer",
           person=True)
def end_one_session(session: str) -> Response:
    end_session(me(), session)
    return jsonify(ended=session)
