"""Who is calling, and whether they may. Every route says which of these it wants:

    public    anybody
    account   a signed-in person or an API token; with a <customer> in the path, one who sees it
    engineer  an account of ours
    edge      the edge's own question (it checks the visitor itself)
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

from flask import Response, current_app, g, redirect, request, url_for

from webapp.errors import Problem
from webapp.models import Account, ApiToken, LoginSession, db, digest, now

Level = Literal["public", "account", "engineer", "edge"]
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Visitor:
    """`session` is None for an API token, which needs no CSRF token: no browser sends it."""

    account: Account
    session: LoginSession | None


def cookie_name(kind: str = "session") -> str:
    """`__Host-` where there is TLS; browsers refuse that prefix on plain http."""
    return f"__Host-iw_{kind}" if current_app.config["SECURE"] else f"iw_{kind}"


def visitor() -> Visitor | None:
    """Whoever the request proves to be."""
    if "visitor" not in g:
        g.visitor = _find()
    return g.visitor


def bearer_account(header: str | None) -> Account | None:
    if not header or not header.startswith("Bearer "):
        return None
    token = db.session.get(ApiToken, digest(header.removeprefix("Bearer ").strip()))
    return token.account if token is not None and token.expires_at > now() else None


def _find() -> Visitor | None:
    account = bearer_account(request.headers.get("Authorization"))
    if account is not None:
        return Visitor(account, None)
    shown = request.cookies.get(cookie_name())
    session = db.session.get(LoginSession, digest(shown)) if shown else None
    if session is None or session.expires_at <= now():
        return None
    return Visitor(session.account, session)


def access(level: Level, *, page: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Declares who may call a route. `page`: send strangers to the sign-in page."""
    def declare(view: Callable[..., Any]) -> Any:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if level in ("account", "engineer"):
                refused = _refusal(level, kwargs.get("customer"), page)
                if refused is not None:
                    return refused
            return view(*args, **kwargs)
        guarded.access = level  # type: ignore[attr-defined]
        return guarded
    return declare


def _refusal(level: Level, customer: str | None, page: bool) -> Response | None:
    who = visitor()
    if who is None:
        if page and request.method in SAFE:
            return redirect(url_for("pages.sign_in"))  # type: ignore[return-value]
        raise Problem(401, "sign_in", "Sign in first, or send an API token.")
    if level == "engineer" and who.account.role != "engineer":
        raise Problem(403, "engineers_only", "Only engineers may do this.")
    if customer is not None and not who.account.sees(customer):
        # The same answer as for a customer that does not exist.
        raise Problem(404, "not_found", f"There is no customer {customer}.")
    if request.method not in SAFE and who.session is not None:
        _check_csrf(who.session)
    return None


def _check_csrf(session: LoginSession) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and origin != current_app.config["APP_URL"]:
        raise Problem(403, "foreign_origin", "This request comes from another site.")
    shown = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token") or ""
    if not hmac.compare_digest(shown, session.csrf):
        raise Problem(403, "csrf", "The page is too old. Load it again and repeat this.")


def me() -> Account:
    """The account behind a route that wants one."""
    who = visitor()
    assert who is not None  # `access` saw to it
    return who.account
