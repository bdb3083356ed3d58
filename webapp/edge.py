"""Who may pass the edge to an employee's pages.

The edge asks `/edge/authorize` before every request to `<employee>.gw.<domain>` or
`<employee>.vnc.<domain>`; the answer names the container's address. A browser comes with a
one-time ticket, minted on the dashboard's own host, and leaves with a cookie of that one host, so
that no employee's page ever holds, sees or can replace the dashboard's session. Machines send an
API token.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import (
    Blueprint,
    Response,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
)
from flask_babel import gettext
from sqlalchemy import delete

from state_repo.status import EmployeeStatus
from webapp import signing, team, words
from webapp.access import access, bearer, cookie, me, visitor
from webapp.errors import Problem
from webapp.models import Account, EdgeSession, EdgeTicket, db, digest, fresh_secret, now
from webapp.reconciler_api import ask
from webapp.texts import N_

edge = Blueprint("edge", __name__)
PORTS = {"gw": 18789, "vnc": 6080}
TICKET_S, SESSION_HOURS = 60, 12
LONG_S = 60.0  # after which a page that waits says what else there is to do
PARTS = frozenset({"cors", "no-cors", "same-origin"})  # of a page, by Sec-Fetch-Mode
Kind = Literal["chat", "browser"]


@edge.get("/employees/<employee>/open/<any(chat, browser):kind>")
@access("account", page=True)
def open_page(employee: str, kind: Kind) -> Any:
    """Sends the owner to the employee's page, with a ticket for that one host."""
    return redirect(ticket_url(employee, kind), code=303)


def ticket_url(employee: str, kind: Kind) -> str:
    """The address of an employee's page with a ticket for the signed-in visitor.

    Raises:
        Problem: 404 when it is not the visitor's employee.
    """
    row, who = team.status().employee(employee), visitor()
    if row is None or row.customer != me().customer or who is None or who.session is None:
        raise Problem(404, "not_found", gettext("There is no employee %(employee)s.",
                                                employee=employee))
    where = team.instance()
    host = where.chat_host(employee) if kind == "chat" else where.browser_host(employee)
    secret = fresh_secret()
    db.session.add(EdgeTicket(id=digest(secret), account_id=me().id, host=host,
                              session_id=who.session.id,
                              expires_at=now() + timedelta(seconds=TICKET_S)))
    db.session.commit()
    return f"{where.url(host)}/?{urlencode({'__t': secret})}"


@edge.get("/edge/authorize")
@access("edge")
def authorize() -> Response:
    """200 with X-Upstream and X-User; or what the visitor is shown instead."""
    host = request.headers.get("X-Forwarded-Host", "").partition(":")[0].lower()
    employee, _, rest = host.partition(".")
    kind, _, domain = rest.partition(".")
    row = team.status().employee(employee)
    if kind not in PORTS or domain != team.instance().domain or row is None or (
            row.desired_state == "warm"):
        return _nobody()
    uri = urlsplit(request.headers.get("X-Forwarded-Uri", "/"))
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    ticket = query.pop("__t", None)
    if ticket is not None:
        return _redeem(ticket, host, row, uri.path + (f"?{urlencode(query)}" if query else ""))
    token = bearer(request.headers.get("Authorization"))
    account = token.account if token is not None else _account_of_cookie(host)
    if account is None:
        return _say(401, gettext("Sign in first"),
                    gettext("Open this page from your dashboard."))
    if account.customer != row.customer:
        return _nobody()
    only_reads = token is not None and token.scope != "write"
    if only_reads and kind == "gw":
        return _say(403, gettext("This token only reads"),
                    gettext("To talk takes one that may change things."))
    if request.headers.get("X-Forwarded-Upgrade", "").lower() == "websocket":
        origin = request.headers.get("Origin")
        # A browser always says where it comes from; a program with a token need not.
        if origin != team.instance().url(host) and (origin is not None or token is None):
            return _say(403, gettext("Not from here"),
                        gettext("This connection comes from another site."))
    if row.desired_state == "running" and row.asleep_since is not None:
        db.session.remove()  # it takes a while, and holds no connection
        ask(team.instance().socket, "POST", ["employees", employee, "wake"],
            headers={"Content-Length": "0"}).json()
        if request.headers.get("X-Forwarded-Mode") == "navigate" or row.address is None:
            return _say(503, gettext("Waking %(name)s…", name=row.name), gettext(
                "It slept, and is here again in about three seconds. This page loads by itself."),
                again_s=1)
    # A part of a page that is there already goes on to the employee, who lets its own in: refused,
    # it would leave that page without its scripts.
    is_part = request.headers.get("X-Forwarded-Mode") in PARTS and row.address is not None
    if row.desired_state == "running" and row.health_status == "Progressing" and not is_part:
        return _say(503, gettext("%(name)s is getting ready…", name=row.name), _wait(row),
                    again_s=1)
    if row.address is None or row.desired_state != "running":
        said = words.summary(team.seen(row))
        return _say(503, gettext("%(name)s is not here right now", name=row.name), gettext(
            "%(label)s: %(detail)s. Your dashboard shows what to do.", label=gettext(said["label"]),
            detail=gettext(said["detail"] or N_("it is not running"))))
    response = Response(status=200)
    response.headers["X-Upstream"] = f"{row.address}:{PORTS[kind]}"
    response.headers["X-User"] = account.email
    response.headers["X-Customer"] = row.customer
    response.headers["X-Desk-Access"] = (
        "view" if only_reads or account.role == "viewer" else "control")
    return response


