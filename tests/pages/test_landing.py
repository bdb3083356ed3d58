"""The landing page and its neighbours, as strangers see them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from state_repo import changes
from state_repo.documents import Plan, PlanLimits, SeatRange
from tests.pages.conftest import ENGINEER, LOOKS, PHONE

PLANS = {
    "starter": Plan("Starter", 4900, trial_days=14, seats=SeatRange(1, 1, 3),
                    description="One employee, to see what it can do for you.",
                    limits=PlanLimits(1.0, 3072), model_budget_usd=10.0),
    "team": Plan("Team", 7900, trial_days=14, seats=SeatRange(3, 1, 20),
                 description="A few employees that share what your company knows.",
                 limits=PlanLimits(2.0, 4096), model_budget_usd=25.0),
    "business": Plan("Business", 14900, seats=SeatRange(10, 5, 100),
                     description="Many employees, with room for heavy work.",
                     limits=PlanLimits(4.0, 8192), model_budget_usd=60.0),
}


@pytest.fixture
def open_site(site):
    """A site that sells seats to whoever comes."""
    changes.set_platform(site.store, ENGINEER, "Plans", lambda old: replace(old, plans=PLANS))
    return site


@LOOKS
def test_the_landing_page_is_accessible_and_fits(open_site, visit, viewport, scheme):
    stranger = visit(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    stranger.go("/")
    expect(stranger.page.get_by_role("heading", level=1)).to_be_visible()
    assert stranger.violations() == []
    assert stranger.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    name = f"landing-{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    stranger.shot(name)
    stranger.shot(f"{name}-full", full=True)


def test_it_loads_nothing_from_elsewhere(site, visit):
    stranger = visit()
    stranger.go("/")
    print(f"largest contentful paint of the landing page: {stranger.largest_paint_ms():.0f} ms")
    loaded = stranger.page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
    assert loaded and all(name.startswith(site.url) for name in loaded)


def test_sign_up_takes_one_step_and_the_questions_open_by_keyboard(open_site, visit):
    stranger = visit()
    stranger.go("/")
    page = stranger.page
    page.get_by_text("Is it a person?").press("Enter")
    expect(page.get_by_text("You work with it", exact=False).or_(
        page.get_by_text("It is a program")).first).to_be_visible()
    page.get_by_label("Company e-mail").first.fill("sam+x@acme.example")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-up?email=sam%2Bx%40acme.example")


def test_without_a_catalogue_no_price_is_named(site, visit):
    stranger = visit()
    stranger.go("/")
    expect(stranger.page.get_by_text("Prices are set by your operator")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_error_has_a_way_out(site, visit, scheme):
    stranger = visit(color_scheme=scheme, viewport=PHONE)
    stranger.go("/nowhere")
    assert stranger.violations() == []
    stranger.shot(f"error-{scheme}-phone")
    stranger.page.get_by_role("link", name="To the first page").click()
    expect(stranger.page.get_by_role("heading", name="How it works")).to_be_visible()
    stranger.go("/sign-in")
    assert stranger.violations() == []
    stranger.shot(f"sign-in-{scheme}-phone")


@pytest.mark.parametrize("path", ["/privacy", "/terms"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_legal_pages(site, visit, path, scheme):
    stranger = visit(color_scheme=scheme, viewport=PHONE)
    stranger.go(path)
    expect(stranger.page.get_by_text("A template for the operator")).to_be_visible()
    assert stranger.violations() == []
    assert stranger.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    stranger.shot(f"{path[1:]}-{scheme}", full=True)
