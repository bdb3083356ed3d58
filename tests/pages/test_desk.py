"""The desk's own page in a real browser, with a viewer that does as it is told in noVNC's place."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.conftest import ROOT

WWW = ROOT / "images" / "employee" / "www"
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
VIEWER = """export default class RFB extends EventTarget {
  constructor() { super(); if (%s) setTimeout(() => this.dispatchEvent(new Event('connect'))); }
  disconnect() { setTimeout(() => this.dispatchEvent(new Event('disconnect'))); }
  focus() {}
}"""


class Desk:
    """Serves the page. `viewers`: what each request for noVNC gets, the last one for ever: a
    script, or None for a connection that breaks."""

    def __init__(self, page) -> None:
        self.page, self.viewers = page, [VIEWER % "true"]
        page.route(re.compile("http://pulse.vnc.iw.test/"), self._answer)

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix("http://pulse.vnc.iw.test/")
        if path.startswith("novnc/"):
            body = self.viewers.pop(0) if len(self.viewers) > 1 else self.viewers[0]
            if body is None:
                route.abort("internetdisconnected")
            else:
                route.fulfill(body=body, content_type="text/javascript")
            return
        file = WWW / (path.removeprefix("desk/") or "index.html")
        route.fulfill(body=file.read_text(), content_type=KINDS[file.suffix])

    def open(self):
        self.page.goto("http://pulse.vnc.iw.test/")
        return self.page.locator("#state")


@pytest.fixture
def desk(chromium):
    context = chromium.new_context()
    context.set_default_timeout(15_000)
    yield Desk(context.new_page())
    context.close()


def test_a_part_that_does_not_come_is_asked_for_again(desk):
    desk.viewers = [None, None, VIEWER % "true"]
    state = desk.open()
    expect(state).to_have_text("This page did not load whole. Trying again…")
    expect(state).to_have_text("Watching live")


def test_a_connection_that_neither_stands_nor_fails_is_tried_again(desk):
    desk.viewers = [VIEWER % "globalThis.answers"]
    desk.page.clock.install()
    state = desk.open()
    desk.page.wait_for_function("document.title === 'Connecting…'")  # its script runs
    desk.page.clock.run_for(20_100)
    expect(state).to_contain_text("The connection was lost")
    desk.page.evaluate("globalThis.answers = true")
    desk.page.clock.run_for(2_000)
    expect(state).to_have_text("Watching live")