def _wait(row: EmployeeStatus) -> str:
    """Why it waits, for how long so far, and what to do when that is too long. The page has no
    script: it is asked for anew every second, and each answer says how late it is."""
    seconds = max((now() - row.updated_at).total_seconds(), 0.0)
    reason = gettext("%(reason)s, %(count)s s so far.", count=format(seconds, ".0f"),
                     reason=gettext(words.plain(row.reason) or N_("it starts"))).capitalize()
    if seconds <= LONG_S:
        return reason + gettext(" This page loads by itself.")
    return reason + gettext(
        " That is longer than it should take. Your dashboard can try again with a new workplace; "
        "files and memory stay. This page keeps looking.")


def _redeem(ticket: str, host: str, row: EmployeeStatus, to: str) -> Response:
    """One ticket, one time, one host: a cookie of that host, and the address without it."""
    found = db.session.get(EdgeTicket, digest(ticket))
    # Deleting decides: of two that come with the same ticket, one gets the row.
    used = db.session.scalar(delete(EdgeTicket).where(EdgeTicket.id == digest(ticket))
                             .returning(EdgeTicket.id))
    db.session.commit()
    account = db.session.get(Account, found.account_id) if found is not None and used else None
    if found is None or account is None or found.host != host or found.expires_at <= now() or (
            account.customer != row.customer):
        return _say(401, gettext("This link is used up"),
                    gettext("Open the page from your dashboard again."))
    secret = fresh_secret()
    db.session.add(EdgeSession(id=digest(secret), account_id=account.id, host=host,
                               session_id=found.session_id,
                               expires_at=now() + timedelta(hours=SESSION_HOURS)))
    db.session.commit()
    # A path alone, never //host: the visitor stays where the ticket was for.
    response = make_response(redirect("/" + to.lstrip("/\\"), code=303))
    response.autocorrect_location_header = False
    signing.set_cookie(response, secret, "edge", days=1)
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _account_of_cookie(host: str) -> Account | None:
    shown = cookie("edge")
    session = db.session.get(EdgeSession, digest(shown)) if shown else None
    if session is None or session.host != host or session.expires_at <= now():
        return None
    return session.account


def _nobody() -> Response:
    return _say(404, gettext("There is nothing here"), gettext("No employee has this address."))


def _say(status: int, title: str, text: str, again_s: int = 0) -> Response:
    """A page and not a redirect: inside an iframe the visitor must see why. `again_s`: after how
    long the page loads by itself (0: by hand)."""
    nonce, again_s = fresh_secret(), again_s or (3 if status == 503 else 0)
    response = make_response(render_template("edge.html", title=title, text=text, nonce=nonce,
                                             again_s=again_s), status)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors "
        + current_app.config["APP_URL"])
    response.headers["Cache-Control"] = "no-store"
    if again_s:
        response.headers["Retry-After"] = str(again_s)
    return response
