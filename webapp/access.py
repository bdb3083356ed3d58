"""Who is calling, and whether they may. Every route says which of these it wants:

    public    anybody
    account   a signed-in person or an API token; with a <customer> in the path, one who sees it
    engineer  an account of ours
    edge      the edge's own question (it checks the visitor itself)

Of a company's people, a *viewer* reads, a *manager* also changes, an *owner* also decides about
money, members and the company itself; `role` names the least of them that a route takes. An API
token acts for its account, within its scope; what guards the account itself (its tokens, sessions
and factors) takes the person: `person`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, Literal

from flask import Response, current_app, g, redirect, request, url_for
from flask_babel import gettext

from webapp.errors import Problem
from webapp.models import Account, ApiToken, LoginSession, db, digest, now

Level = Literal["public", "account", "engineer", "edge"]
Role = Literal["viewer", "manager", "owner"]
ROLES: tuple[Role, ...] = ("viewer", "manager", "owner")
SAFE = ("GET", "HEAD", "OPTIONS")
IDLE = timedelta(days=3)
BACKGROUND = "iw.background"  # in a request's environ: no person asks, but a page that lies open
_SEEN_EVERY, _USED_EVERY = timedelta(minutes=5), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Visitor:
    """`session` is None for an API token, which needs no CSRF token: no browser sends it."""

    account: Account
    session: LoginSession | None
    token: ApiToken | None = None


def cookie_name(kind: str = "session") -> str:
    """`__Host-` where there is TLS; browsers refuse that prefix on plain http."""
    return f"__Host-iw_{kind}" if current_app.config["SECURE"] else f"iw_{kind}"


def cookie(kind: str = "session") -> str | None:
    """The cookie that the request shows. Two of one name are none: the second was set by another
    host of the domain, and nobody can tell which one a browser sends first."""
    shown = request.cookies.getlist(cookie_name(kind))
    return shown[0] if len(shown) == 1 else None


def visitor() -> Visitor | None:
    """Whoever the request proves to be."""
    if "visitor" not in g:
        g.visitor = _find()
    return g.visitor


def bearer(header: str | None) -> ApiToken | None:
    """The token that a request shows, if it is a good one."""
    if not header or not header.startswith("Bearer "):
        return None
    token = db.session.get(ApiToken, digest(header.removeprefix("Bearer ").strip()))
    if token is None or token.expires_at <= now():
        return None
    if token.last_used_at is None or token.last_used_at < now() - _USED_EVERY:
        token.last_used_at = now()
        db.session.commit()
    return token


def _find() -> Visitor | None:
    token = bearer(request.headers.get("Authorization"))
    if token is not None:
        return Visitor(token.account, None, token)
    shown = cookie()
    session = db.session.get(LoginSession, digest(shown)) if shown else None
    if session is None or session.expires_at <= now() or session.last_seen_at < now() - IDLE:
        return None
    if session.last_seen_at < now() - _SEEN_EVERY and BACKGROUND not in request.environ:
        session.last_seen_at, session.address = now(), request.remote_addr or ""
        db.session.commit()
    return Visitor(session.account, session)


def safe_next(path: str | None) -> str:
    """Where a visitor wanted to go, if that is a page of ours; else the first page."""
    inside = path is not None and path.startswith("/") and path.isprintable() and not (
        path.startswith(("//", "/\\"))) and "\\" not in path
    return path if path is not None and inside else "/"


def access(level: Level, *, page: bool = False, role: Role | None = None, person: bool = False
           ) -> Callable[[Callable[..., Any]], Any]:
    """Declares who may call a route. `page`: send strangers to the sign-in page. `role`: the
    least that it takes; unless named, a viewer may read and a manager may change. `person`: an
    API token is not enough."""
    def declare(view: Callable[..., Any]) -> Any:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if level in ("account", "engineer"):
                refused = _refusal(level, role, kwargs.get("customer"), page, person)
                if refused is not None:
                    return refused
            return view(*args, **kwargs)
        guarded.access = level  # type: ignore[attr-defined]
        return guarded
    return declare


def _refusal(level: Level, role: Role | None, customer: str | None, page: bool, person: bool
             ) -> Response | None:
    who = visitor()
    if who is None:
        if page and request.method in SAFE:
            wanted = request.full_path.rstrip("?")
            return redirect(url_for(  # type: ignore[return-value]
                "pages.sign_in", next=wanted if wanted != "/" else None))
        raise Problem(401, "sign_in", "Sign in first, or send an API token.")
    if level == "engineer" and who.account.role != "engineer":
        raise Problem(403, "engineers_only", "Only engineers may do this.")
    if customer is not None and not who.account.sees(customer):
        # The same answer as for a customer that does not exist.
        raise Problem(404, "not_found", gettext("There is no customer %(customer)s.",
                                                customer=customer))
    least = role or ("viewer" if request.method in SAFE else "manager")
    if not holds(who.account, least):
        raise Problem(403, "role", gettext("This takes the role of %(least)s; yours is %(role)s. "
                                           "An owner of your company can change that.",
                                           least=least, role=who.account.role))
    if who.token is not None:
        _check_scope(who.token, person)
    elif request.method not in SAFE and who.session is not None:
        _check_csrf(who.session)
    return None


def _check_scope(token: ApiToken, person: bool) -> None:
    if person:
        raise Problem(403, "person", "This takes a signed-in person; an API token can't do it.")
    if token.scope != "write" and request.method not in SAFE:
        raise Problem(403, "scope", "This token only reads. Make one that may also change things.")


def holds(account: Account, least: Role) -> bool:
    """Whether somebody has at least this role. An engineer has every one."""
    return account.role == "engineer" or (
        account.role in ROLES and ROLES.index(account.role) >= ROLES.index(least))


def check_origin() -> None:
    """Refuses what another site made a browser send. It is all that guards forms for strangers
    (sign-in, sign-up, …), which have no session yet: every browser says where a form comes from,
    and whatever does not is no browser that somebody could be tricked with.

    Raises:
        Problem: 403.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
    else:
        foreign = origin != current_app.config["APP_URL"]
    if foreign:
        raise Problem(403, "foreign_origin", "This request comes from another site.")


def _check_csrf(session: LoginSession) -> None:
    check_origin()
    shown = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token") or ""
    if not hmac.compare_digest(shown.encode(errors="replace"), session.csrf.encode()):
        raise Problem(403, "csrf", "The page is too old. Load it again and repeat this.")


def me() -> Account:
    """The account behind a route that wants one."""
    who = visitor()
    assert who is not None  # `access` saw to it
    return who.account
