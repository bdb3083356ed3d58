"""What every page's frame needs, so that no page passes it: who is signed in, for which company,
where they can go. One context processor, and the filters that the macros use."""

from __future__ import annotations

from typing import Any

from flask import Flask, g, request
from sqlalchemy.exc import SQLAlchemyError

from state_repo import StateRepoError
from webapp import team
from webapp.access import visitor
from webapp.errors import Problem
from webapp.texts import N_

MAIN = (("/", "team", N_("Team")), ("/knowledge", "knowledge", N_("Knowledge")),
        ("/billing", "billing", N_("Billing")), ("/settings", "settings", N_("Settings")))
OURS = (("/operations", "pulse", N_("Operations")),  # for engineers
        ("/changes", "eye", N_("Changes")))
MENU = (("/settings", "settings", N_("Settings")), ("/api/docs", "docs", N_("API reference")))
ROLES = {"owner": N_("Owner"), "manager": N_("Manager"), "viewer": N_("Viewer"),
         "engineer": N_("Engineer")}
TONES = 12


def register(app: Flask) -> None:
    app.context_processor(frame)
    app.add_template_filter(tone)


def frame() -> dict[str, Any]:
    """The variables of `shell.html`. Without a signed-in person they are there and empty; the
    same where the database does not answer, for error pages have to be shown then too."""
    try:
        who = visitor()
    except SQLAlchemyError:
        who = None
    if who is None or who.session is None:
        return {"account": None, "csrf": "", "customer": None, "company": "", "navigation": [],
                "account_menu": [], "home": "/", "role_words": ROLES}
    customer = _customer(who.account)
    chosen = customer["id"] if customer and who.account.role == "engineer" else None
    return {"account": who.account, "csrf": who.session.csrf, "customer": customer,
            "company": customer["name"] if customer else "", "role_words": ROLES,
            "home": _link("/", chosen), "navigation": _items(MAIN, chosen) + _items(
                OURS if who.account.role == "engineer" else (), None),
            "account_menu": _items(MENU, chosen)}


def tone(identity: object) -> int:
    """The colour of an avatar, 0 to 11; `tone` in static/base.js is its twin."""
    return sum(map(ord, str(identity))) % TONES


def _customer(account: Any) -> dict[str, Any] | None:
    """The company that the page is about: one's own; for an engineer the one in the address."""
    name = account.customer or (request.view_args or {}).get("customer") or (
        request.args.get("customer"))
    if name is None:
        return None
    if "customer" not in g:
        try:
            g.customer = team.seats(name)
        except (Problem, StateRepoError):
            g.customer = None
    return g.customer


def _items(wanted: tuple[tuple[str, str, str], ...], chosen: str | None) -> list[dict[str, Any]]:
    return [{"href": _link(path, chosen), "icon": icon, "text": text, "current": _current(path)}
            for path, icon, text in wanted]


def _link(path: str, chosen: str | None) -> str:
    """An engineer keeps the company that was chosen."""
    return f"{path}?customer={chosen}" if chosen else path


def _current(path: str) -> bool:
    if path == "/":
        return request.path == "/" or request.path.startswith(("/employees/", "/hire"))
    return request.path == path or request.path.startswith(f"{path}/")
