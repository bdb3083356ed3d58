"""The API reference in a browser: searched, linked to, by keyboard."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.pages.conftest import ONE_LOOK, PHONE


@ONE_LOOK
def test_the_reference_is_accessible_and_fits(site, visit, viewport, scheme):
    reader = visit(viewport=viewport, color_scheme=scheme)
    reader.go("/api/docs")
    assert reader.violations() == []
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    name = f"api-docs-{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    reader.shot(name)
    reader.go("/api/docs#post-customers-customer-employees")
    reader.page.locator("#post-customers-customer-employees details summary").click()
    reader.shot(f"{name}-call")
    assert reader.violations() == []


def test_search_deep_links_and_keys(site, visit):
    reader = visit()
    reader.go("/api/docs#post-customers-customer-employees")
    page = reader.page
    expect(page.get_by_role("heading", name="Hire an employee").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("archive")
    page.get_by_role("heading", name="A folder as .zip").wait_for()
    expect(page.get_by_role("heading", name="Hire an employee").first).not_to_be_visible()
    expect(page.get_by_text("1 call matches")).to_be_visible()
    page.keyboard.press("Control+A")
    page.keyboard.type("nothing like this")
    expect(page.get_by_text("No call matches")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Hire an employee").first).to_be_visible()
