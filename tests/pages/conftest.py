"""The web app's pages in a real Chromium: the real server on a port of its own, no Docker and no
reconciler. What needs those belongs into tests/e2e."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from state_repo import changes
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from tests.conftest import BROWSER, ROOT, free_ports
from tests.pages.fake_reconciler import FakeReconciler
from tests.rows import put_employee
from tools import catalogue, frontend
from webapp import accounts
from webapp.factory import create_app
from webapp.server import server
from webapp.settings import Settings

PASSWORD = "correct horse battery"
ENGINEER = Author("Engineer", "eng@iw.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
_LOOKS = {"light-desktop": (DESKTOP, "light"), "dark-phone": (PHONE, "dark"),
          "dark-desktop": (DESKTOP, "dark"), "light-phone": (PHONE, "light")}


def _looks(*quick: str) -> pytest.MarkDecorator:
    """All looks; those that are not `quick` belong to `make test-long`."""
    return pytest.mark.parametrize("viewport, scheme", [
        pytest.param(*look, id=name, marks=() if name in quick else pytest.mark.long)
        for name, look in _LOOKS.items()])


# The quick half of the matrix has every size and every scheme once.
LOOKS = _looks("light-desktop", "dark-phone")
ONE_LOOK = _looks("dark-phone")  # of what takes longest
ENGINEERS_LOOK = _looks("light-desktop")  # where they sit
SIZES = pytest.mark.parametrize("viewport", [
    pytest.param(PHONE, id="phone"),
    pytest.param(DESKTOP, id="desktop", marks=pytest.mark.long)])
SHOTS = Path(os.environ.get("IW_ARTEFACTS") or ROOT / ".build" / "e2e") / "pages"

CHROMIUM = ["--no-sandbox", "--disable-gpu",
            "--host-resolver-rules=MAP *.iw.localhost 127.0.0.1"]
LARGEST_PAINT = """() => new Promise((done) => new PerformanceObserver(
  (list) => done(list.getEntries().at(-1).startTime)).observe(
  {type: 'largest-contentful-paint', buffered: true}))"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Site:
    """The served web app. `url`: the dashboard's origin."""

    app: Any
    instance: Instance

    @property
    def url(self) -> str:
        return self.instance.app_url

    @property
    def store(self) -> Store:
        return self.app.extensions["iw_store"]

    @property
    def status(self) -> StatusStore:
        return self.app.extensions["iw_status"]

    def customer(self, name: str, seats: int = 5) -> str:
        """Makes a customer with an owner, ann@<name>.test."""
        changes.create_customer(self.store, ENGINEER, name, name.title(), seats)
        accounts.ensure(self.instance, f"ann@{name}.test", PASSWORD, customer=name, role="owner")
        return name

    def employee(self, customer: str, name: str, role: str = "Marketing assistant", **seen: Any
                 ) -> str:
        """Hires somebody, who is Healthy unless `seen` says otherwise."""
        made, _ = changes.hire(self.store, ENGINEER, customer, name, role)
        put_employee(self.status, made.id, **({
            "customer": customer, "name": name, "role": role, "desired_state": "running",
            "sync_status": "Synced", "health_status": "Healthy", "reason": "",
            "address": "10.192.0.2"} | seen))
        return made.id


def serve(instance: Instance, **settings: Any) -> Iterator[Site]:
    """`settings`: others than usual."""
    app = create_app(Settings(instance, **settings))
    served = server(app, instance.ports["edge"], threads=16)
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    while not served.started and thread.is_alive():
        time.sleep(0.01)
    made = Site(app, instance)
    changes.set_platform(made.store, ENGINEER, "P", lambda _: Platform(images={"employee": IMAGE}))
    catalogue.teach(made.store, ENGINEER, {})
    yield made
    served.should_exit = True
    thread.join(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site; `site.customer("acme")` and `site.employee(…)` fill it."""
    yield from serve(Instance(id="0badcafe", data=tmp_path, ports=free_ports()))


@pytest.fixture
def reconciler(site: Site) -> Iterator[FakeReconciler]:
    """A fake reconciler behind the site. Without it, what needs one says that it is away."""
    made = FakeReconciler(site.instance.socket)
    yield made
    made.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as player:
        made = player.chromium.launch(executable_path=BROWSER, args=CHROMIUM)
        yield made
        made.close()


@dataclass
class Visitor:
    site: Site
    context: BrowserContext
    page: Page

    def go(self, path: str) -> None:
        self.page.goto(self.site.url + path)

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        self.go("/sign-in")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def enter(self, email: str, password: str = PASSWORD) -> None:
        """Signs in without the form, which has tests of its own. Who has a second step is asked
        for it by the form."""
        port = self.site.instance.ports["edge"]
        answer = requests.post(f"http://127.0.0.1:{port}/api/v1/session", timeout=15, headers={
            "Host": self.site.instance.app_host}, json={"email": email, "password": password})
        value = answer.cookies.get("iw_session")
        if not answer.ok or value is None:
            self.sign_in(email, password)
            return
        self.context.add_cookies([{"name": "iw_session", "value": value, "url": self.site.url}])
        self.go("/")

    def shot(self, name: str, *, full: bool = False) -> None:
        """A picture for people to look at, in the artefacts' folder."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=full)

    def largest_paint_ms(self) -> float:
        """When the largest thing of the page was painted, as Chromium tells it."""
        return self.page.evaluate(LARGEST_PAINT)

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical on the page as it is. The content policy lets
        no script of ours in from outside, so it is evaluated by the driver."""
        axe = (frontend.vendor() / "axe-core" / "axe.min.js").read_text()
        # A colour that is still fading in is not the one that stays. (An animation of what is not
        # drawn may never end.)
        self.page.evaluate("""() => Promise.race([
            new Promise((late) => setTimeout(late, 6000)),
            Promise.all(document.getAnimations()
                .filter(a => a.effect.getComputedTiming().endTime < 5000)
                .map(a => a.finished.catch(() => {})))])""")
        self.page.evaluate(axe + "; undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{v['id']}: {n['html']} ({n['failureSummary']})" for v in found["violations"]
                if v["impact"] in ("serious", "critical") for n in v["nodes"]]


@pytest.fixture
def visit(site: Site, chromium: Browser) -> Iterator[Any]:
    """`visit()` opens a browser of its own (its own cookies and storage); `visit(email)` signs
    in; options are Playwright's (viewport, color_scheme, reduced_motion, …)."""
    opened: list[BrowserContext] = []

    def visitor(email: str | None = None, **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": DESKTOP} | options)
        context.set_default_timeout(15_000)
        opened.append(context)
        made = Visitor(site, context, context.new_page())
        if email is not None:
            made.enter(email)
        return made
    yield visitor
    for context in opened:
        context.close()
