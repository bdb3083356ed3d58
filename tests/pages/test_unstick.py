"""The script that we put beside the chat page's own: loads the page anew when it keeps a message. A
fake pane here; the real one: tests/e2e/test_employee.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import ROOT

ADDRESS = "http://chat.localhost/"
SCRIPT = (ROOT / "images" / "employee" / "chat" / "unstick.js").read_text()
PAGE = ("<openclaw-chat-pane><textarea></textarea></openclaw-chat-pane><script>"
        "document.querySelector('openclaw-chat-pane').state = {connected: true, "
        "...JSON.parse(localStorage.state ?? '{}')};" + SCRIPT + "</script>")
KEPT = {"id": "m1", "text": "Hello?", "sendState": "waiting-idle"}


class Chat:
    def __init__(self, page: Page) -> None:
        self.page, self.loads = page, 0
        page.route(ADDRESS, self._serve)
        page.clock.install()
        page.goto(ADDRESS)

    def _serve(self, route) -> None:
        self.loads += 1
        route.fulfill(content_type="text/html", body=PAGE)

    def has(self, **state) -> None:
        """The page's state, now and after it was loaded anew."""
        self.page.evaluate("""state => { localStorage.state = JSON.stringify(state);
            Object.assign(document.querySelector('openclaw-chat-pane').state, state); }""", state)

    def loads_within(self, seconds: int) -> int:
        before = self.loads
        for _ in range(seconds):
            self.page.clock.run_for(1000)
            self.page.wait_for_function("document.readyState === 'complete'")
        return self.loads - before


@pytest.fixture
def chat(chromium: Browser) -> Iterator[Chat]:
    context = chromium.new_context()
    yield Chat(context.new_page())
    context.close()


def test_a_page_that_keeps_a_message_is_loaded_anew(chat):
    chat.has(chatQueue=[KEPT])
    assert chat.loads_within(14) == 0
    assert chat.loads_within(6) == 1
    chat.has(chatQueue=[])  # the fresh page sent it
    assert chat.loads_within(60) == 0


def test_it_is_not_loaded_for_ever(chat):
    chat.has(chatQueue=[KEPT])
    assert chat.loads_within(200) == 3


def test_each_message_has_tries_of_its_own(chat):
    chat.has(chatQueue=[KEPT, KEPT | {"id": "m2"}])
    assert chat.loads_within(500) == 6


def test_a_long_turn_is_given_time(chat):
    chat.has(chatQueue=[KEPT], chatRunId="r1")
    assert chat.loads_within(115) == 0
    assert chat.loads_within(10) == 1


@pytest.mark.parametrize("state", [
    {"chatQueue": []},
    {"chatQueue": [KEPT], "connected": False},
    {"chatQueue": [KEPT], "realtimeTalkSession": {}},
    {"chatQueue": [KEPT | {"sendState": "held"}]},
    {"chatQueue": [KEPT | {"sendState": "sending"}]},
    {"chatQueue": [KEPT | {"sendError": "Too large."}]},
    {}], ids=json.dumps)
def test_what_needs_no_new_page_gets_none(chat, state):
    chat.has(**state)
    assert chat.loads_within(30) == 0


def test_nobody_who_writes_is_interrupted(chat):
    chat.has(chatQueue=[KEPT])
    chat.page.locator("textarea").fill("And another thing")
    assert chat.loads_within(40) == 0
    chat.page.locator("textarea").fill("")
    assert chat.loads_within(3) == 1
