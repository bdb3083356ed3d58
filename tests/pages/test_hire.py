"""Hiring: the form in its dialog and on its page, judged by the server's rules; then the steps."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from state_repo import changes
from tests.pages.conftest import ENGINEER, ONE_LOOK, PASSWORD, PHONE
from tests.rows import put_employee
from webapp import accounts


def hired_by(site, name: str):
    found = site.store.read_customer(site.store.head(), "acme").employees.values()
    return next((e for e in found if e.name == name), None)


@ONE_LOOK
def test_from_the_gallery_to_ready(site, visit, viewport, scheme):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    page = ann.page
    page.get_by_role("link", name="Hire an employee").click()
    box = page.get_by_role("dialog")
    box.get_by_role("radio", name=re.compile("Customer support")).check()
    expect(box.get_by_label("Role")).to_have_value("Customer support")
    expect(box.get_by_label("Instructions")).to_have_value(re.compile("our knowledge"))
    expect(box.get_by_role("checkbox", name=re.compile("Customer replies"))).to_be_checked()
    expect(box.get_by_role("checkbox", name=re.compile("Spreadsheets"))).not_to_be_checked()
    box.get_by_role("button", name="Nova").click()
    expect(box.get_by_label("Name", exact=True)).to_have_value("Nova")
    assert ann.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ann.shot(f"hire-form-{scheme}-{'phone' if viewport is PHONE else 'desktop'}")
    box.get_by_role("button", name="Hire", exact=True).click()

    steps = box.locator("ol.steps > li")
    expect(steps).to_have_count(5)
    expect(steps.nth(0)).to_have_class("done")
    expect(steps.nth(1)).to_have_class("now")
    made = hired_by(site, "Nova")
    assert set(made.skills) == {"customer-replies", "inbox-triage", "clear-writing"}
    row = {"customer": "acme", "name": "Nova", "role": made.role, "desired_state": "running",
           "sync_status": "OutOfSync", "health_status": "Progressing",
           "reason": "its container is being made"}
    put_employee(site.status, made.id, **row)
    expect(steps.nth(2)).to_contain_text(re.compile(r"its workplace is being set up, \d+\s?s"))
    expect(page.get_by_role("dialog", name="Nova is on the way")).to_be_visible()
    assert ann.violations() == []
    ann.shot(f"hire-steps-{scheme}-{'phone' if viewport is PHONE else 'desktop'}")
    put_employee(site.status, made.id, container_id="c", sync_status="Synced",
                                reason="it started and gets ready")
    expect(steps.nth(3)).to_have_class("now")
    put_employee(site.status, made.id, health_status="Healthy", reason="")
    expect(box.get_by_role("link", name="Open Nova")).to_be_visible()
    expect(box.locator("li.done")).to_have_count(5)
    expect(page.locator(f"[data-id={made.id}]")).to_have_count(1)


def test_what_is_wrong_is_said_while_one_types_and_nothing_is_lost(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test")
    page = ann.page
    ann.go("/hire")
    page.get_by_label("Instructions").fill("Mine.")
    page.get_by_label("Monthly budget").fill("-5")
    expect(page.get_by_text("Name an amount from 0 to 100,000 US dollars.")).to_be_visible()
    expect(page.get_by_text("Give it a name, so that you can call it.")).to_have_count(0)
    page.get_by_role("button", name="Hire", exact=True).click()
    expect(page.get_by_text("Give it a name, so that you can call it.")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
    assert ann.violations() == []
    ann.shot("hire-wrong")
    page.get_by_role("radio", name=re.compile("Research analyst")).check(force=True)
    expect(page.get_by_label("Instructions")).to_have_value("Mine.")
    expect(page.get_by_label("Role")).to_have_value("Research analyst")
    page.get_by_label("Monthly budget").fill("5")
    page.get_by_label("Name", exact=True).fill("Echo")
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
    page.get_by_role("button", name="Hire", exact=True).click()
    page.wait_for_url(re.compile("/hire/echo-"))
    made = hired_by(site, "Echo")
    assert (made.instructions, made.model.monthly_budget_usd) == ("Mine.", 5.0)


def test_a_closed_dialog_keeps_what_was_typed_and_a_hire_goes_on(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test")
    page, opener = ann.page, ann.page.get_by_role("link", name="Hire an employee")
    opener.click()
    page.get_by_label("Name", exact=True).fill("Echo")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    opener.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Echo")
    page.get_by_label("Role").fill("Sales")
    page.get_by_role("button", name="Hire", exact=True).click()
    expect(page.locator("ol.steps > li")).to_have_count(5)
    page.get_by_role("link", name="To the team").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name="Echo")).to_be_visible()
    opener.click()
    expect(page.locator("ol.steps > li.now")).to_be_visible()
    made = hired_by(site, "Echo")
    put_employee(site.status, made.id, customer="acme", name="Echo", role="Sales",
        desired_state="running",
        sync_status="Synced", health_status="Healthy", reason="", container_id="c")
    expect(page.get_by_role("dialog").get_by_role("link", name="Open Echo")).to_be_visible()
    page.keyboard.press("Escape")
    opener.click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("")


def test_a_step_that_failed_says_why_and_is_tried_again(site, visit):
    site.customer("acme")
    made = site.employee("acme", "Echo", health_status="Missing", sync_status="OutOfSync",
                         reason="no room on the disk; tried again at 10:00:00 UTC", address=None)
    ann = visit("ann@acme.test")
    ann.go(f"/hire/{made}")
    page = ann.page
    failed = page.locator("ol.steps > li.failed")
    expect(failed).to_contain_text("no room on the disk")
    assert ann.violations() == []
    ann.shot("hire-failed")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Tried again: a new workplace")).to_be_visible()
    assert site.store.read_customer(site.store.head(), "acme").employees[made].restarts == 1
    put_employee(site.status, made, health_status="Progressing",
                                reason="its container is being made")
    expect(page.locator("ol.steps > li.now")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_without_a_seat_there_is_a_way_to_more(site, visit):
    site.customer("acme", seats=1)
    site.employee("acme", "Pulse")
    ann = visit("ann@acme.test")
    ann.page.get_by_role("link", name="Hire an employee").click()
    box = ann.page.get_by_role("dialog")
    expect(box).to_contain_text("Your only seat is taken.")
    expect(box.get_by_role("link", name="Add seats")).to_have_attribute("href", "/billing")
    assert ann.violations() == []
    ann.shot("hire-no-seats")
    accounts.ensure(site.instance, "max@acme.test", PASSWORD, customer="acme", role="manager")
    boss = visit("max@acme.test")
    boss.go("/hire")
    expect(boss.page.get_by_text("An owner of your company can add seats")).to_be_visible()
    expect(boss.page.get_by_role("link", name="Add seats")).to_have_count(0)
    # A seat that is bought meanwhile opens the form.
    changes.set_seats(site.store, ENGINEER, "acme", 2)
    boss.page.reload()
    expect(boss.page.get_by_role("button", name="Hire", exact=True)).to_be_visible()


def test_it_works_without_javascript(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test", java_script_enabled=False)
    page = ann.page
    page.get_by_role("link", name="Hire an employee").click()
    page.get_by_role("radio", name=re.compile("Data analyst")).check(force=True)
    page.get_by_role("button", name="Hire", exact=True).click()
    expect(page.get_by_text("Give it a name, so")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Echo")
    page.get_by_role("button", name="Hire", exact=True).click()
    expect(page.get_by_text("Your order is written down")).to_be_visible()
    made = hired_by(site, "Echo")
    assert made.role == "Data analyst" and "spreadsheets" in made.skills
