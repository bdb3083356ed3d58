"""What pages load: small, kept for ever, and all from here."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from tests.webapp.test_routes import path, routes

BUDGET = 100_000  # bytes of JavaScript and CSS, compressed as the edge does
_IMPORT = re.compile(
    r"""(?:^|;|\})\s*(?:import|export)\s*(?:[^"';()]*?[\s}*]from\s*)?["']([^"']+)["']""", re.M)


class Loaded(HTMLParser):
    """The scripts and style sheets that a page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.found.append(given.get("src") or "")
        elif tag == "link" and {"stylesheet", "modulepreload"} & set(
                (given.get("rel") or "").split()):
            self.found.append(given.get("href") or "")


def everything(client, page: str, text: str) -> dict[str, bytes]:
    """Address to content of what the page loads at first, modules' imports included."""
    waiting, loaded = [urljoin(page, src) for src in Loaded(text).found], {}
    while waiting:
        address = waiting.pop()
        if address in loaded:
            continue
        answer = client.get(address)
        assert answer.status_code == 200, (page, address)
        assert "immutable" in answer.headers["Cache-Control"], (page, address)
        loaded[address] = answer.data
        if answer.mimetype == "text/javascript":
            waiting += [urljoin(address, name) for name in _IMPORT.findall(answer.text)]
    return loaded


@pytest.mark.parametrize("person", [None, "ann@acme.test", "eng@iw.test"])
def test_a_page_loads_less_than_its_budget(house, person):
    client, pages = house.client(person), 0
    for rule, method, _ in routes(house):
        if method != "GET" or str(rule).startswith(("/api/v1/", "/static/")):
            continue
        address = path(rule, "acme", house.pulse)
        answer = client.get(address)
        if answer.mimetype != "text/html" or answer.status_code >= 300:
            continue
        pages += 1
        loaded = everything(client, address, answer.text)
        total = sum(len(gzip.compress(data, 6)) for data in loaded.values())
        print(f"{address}: {total:,} bytes of {len(loaded)} files")
        assert total < BUDGET, (address, {k: len(gzip.compress(v)) for k, v in loaded.items()})
    assert pages


def test_imports_are_found_in_every_form():
    text = ('import "./a.js";\nimport b from "./b.js"\nimport { c,\n  d } from \'./c.js\';\n'
            'export { e } from "./e.js";export * from "./f.js"\nimport{x}from"./g.js";\n'
            'const g = "import h";')
    assert _IMPORT.findall(text) == ["./a.js", "./b.js", "./c.js", "./e.js", "./f.js",
                                     "./g.js"]


def test_an_address_of_yesterday_still_answers_and_is_not_kept(house):
    client = house.client()
    for address in ("/static/app.css", "/static/0123456789ab/app.css"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    again = client.get("/static/app.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert client.get("/static/0123456789ab/../../factory.py").status_code == 404
    assert client.get("/static/0123456789ab/nothing.css").status_code == 404
