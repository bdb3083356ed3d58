"""The operator's page in a real browser, and the public one about how well everything is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.pages.conftest import ENGINEERS_LOOK, PASSWORD, PHONE
from tests.rows import put_receipt
from webapp import accounts

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def pulse(site, reconciler):
    site.customer("acme")
    accounts.ensure(site.instance, "eve@iw.test", PASSWORD, customer=None, role="engineer")
    pulse = site.employee("acme", "Pulse")
    put_receipt(site.status, stack="customer/acme", revision="c" * 40, cause="commit",
                author="Ann", subject="Hire Pulse for acme", result="succeeded", message="",
                changes=[], commits=[], started_at=datetime.now(UTC), detect_s=0.1, queue_s=0.1,
                plan_s=0.3, apply_s=2.0, verify_s=10.0, total_s=12.5)
    reconciler.overview["alerts"]["firing"] = [
        {"name": "EmployeeDown", "summary": f"Employee {pulse} of acme does not answer.",
         "runbook": "docs/runbooks/EmployeeDown.md", "since": "2026-11-27T01:00:00Z",
         "whose": {"employee": pulse, "customer": "acme"}}]
    reconciler.journal = [
        {"time": "2026-11-27T01:00:00+00:00", "level": "INFO", "process": "webapp",
         "message": "POST /api/v1/customers/acme/employees: 201 in 80 ms", "trace": TRACE},
        {"time": "2026-11-27T01:00:01+00:00", "level": "ERROR", "process": "reconciler",
         "message": f"{pulse} does not answer", "trace": TRACE, "employee": pulse,
         "exception": "Traceback\nTimeoutError"}]
    return pulse


@ENGINEERS_LOOK
def test_the_fleet_at_a_glance_is_accessible_and_fits(pulse, visit, viewport, scheme):
    look = f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    eve = visit("eve@iw.test", viewport=viewport, color_scheme=scheme)
    eve.go("/operations")
    expect(eve.page.locator(".chart canvas").first).to_be_visible()
    expect(eve.page.get_by_text("Nearly used up")).to_be_visible()
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"operations-{look}", full=True)
    eve.go(f"/operations/log?about={pulse}")
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"operations-log-{look}", full=True)
    eve.go("/status")
    expect(eve.page.get_by_text("Everything works.")).to_be_visible()
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"status-{look}", full=True)


def test_from_an_alert_to_the_culprits_log_in_two_clicks_and_on_to_its_trace(pulse, visit):
    eve = visit("eve@iw.test")
    eve.go("/")
    eve.page.get_by_role("link", name="Operations").click()
    eve.page.get_by_role("link", name=f"Log of {pulse}").click()
    expect(eve.page.get_by_text(f"{pulse} does not answer")).to_be_visible()
    expect(eve.page.get_by_text("TimeoutError")).to_be_visible()
    expect(eve.page.get_by_text("what it printed")).to_be_visible()
    eve.page.get_by_role("link", name=TRACE[:10]).click()
    expect(eve.page.get_by_text("201 in 80 ms")).to_be_visible()


def test_the_page_keeps_up_and_says_when_it_can_not(pulse, visit, reconciler):
    eve = visit("eve@iw.test")
    eve.page.clock.install()
    eve.go("/operations")
    expect(eve.page.get_by_text("EmployeeDown", exact=True)).to_be_visible()
    reconciler.overview["alerts"]["firing"] = []
    eve.page.clock.run_for(11_000)
    expect(eve.page.get_by_text("Nothing is wrong")).to_be_visible()
    reconciler.fail_with = (503, "away", "It is away.")
    eve.page.clock.run_for(11_000)
    expect(eve.page.get_by_text("The reconciler does not answer")).to_be_visible()
    eve.page.get_by_role("button", name="1 day").click()
    expect(eve.page.get_by_text("no figures to draw")).to_be_visible()


def test_a_customer_sees_how_well_its_employee_was_there(pulse, visit):
    ann = visit("ann@acme.test")
    ann.go(f"/employees/{pulse}#activity")
    expect(ann.page.get_by_text("Answered 75% of the time")).to_be_visible()
    expect(ann.page.locator(".uptime .days li")).to_have_count(14)
