"""What strangers see: the landing page, the legal pages, and what search engines ask for.

Prices come from the catalogue in `platform.yaml`, the number of days that files are kept from there
too: nothing on these pages is promised that the platform does not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, render_template, send_file, url_for
from flask_babel import gettext, ngettext

from state_repo import StateRepoError
from state_repo.documents import Plan, Platform
from webapp import team
from webapp.access import access

landing = Blueprint("landing", __name__)
# In the order of the sitemap.
INDEXED = ("/", "/sign-up", "/sign-in", "/api/docs", "/status", "/privacy", "/terms")
# Of people alone: nothing for a search engine.
PRIVATE = ("/api/v1/", "/edge/", "/employees/", "/knowledge", "/billing", "/settings",
           "/onboarding")
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}
_WHOLE = ("jpy", "krw", "vnd", "clp")  # currencies without a minor unit


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as a stranger reads it. `facts`: what one seat of it brings."""

    id: str
    title: str
    price: str
    per: str
    description: str
    trial_days: int
    facts: tuple[str, ...]


def offers(platform: Platform) -> list[Offer]:
    """What can be bought; empty where the operator sets prices by hand."""
    return [_offer(name, plan) for name, plan in platform.plans.items() if plan.offered]


def page() -> str:
    """The landing page."""
    platform = _platform()
    return render_template(
        "landing.html", offers=offers(platform), storage=_size(platform.storage.employee_mb),
        sleep_minutes=round(platform.sleep.after_minutes), **_facts(platform))


@landing.get("/privacy")
@access("public")
def privacy() -> str:
    return render_template("privacy.html", **_facts(_platform()))


@landing.get("/terms")
@access("public")
def terms() -> str:
    return render_template("terms.html", **_facts(_platform()))


@landing.get("/.well-known/security.txt")
@access("public")
def security() -> Response:
    """Where to tell of a weakness (RFC 9116), at the address that RFC 2142 keeps for that."""
    url = current_app.config["APP_URL"]
    domain = current_app.config["INSTANCE"].domain
    expires = (datetime.now(UTC) + timedelta(days=180)).replace(
        hour=0, minute=0, second=0, microsecond=0)
    return Response(f"Contact: mailto:security@{domain}\nExpires: {expires.isoformat()}\n"
                    f"Preferred-Languages: en\nCanonical: {url}/.well-known/security.txt\n",
                    mimetype="text/plain")


@landing.get("/sitemap.xml")
@access("public")
def sitemap() -> Response:
    pages = [team.instance().app_url + path for path in INDEXED]
    return Response(render_template("sitemap.xml", pages=pages), mimetype="application/xml")


@landing.get("/robots.txt")
@access("public")
def robots() -> Response:
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in PRIVATE),
             f"Sitemap: {team.instance().app_url}/sitemap.xml", ""]
    return Response("\n".join(lines), mimetype="text/plain")


@landing.get("/site.webmanifest")
@access("public")
def manifest() -> Any:
    icons = [{"src": url_for("static", filename="icon.svg"), "type": "image/svg+xml",
              "sizes": "any"},
             {"src": url_for("static", filename="icon-192.png"), "type": "image/png",
              "sizes": "192x192"}]
    return {"name": "InstantWorker", "short_name": "InstantWorker", "start_url": "/",
            "display": "standalone", "background_color": "#f7f6f2", "theme_color": "#0b6b57",
            "icons": icons}, 200, {"Content-Type": "application/manifest+json"}


@landing.get("/favicon.ico")
@access("public")
def favicon() -> Response:
    """For those who ask for it by this name alone; a picture by any name is fine to them."""
    return send_file(Path(str(current_app.static_folder)) / "icon-192.png", max_age=86400)


def _platform() -> Platform:
    """As it is; strangers are greeted even where nothing is set up, or a mistake is in it."""
    try:
        return team.platform()
    except StateRepoError:
        return Platform(images={})


def _facts(platform: Platform) -> dict[str, Any]:
    return {"url": team.instance().app_url, "grace_days": platform.grace_days,
            "retention_days": platform.billing.retention_days if platform.plans else None}


def _offer(name: str, plan: Plan) -> Offer:
    facts = (gettext("%(least)s to %(most)s employees", least=plan.seats.min, most=plan.seats.max)
             if plan.seats.max > plan.seats.min
             else ngettext("%(num)s employee", "%(num)s employees", plan.seats.max),
             gettext("%(amount)s of model use a month for each",
                     amount=money(plan.model_budget_usd * 100, "usd")),
             ngettext("%(memory)s of memory, %(cpus)s processor core for each",
                      "%(memory)s of memory, %(cpus)s processor cores for each", plan.limits.cpus,
                      memory=_size(plan.limits.memory_mb), cpus=format(plan.limits.cpus, "g")))
    return Offer(name, plan.title, money(plan.amount, plan.currency),
                 gettext("per employee and year") if plan.interval == "year" else gettext(
                     "per employee and month"), plan.description, plan.trial_days, facts)


def money(minor: float, currency: str) -> str:
    amount = minor if currency in _WHOLE else minor / 100
    text = f"{amount:,.0f}" if amount == int(amount) else f"{amount:,.2f}"
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{text}" if symbol else f"{text} {currency.upper()}"


def _size(megabytes: int) -> str:
    return f"{megabytes / 1024:g} GB" if megabytes >= 1024 else f"{megabytes} MB"
