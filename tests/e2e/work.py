"""Employees at work, for tests: a platform of real employees, its visitors in a real Chromium."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Frame, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from state_repo import changes
from state_repo.documents import NetworkPool, OfferedModel, Platform, Resources
from tests.conftest import BROWSER, ROOT, docker, new_instance
from tests.e2e.house import ENGINEER, PASSWORD, House, standing, until
from tests.fake_provider import KEY, FakeProvider

SHOTS = Path(os.environ.get("IW_ARTEFACTS") or ROOT / ".build" / "e2e")
SIZE = Resources(1.0, 2560, 512)
_CALM_S = 2.0


@contextmanager
def working_house(data: Path, images: dict[str, str], provider: FakeProvider,
                  domain: str = "iw.localhost") -> Iterator[House]:
    """A platform whose employees are real, with the customers acme and bolt."""
    data.chmod(0o755)
    instance = new_instance(data, domain)
    instance.secrets_path.mkdir(mode=0o700)
    (instance.secrets_path / "provider-test").write_text(KEY)
    scripted = OfferedModel("openai/scripted", "provider-test", provider.url, 0.5, 1.5)
    made = House(instance, Platform(
        images=images, network=NetworkPool(instance.network_pool, 25), defaults=SIZE,
        models={"default": scripted}))
    made.customer("acme", 4)
    made.customer("bolt", 4)
    with standing(made, 120):
        yield made


@contextmanager
def demo_house(data: Path, images: dict[str, str], provider: FakeProvider) -> Iterator[House]:
    """The same without a provider's key: the demo model answers."""
    with working_house(data, images, provider) as made:
        changes.set_platform(made.store, ENGINEER, "No provider", lambda p: replace(
            p, models={"default": OfferedModel()}))
        until(made.is_synced, "the proxy knows", 60, made)
        yield made


def chromium_options(domain: str = "iw.localhost", authority: str | None = None,
                     address: str = "127.0.0.1") -> dict[str, Any]:
    """Debian's Chromium, which finds the domain at this address. `authority`: the certificate
    (PEM) that signs the edge's own, and that it believes beside the usual ones."""
    # Containers that come and go change this host's network, which ends QUIC connections.
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic",
               f"--host-resolver-rules=MAP *.{domain} {address}"]
    if authority is not None:
        options.append(f"--ignore-certificate-errors-spki-list={_key_digest(authority)}")
    return {"executable_path": BROWSER, "args": options}


@contextmanager
def chromium(domain: str = "iw.localhost", authority: str | None = None,
             address: str = "127.0.0.1") -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as player:
        made = player.chromium.launch(**chromium_options(domain, authority, address))
        yield made
        made.close()


def _key_digest(certificate: str) -> str:
    """What Chromium calls an SPKI: the SHA-256 of the public key's DER, in base64."""
    key = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=certificate.encode(),
                         capture_output=True, check=True).stdout
    lines = [line for line in key.decode().splitlines() if not line.startswith("-----")]
    return base64.b64encode(hashlib.sha256(base64.b64decode("".join(lines))).digest()).decode()


