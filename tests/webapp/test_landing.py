"""What strangers and search engines get."""

from __future__ import annotations

import gzip
import re
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from state_repo import changes
from state_repo.documents import Plan, Platform, SeatRange
from tests.webapp.conftest import ENGINEER
from webapp import landing

STATIC = Path(landing.__file__).parent / "static"


def test_offers_come_from_the_catalogue_in_its_order():
    catalogue = {
        "team": Plan("Team", 7900, description="A few employees.", trial_days=14,
                     seats=SeatRange(3, 1, 20), model_budget_usd=25.0),
        "old": Plan("Old", 100, offered=False),
        "yen": Plan("Yen", 9000, "jpy", "year")}
    team, yen = landing.offers(Platform(images={}, plans=catalogue))
    assert (team.id, team.price, team.per) == ("team", "$79", "per employee and month")
    assert team.facts == ("1 to 20 employees", "$25 of model use a month for each",
                          "3 GB of memory, 1 processor core for each")
    assert (yen.price, yen.per) == ("9,000 JPY", "per employee and year")
    assert landing.money(7950, "eur") == "€79.50"


def test_the_page_shows_what_can_be_bought_and_leads_there(house):
    changes.set_platform(house.app.extensions["iw_store"], ENGINEER, "Plans", lambda old: replace(
        old, plans={"team": Plan("Team", 7900), "old": Plan("Former", 100, offered=False)}))
    page = house.client().get("/").text
    assert "$79" in page and 'href="/sign-up?plan=team"' in page and "Former" not in page
    assert house.client().get("/sign-up?plan=team").status_code == 200


def test_without_a_catalogue_the_page_names_no_price(house):
    page = house.client().get("/").text
    assert "Prices are set by your operator" in page and "offers" not in page


def test_the_page_can_be_shared(house):
    page = house.client().get("/").text
    url = house.app.config["APP_URL"]
    assert f'<link rel="canonical" href="{url}/">' in page
    assert f'content="{url}/static/social.png"' in page
    for name in ("og:title", "og:description", "og:url", "description"):
        assert re.search(rf'<meta (?:property|name)="{name}" content="[^"]+">', page), name
    picture = (STATIC / "social.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1200, 630) and len(picture) < 200_000


def test_the_sitemap_lists_pages_that_exist(house):
    client = house.client()
    found = [e.text for e in ElementTree.fromstring(client.get("/sitemap.xml").data).iter(
        "{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    url = house.app.config["APP_URL"]
    assert {f"{url}/", f"{url}/privacy", f"{url}/terms"} <= set(found)
    for address in found:
        assert client.get(address.removeprefix(url)).status_code == 200


def test_robots_are_kept_from_what_is_private(house):
    text = house.client().get("/robots.txt").text
    assert "Disallow: /employees/" in text and "Disallow: /\n" not in text
    assert f"Sitemap: {house.app.config['APP_URL']}/sitemap.xml" in text


def test_the_manifest_and_its_icons(house):
    client = house.client()
    manifest = client.get("/site.webmanifest")
    assert manifest.mimetype == "application/manifest+json"
    for icon in manifest.json["icons"]:
        assert client.get(icon["src"]).status_code == 200
    assert client.get("/favicon.ico").mimetype == "image/png"


def test_all_links_of_the_public_pages_lead_somewhere(house):
    client, pages = house.client(), {}
    for path in ("/", "/privacy", "/terms", "/api/docs"):
        pages[path] = client.get(path).text
    for page in pages.values():
        for href in re.findall(r'href="(/[^"]*)"', page):
            path, _, fragment = href.partition("#")
            assert client.get(path).status_code in (200, 302), href
            assert not fragment or f'id="{fragment}"' in pages[path], href


def test_styles_stay_small():
    styles = [gzip.compress((STATIC / n).read_bytes()) for n in ("app.css", "public.css")]
    assert sum(map(len, styles)) < 30_000


def test_who_finds_a_weakness_is_told_whom_to_tell(house):
    answer = house.client().get("/.well-known/security.txt")
    assert answer.mimetype == "text/plain"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == "mailto:security@iw.localhost"
    ahead = datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)
    assert timedelta(days=170) < ahead < timedelta(days=365)  # RFC 9116: less than a year
    assert fields["Canonical"].endswith("/.well-known/security.txt")
