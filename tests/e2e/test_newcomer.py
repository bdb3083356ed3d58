"""A newcomer, from the landing page to chatting with Pulse in one sitting: real pages, real parts,
a real employee, and a fake model provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from state_repo import changes
from tests.e2e.house import ENGINEER, House, until
from tests.e2e.work import SHOTS, Visitor, chromium, working_house
from tests.fake_provider import FakeProvider

pytestmark = [pytest.mark.e2e, pytest.mark.employee]
PATIENCE_MS = 120_000  # a cold start, where the blank was not ready yet


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    with working_house(tmp_path_factory.mktemp("new"), images, provider) as made:
        changes.set_platform(made.store, ENGINEER, "A blank boots while people answer",
                             lambda p: replace(p, warm_per_customer=1))
        yield made


def go_on(page: Page) -> None:
    page.get_by_role("button", name="Continue").click()


def test_from_the_landing_page_to_chatting_with_pulse(house):
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = context.new_page()
        page.goto(house.instance.app_url)
        page.screenshot(path=str(SHOTS / "newcomer-1-landing.png"))
        page.locator("#start-email").fill("jana@nordlicht.test")
        page.locator("#start-email").press("Enter")

        page.get_by_label("Company", exact=True).fill("Nordlicht")
        page.get_by_label("Your name").fill("Jana")
        expect(page.get_by_label("E-mail")).to_have_value("jana@nordlicht.test")
        page.get_by_label("Password", exact=True).fill("green kettle over the hill")
        page.screenshot(path=str(SHOTS / "newcomer-2-sign-up.png"))
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url("**/onboarding*")

        page.locator("[name=about]").fill("We roast coffee in Leipzig.")
        page.locator("[name=facts]").fill(
            "Opening hours: Mon-Fri, 8 to 17\nDelivery: free from 40 EUR\nFounded: 2011")
        go_on(page)
        page.locator("[name=name]").fill("Pulse")
        page.locator("[name=role]").fill("Marketing assistant")
        page.locator("[name=duties]").fill("Draft the newsletter")
        go_on(page)
        page.get_by_label("Warm and friendly").check()
        go_on(page)
        page.locator("[name=always]").fill("Say which document a price comes from.")
        go_on(page)
        page.locator("#files").set_input_files({
            "name": "prices.md", "mimeType": "text/markdown",
            "buffer": b"# Prices\n\nKraken package: 49 EUR\n"})
        expect(page.locator("#uploads")).to_contain_text("read it now", timeout=60_000)
        go_on(page)
        page.locator("[name=task]").fill("Sum up what we sell.")
        go_on(page)
        page.screenshot(path=str(SHOTS / "newcomer-3-review.png"), full_page=True)
        page.get_by_role("button", name="Hire Pulse").click()
        page.screenshot(path=str(SHOTS / "newcomer-4-hire.png"))
        expect(page.get_by_role("heading", name="Pulse is here")).to_be_visible(timeout=PATIENCE_MS)
        page.screenshot(path=str(SHOTS / "newcomer-5-here.png"))

        page.get_by_role("button", name="Ask it a few questions").click()
        page.get_by_role("button", name="Start the quiz").click()
        score = page.locator("#score .number")
        expect(score).to_be_visible(timeout=180_000)
        right, of = map(int, score.inner_text().split(" of "))
        assert right == of >= 5, page.locator(".answers").inner_text()
        page.screenshot(path=str(SHOTS / "newcomer-6-quiz.png"), full_page=True)

        jana = Visitor(house, page)
        row = until(lambda: next((e for e in house.status.employees()
                                  if e.name == "Pulse" and e.desired_state == "running"), None),
                    "Pulse", 10, house)
        jana.open(row.id)
        jana.say("SAY Good morning Jana", "(scripted) Good morning Jana")
        jana.watching()
        jana.shot("newcomer-7-workspace")

        page.goto(f"{house.instance.app_url}/")
        thumbnail = page.locator(f"[data-id='{row.id}'] img").first
        expect(thumbnail).to_be_visible(timeout=30_000)
        until(lambda: thumbnail.evaluate("i => i.naturalWidth") > 0, "a picture of its screen", 20)
        jana.shot("newcomer-8-team")
        context.close()
