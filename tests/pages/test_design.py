"""The design system: its parts as they look, in both schemes, and what base.js does."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import render_template_string
from playwright.sync_api import expect

from tests.pages.conftest import ONE_LOOK, PHONE
from webapp import shell
from webapp.access import access

PARTS = Path(__file__).with_name("parts.html")


@pytest.fixture
def parts(site):
    """A page with every part, served in this test alone."""
    site.app.add_url_rule("/parts", "parts", access("account")(
        lambda: render_template_string(PARTS.read_text())))
    site.customer("acme")
    return "/parts"


@ONE_LOOK
def test_every_part_is_accessible_and_fits(parts, visit, viewport, scheme):
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    ann.go(parts)
    assert ann.violations() == []
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ann.shot(f"parts-{scheme}-{'phone' if viewport is PHONE else 'desktop'}", full=True)
    ann.page.get_by_role("button", name="Open").click()
    expect(ann.page.get_by_role("dialog", name="A question")).to_be_visible()
    assert ann.violations() == []
    ann.shot(f"dialog-{scheme}-{'phone' if viewport is PHONE else 'desktop'}")


def test_tabs_menu_and_times_work_by_keyboard(parts, visit):
    ann = visit("ann@acme.test", locale="en-GB", timezone_id="Asia/Tokyo")
    ann.go(parts)
    page = ann.page
    page.get_by_role("tab", name="One").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Second", exact=True)).to_be_visible()
    expect(page.get_by_role("tab", name="Two")).to_have_attribute("aria-selected", "true")
    expect(page.locator("time")).to_contain_text("years ago")
    assert "12:04:05" in page.locator("time").get_attribute("title")
    page.get_by_text("Your account").focus()
    page.locator(".menu summary").press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).not_to_be_visible()


def test_base_js_asks_before_a_loss_and_reports_errors(parts, visit):
    ann = visit("ann@acme.test")
    ann.go(parts)
    page = ann.page
    page.evaluate("""async () => { const base = await import('/static/base.js');
      window.answer = base.confirmed({title: 'Retire Pulse', text: 'It stops now.', yes: 'Retire',
        typed: 'Pulse', typedLabel: 'Type Pulse'}); }""")
    expect(page.get_by_role("button", name="Retire")).to_be_disabled()
    page.get_by_label("Type Pulse").fill("Pulse")
    page.get_by_role("button", name="Retire").click()
    assert page.evaluate("window.answer") is True
    message = page.evaluate("""async () => { const base = await import('/static/base.js');
      try { await base.send('POST', '/api/v1/customers/acme/employees', {name: ''}); }
      catch (error) { base.toast(error.message, {kind: 'bad'}); return error.status; } }""")
    assert message == 422
    expect(page.get_by_role("status")).to_contain_text("Some fields are not right")
    ann.shot("toast")
    page.context.clear_cookies()
    # Nothing is waited for inside the page: it is left by what is asked.
    page.evaluate("""() => { import('/static/base.js').then(base => base.send(
      'GET', '/api/v1/session').catch(() => {})); }""")
    page.wait_for_url("**/sign-in?next=%2Fparts")


def test_colours_are_the_same_in_python_and_javascript(parts, visit):
    ann = visit("ann@acme.test")
    tones = ann.page.evaluate("""async () => { const base = await import('/static/base.js');
      return ['pulse-7f3k2a', 'ann@acme.test', 'é'].map(base.tone); }""")
    assert tones == [shell.tone(name) for name in ("pulse-7f3k2a", "ann@acme.test", "é")]
