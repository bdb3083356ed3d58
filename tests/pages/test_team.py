"""The team's page: everybody on it, live."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from state_repo import changes
from state_repo.documents import Employee, NetworkPool
from state_repo.parsing import dump
from tests.pages.conftest import ENGINEER, IMAGE, LOOKS, PASSWORD, PHONE
from tests.pages.reconciler_fake import reconciler  # noqa: F401 - a fixture
from tests.rows import put_employee
from webapp import accounts

ROLES = ("Marketing assistant", "Research analyst", "Customer support", "Bookkeeping assistant")


def picture(chromium) -> bytes:
    """A made-up screen."""
    page = chromium.new_page(viewport={"width": 480, "height": 300})
    page.set_content("<body style='margin:0;font:13px sans-serif'><p style='background:#dfe4ea;"
                     "margin:0;padding:7px 14px'>news.example</p><h1 style='margin:18px 26px 6px'>"
                     "Tea prices rise</h1>" + "<p style='margin:9px 26px;background:#dde1e6;"
                     "height:9px'></p>" * 9)
    made = page.screenshot(type="jpeg", quality=70)
    page.close()
    return made


def crowd(site, customer: str, many: int) -> list[str]:
    """Employees by the hundred: one commit, and a row each."""
    people = [Employee(f"p{n:03}-aaaaaa", customer, f"Person {n:03}", ROLES[n % 4], IMAGE)
              for n in range(many)]
    site.store.commit(ENGINEER, "A crowd", lambda _: {e.path: dump(e) for e in people}, customer)
    for e in people:
        put_employee(site.status, e.id, customer=customer, name=e.name, role=e.role,
            desired_state="running",
            sync_status="Synced", health_status="Healthy", reason="", address="10.192.0.2")
    return [e.id for e in people]


@LOOKS
def test_the_team_is_shown_and_accessible(
        site, reconciler, visit, chromium, viewport, scheme):  # noqa: F811
    site.customer("acme", 10)
    now = datetime.now(UTC)
    pulse = site.employee("acme", "Pulse")
    nova = site.employee("acme", "Nova", "Research analyst")
    site.employee("acme", "Echo", "Customer support", asleep_since=now)
    site.employee("acme", "Quill", "Bookkeeping assistant", health_status="Progressing",
                  sync_status="OutOfSync", reason="its container is being made",
                  deadline=now + timedelta(minutes=30))
    site.employee("acme", "Iris", "Data analyst", health_status="Degraded",
                  reason="its health check fails; see `iw logs`, or retry it")
    otto = site.employee("acme", "Otto", "Sales assistant", health_status="Suspended",
                         reason="paused", desired_state="paused")
    changes.pause(site.store, ENGINEER, "acme", otto)
    reconciler.spends(pulse, 4.2, answering=True)
    reconciler.spends(nova, 17.9)
    reconciler.screens[pulse] = picture(chromium)
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    page = ann.page
    card = page.locator(f"[data-id={pulse}]")
    expect(card.get_by_role("heading", name="Pulse")).to_be_visible()
    expect(card).to_contain_text("is answering right now")
    expect(card).to_contain_text("$4.20 of $20.00")
    card.scroll_into_view_if_needed()
    expect(card.locator("img")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    for words in ("Asleep", "wakes when you open it", "Its workplace", "Needs attention",
                  "it does not answer as it should", "Paused by you"):
        # Cards below the screen are not drawn, and then have no inner text.
        expect(page.locator("#list")).to_contain_text(words, ignore_case=True)
    for words in ("iw logs", "container"):
        expect(page.locator("#list")).not_to_contain_text(words)
    expect(page.locator("[data-group=starting] .clock")).to_have_text(re.compile(r"\d+\s?s"))
    assert ann.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ann.shot(f"team-{scheme}-{'phone' if viewport is PHONE else 'desktop'}",
             full=viewport is PHONE)


def test_nobody_yet_leads_to_the_first_hire(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test")
    ann.page.get_by_role("link", name="Hire your first employee").click()
    expect(ann.page.get_by_role("dialog", name="Hire an employee")).to_be_visible()
    ann.page.keyboard.press("Escape")
    expect(ann.page.get_by_role("heading", name="Nobody works here yet")).to_be_visible()
    assert ann.violations() == []
    ann.shot("team-empty")


def test_search_filter_and_sort_by_keyboard(site, visit):
    site.customer("acme", 10)
    site.employee("acme", "Pulse")
    site.employee("acme", "Echo", "Customer support", asleep_since=datetime.now(UTC))
    site.employee("acme", "Iris", health_status="Degraded", reason="no")
    ann = visit("ann@acme.test")
    page = ann.page
    names = page.locator(".employee:not([hidden]) h2")
    expect(names).to_have_text(["Echo", "Iris", "Pulse"])
    expect(page.get_by_role("button", name="Asleep 1")).to_be_visible()
    page.get_by_role("button", name="Asleep").focus()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["Echo"])
    page.get_by_role("button", name="All").press("Enter")
    page.get_by_label("Sort by").select_option("state")
    expect(names).to_have_text(["Iris", "Pulse", "Echo"])
    page.get_by_role("link", name="Open Iris").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="Open Pulse")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("support")
    expect(names).to_have_text(["Echo"])
    page.keyboard.type(" zzz")
    expect(page.get_by_role("heading", name="Nobody matches")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Search your team")).to_have_value("support zzz")
    page.get_by_role("button", name="Show everybody").click()
    expect(names).to_have_count(3)


@pytest.mark.long
def test_500_employees_an_update_touches_one_card(site, visit):
    """Measured in touched DOM, not in time: what is not touched costs nothing."""
    changes.set_platform(site.store, ENGINEER, "Large", lambda p: replace(
        p, network=NetworkPool(prefix_length=22)))
    site.customer("acme", 600)
    people = crowd(site, "acme", 500)
    ann = visit("ann@acme.test")
    page = ann.page
    expect(page.locator(".employee")).to_have_count(500)
    expect(page.get_by_role("button", name="All 500")).to_be_visible()
    page.evaluate("""() => {
      window.touched = new Set(); window.records = 0;
      new MutationObserver((changes) => { for (const c of changes) {
        window.records += 1;
        const at = c.target instanceof Element ? c.target : c.target.parentElement;
        window.touched.add(at.closest('[data-id]')?.dataset.id ?? at.id);
      } }).observe(document.getElementById('list'),
        {subtree: true, childList: true, attributes: true, characterData: true}); }""")
    put_employee(site.status, people[250], health_status="Degraded", reason="it broke")
    expect(page.locator(f"[data-id={people[250]}]")).to_contain_text("Needs attention")
    page.wait_for_timeout(1500)  # nothing else comes after it
    assert page.evaluate("[...window.touched]") == [people[250]]
    assert page.evaluate("window.records") < 20

    # The search is done when the key's event is: no timer, no request, and only hiding.
    shown = page.evaluate("""() => {
      window.touched.clear(); window.records = 0;
      const find = document.getElementById('find');
      find.value = 'person 123';
      find.dispatchEvent(new Event('input', {bubbles: true}));
      return [...document.querySelectorAll('.employee:not([hidden])')].map((n) => n.dataset.id);
    }""")
    assert shown == [people[123]]
    page.wait_for_timeout(100)
    assert page.evaluate("window.records") == 499, "each hidden once, nothing else"
    assert page.evaluate("getComputedStyle(document.querySelector('.employee'))"
                         ".contentVisibility") == "auto"


def test_an_employee_is_paused_resumed_and_retired(site, visit):
    site.customer("acme")
    pulse = site.employee("acme", "Pulse")
    ann = visit("ann@acme.test")
    page, card = ann.page, ann.page.locator(f"[data-id={pulse}]")
    page.get_by_role("button", name="More for Pulse").press("Enter")
    expect(page.get_by_role("menuitem", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card).to_contain_text("Being paused")
    put_employee(site.status, pulse, desired_state="paused", health_status="Suspended",
                                reason="paused")
    expect(card).to_contain_text("Paused by you")
    card.get_by_role("button", name="Resume").click()
    expect(card).to_contain_text("Starting")
    put_employee(site.status, pulse, desired_state="running", health_status="Healthy", reason="")
    expect(card).to_contain_text("At work")

    page.get_by_role("button", name="More for Pulse").click()
    page.get_by_role("menuitem", name="Retire").click()
    box = page.get_by_role("dialog", name="Retire Pulse?")
    kept = datetime.now(UTC) + timedelta(days=14)
    expect(box).to_contain_text("kept until")
    expect(box).to_contain_text(str(kept.year))
    expect(box.get_by_role("button", name="Retire")).to_be_disabled()
    box.get_by_label("Type Pulse to confirm").fill("Pulse")
    assert ann.violations() == []
    ann.shot("team-retire")
    box.get_by_role("button", name="Retire").click()
    expect(page.locator("#seats")).to_have_text("0 of 5 seats taken")
    state = site.store.read_customer(site.store.head(), "acme").employees[pulse].state
    assert state == "retired"


def test_the_stream_s_own_events_are_followed(site, visit):
    """`employee`, `gone` and `seats` beside `team`: from a stream made up here."""
    site.customer("acme")
    pulse = site.employee("acme", "Pulse")
    ann = visit("ann@acme.test")
    page = ann.page
    expect(page.locator(".employee")).to_have_count(1)
    one = page.evaluate("""async (id) => (await (await fetch(
      `/api/v1/customers/acme/employees/${id}`)).json()).employee""", pulse)
    changed = one | {"name": "Pulsar"}
    fresh = one | {"id": "nova-aaaaaa", "name": "Nova"}
    lines = [f"event: team\ndata: {json.dumps([one])}\n\n",
             f"event: employee\ndata: {json.dumps(changed)}\n\n",
             f"event: employee\ndata: {json.dumps(fresh)}\n\n",
             'event: seats\ndata: {"seats": 9, "seats_taken": 2, "suspended": true}\n\n']
    page.route("**/events/stream", lambda route: route.fulfill(
        body="retry: 100000\n\n" + "".join(lines), content_type="text/event-stream"))
    page.reload()
    expect(page.locator(".employee h2")).to_have_text(["Nova", "Pulsar"])
    expect(page.locator("#seats")).to_have_text("2 of 9 seats taken")
    expect(page.get_by_text("Your company is suspended")).to_be_visible()
    lines.append(f'event: gone\ndata: {{"id": "{pulse}"}}\n\n')
    page.reload()
    expect(page.locator(".employee h2")).to_have_text(["Nova"])
    expect(page.get_by_text("The connection was lost")).to_be_visible()


def test_a_viewer_is_offered_nothing_to_change(site, visit):
    site.customer("acme")
    site.employee("acme", "Pulse", health_status="Degraded", reason="no")
    accounts.ensure(site.instance, "vic@acme.test", PASSWORD, customer="acme", role="viewer")
    vic = visit("vic@acme.test")
    expect(vic.page.get_by_role("link", name="Open Pulse")).to_be_visible()
    expect(vic.page.locator("[data-group=attention]")).to_have_count(1)
    for name in ("Hire", "More", "Try again"):
        expect(vic.page.get_by_role("button", name=name)).to_have_count(0)
    expect(vic.page.get_by_role("link", name="Hire")).to_have_count(0)
    assert vic.violations() == []