def signed_in(house: House, browser: Browser, customer: str = "acme", **options) -> Visitor:
    """The customer's owner, in a browser of their own."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 860}} | options)
    page = context.new_page()
    for _ in range(3):
        page.goto(f"{house.instance.app_url}/sign-in")
        page.get_by_label("E-mail").fill(f"ann@{customer}.test")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_load_state()
        # This browser is on the host whose networks change with each container, and drops what it
        # asked in that moment (ERR_NETWORK_CHANGED): no customer's is.
        if not page.url.startswith("chrome-error:"):
            break
    page.wait_for_url(f"{house.instance.app_url}/")
    return Visitor(house, page)


class Visitor:
    """Somebody with one employee's workspace open."""

    def __init__(self, house: House, page: Page) -> None:
        self.house, self.page, self.context = house, page, page.context
        self.trouble: list[str] = []  # what went wrong in the page and its frames
        page.on("response", lambda r: self.trouble.append(f"{r.status} {r.url}") if (
            r.status >= 400) else None)
        page.on("requestfailed", lambda r: self.trouble.append(f"{r.failure} {r.url}"))
        page.on("console", lambda m: self.trouble.append(m.text) if m.type == "error" else None)

    def open(self, employee: str) -> None:
        self.employee, self.has_sent = employee, False
        self.page.goto(f"{self.house.instance.app_url}/employees/{employee}")

    def frame(self, name: str) -> Frame:
        """The chat's or the browser's frame, once it is past its ticket."""
        host = getattr(self.house.instance, f"{name}_host")(self.employee)
        def found() -> Frame | None:
            self.page.wait_for_timeout(50)  # the driver learns of frames only while it is asked
            return next((f for f in self.page.frames if host in f.url and "__t=" not in f.url),
                        None)
        return until(found, f"the {name} frame of {self.employee}", 20)

    def say(self, text: str, wanted: str, seconds: float = 180.0) -> float:
        """Sends a chat message; returns the seconds until the answer is on the page."""
        frame, before = self.send(text, wanted)
        began = time.monotonic()
        self.wait(lambda: frame.locator("body").inner_text().count(wanted) > before,
                  f"{wanted!r} in the chat", seconds)
        return time.monotonic() - began

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 180.0) -> None:
        """Waits for the condition; fails with what the page shows and what its employee did."""
        try:
            until(lambda: self.page.wait_for_timeout(50) or condition(), what, seconds)
        except AssertionError as error:
            self.shot("failure")
            log = inside(self.house, self.employee, "tail -c 3000 /data/state/logs/openclaw.log; "
                         "ps -eo pid,etimes,args | grep -v ' grep ' | cut -c1-150")
            name = self.house.instance.container_name(self.employee)
            log += "\n" + " ".join(docker("logs", "--tail", "40", name))
            log += "\n" + "\n".join(line[:300] for line in self.trouble[-40:])
            shown = self.frame("chat").locator("body").inner_text()[-800:]
            raise AssertionError(f"{error}\n{shown}\n{log}") from None

    def send(self, text: str, wanted: str = "") -> tuple[Frame, int]:
        """Sends a chat message, without waiting; returns the chat's frame, and how often `wanted`
        stood in it before.

        The page of an overloaded machine keeps a message that follows a reply's end at once until
        it is loaded anew: nobody types as fast, so that the page is given a moment.
        """
        if self.has_sent:
            self.idle()
        self.has_sent = True
        frame = self.frame("chat")
        box = frame.locator("textarea").first
        try:
            box.wait_for(timeout=90_000)  # a stopped employee takes a cold start to wake
        except PlaywrightError as error:
            self.shot("failure")
            row, shown = self.house.status.employee(self.employee), frame.content()[:1000]
            raise AssertionError(f"no place to write in {frame.url}: {shown}\n{row}\n"
                                 + "\n".join(line[:200] for line in self.trouble[-40:])) from error
        before = frame.locator("body").inner_text().count(wanted) if wanted else 0
        box.fill(text)
        box.press("Enter")
        return frame, before

    def idle(self, seconds: float = 60.0) -> None:
        """Waits until the reply that goes on has ended, and the page has been calm for a moment:
        then it offers no "Steer"."""
        frame, last = self.frame("chat"), time.monotonic()

        def is_calm() -> bool:
            nonlocal last
            self.page.wait_for_timeout(100)
            if "Steer" in frame.locator("body").inner_text():
                last = time.monotonic()
            return time.monotonic() - last >= _CALM_S
        until(is_calm, "the reply's end", seconds)

    def watching(self) -> Frame:
        frame = self.frame("browser")
        expect(frame.locator("#state")).to_have_text("Watching live", timeout=30_000)
        return frame

    def shot(self, name: str) -> None:
        self.page.screenshot(path=str(SHOTS / f"{name}.png"))


def tool(name: str, **arguments) -> str:
    return f"TOOL {name} {json.dumps(arguments)}"


def inside(house: House, employee: str, script: str) -> str:
    return " ".join(docker("exec", house.instance.container_name(employee), "bash", "-c", script))
