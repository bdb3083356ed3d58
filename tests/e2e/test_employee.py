"""The employee at work, as its customer sees it: a real browser, the edge, OpenClaw, LiteLLM, and
a fake model provider that follows a script."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page, expect, sync_playwright

from state_repo.documents import NetworkPool, OfferedModel, Platform, Resources
from tests.conftest import ROOT, docker, new_instance, remove_all
from tests.e2e.house import PASSWORD, House, until
from tests.fake_provider import KEY, FakeProvider

pytestmark = [pytest.mark.e2e, pytest.mark.employee]
SHOTS = Path(os.environ.get("IW_ARTEFACTS") or ROOT / ".build" / "e2e")
SIZE = Resources(1.0, 2560, 512)


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    made = FakeProvider()
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    """A platform whose employees are real, with the customers acme and bolt."""
    data: Path = tmp_path_factory.mktemp("work")
    data.chmod(0o755)
    instance = new_instance(data)
    instance.secrets_path.mkdir(mode=0o700)
    (instance.secrets_path / "provider-test").write_text(KEY)
    scripted = OfferedModel("openai/scripted", "provider-test", provider.url, 0.5, 1.5)
    made = House(instance, Platform(
        images=images, network=NetworkPool(instance.network_pool, 25), defaults=SIZE,
        models={"default": scripted}))
    made.customer("acme", 4)
    made.customer("bolt", 4)
    made.start()
    try:
        until(lambda: made.status.stack("platform") and made.is_synced(), "the platform is up", 120,
              made)
        yield made
    finally:
        made.stop()
        remove_all(instance)


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as player:
        made = player.chromium.launch(executable_path="/usr/bin/chromium", args=[
            "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP *.iw.localhost 127.0.0.1"])
        yield made
        made.close()


class Visitor:
    """A signed-in owner with one employee's workspace open."""

    def __init__(self, house: House, browser: Browser, customer: str = "acme", **options) -> None:
        self.house = house
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 860}} | options)
        self.page: Page = self.context.new_page()
        self.page.goto(f"{house.instance.app_url}/sign-in")
        self.page.get_by_label("E-mail").fill(f"ann@{customer}.test")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{house.instance.app_url}/")

    def open(self, employee: str) -> None:
        self.employee = employee
        self.page.goto(f"{self.house.instance.app_url}/employees/{employee}")

    def frame(self, name: str) -> Frame:
        """The chat's or the browser's frame, once it is past its ticket."""
        host = getattr(self.house.instance, f"{name}_host")(self.employee)
        return until(lambda: next((f for f in self.page.frames
                                   if host in f.url and "__t=" not in f.url), None),
                     f"the {name} frame of {self.employee}", 20)

    def say(self, text: str, wanted: str, seconds: float = 60.0) -> float:
        """Sends a chat message; returns the seconds until the answer is on the page."""
        frame = self.frame("chat")
        box = frame.locator("textarea").first
        box.wait_for(timeout=30_000)
        before = frame.locator("body").inner_text().count(wanted)
        began = time.monotonic()
        box.fill(text)
        box.press("Enter")
        try:
            until(lambda: frame.locator("body").inner_text().count(wanted) > before,
                  f"{wanted!r} in the chat", seconds)
        except AssertionError as error:
            self.shot("failure")
            log = inside(self.house, self.employee, "tail -c 3000 /data/state/logs/openclaw.log")
            raise AssertionError(f"{error}\n{frame.locator('body').inner_text()[-800:]}\n{log}"
                                 ) from None
        return time.monotonic() - began

    def watching(self) -> Frame:
        frame = self.frame("browser")
        expect(frame.locator("#state")).to_have_text("Watching live", timeout=30_000)
        return frame

    def shot(self, name: str) -> None:
        self.page.screenshot(path=str(SHOTS / f"{name}.png"))


@pytest.fixture(scope="module")
def ann(house: House, browser: Browser, pulse: str) -> Iterator[Visitor]:
    visitor = Visitor(house, browser)
    visitor.open(pulse)
    yield visitor
    visitor.context.close()


def tool(name: str, **arguments) -> str:
    return f"TOOL {name} {json.dumps(arguments)}"


def inside(house: House, employee: str, script: str) -> str:
    return " ".join(docker("exec", house.instance.container_name(employee), "bash", "-c", script))


def test_the_chat_answers_inside_our_page(ann, provider):
    ann.say("SAY Good morning", "(scripted) Good morning")
    ann.shot("chat")
    prompt = json.dumps(provider.requests[-1]["messages"])
    assert "You are Pulse" in prompt and "LEARNING-PROTOCOL" in prompt


def test_the_customer_watches_the_browser_and_sees_what_the_agent_opens(ann, house, pulse):
    desk = ann.watching()
    inside(house, pulse, "echo '<body style=\"background:#0a7d38\"><h1>Acme'\"'\"'s page</h1>' "
                         "> /data/workspace/page.html")
    ann.say(tool("browser", action="open", url="http://localhost:6081/workspace/page.html"),
            "The tool said")
    green = """() => {
      const canvas = document.querySelector('#screen canvas');
      const [r, g, b] = canvas.getContext('2d').getImageData(
        canvas.width / 2, canvas.height * 0.8, 1, 1).data;
      return r === 10 && g === 125 && b === 56; }"""
    desk.wait_for_function(green, timeout=20_000)
    ann.shot("browser")
