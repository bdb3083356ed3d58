"""Onboarding in a real browser: nothing that was answered is lost, and nobody else sees it."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.pages.conftest import ONE_LOOK, PASSWORD, PHONE
from tests.rows import put_employee
from webapp import accounts

# Each step's heading, and what is answered there.
STEPS = {
    "company": ("What should a newcomer know", {
        "about": "We roast coffee.", "facts": "Opening hours: 8 to 17\nDelivery: free from 40 €"}),
    "job": ("What is its job?", {"name": "Pulse", "role": "Marketing assistant",
                                 "duties": "Draft the newsletter"}),
    "voice": ("How does it sound?", {"sample": "Good morning Jana!"}),
    "rules": ("What are the rules?", {"always": "Say which document a price comes from.",
                                      "never": "Promise a delivery date.",
                                      "unsure": "Maria, in the chat"}),
    "knowledge": ("What should it read?", {}),
    "task": ("What does it do first?", {"task": "Sum up what we sell."}),
    "review": ("Is this your employee?", {}),
}
ORDER = list(STEPS)


def at(page, step: str) -> None:
    expect(page.get_by_role("heading", level=1, name=STEPS[step][0])).to_be_visible()
    expect(page.locator("#stages [aria-current=step]")).to_have_attribute("data-step", step)


def answer(page, step: str) -> None:
    at(page, step)
    for name, value in STEPS[step][1].items():
        page.locator(f"[name={name}]").fill(value)
    if step == "voice":
        page.get_by_label("Warm and friendly").check()


def go_on(page) -> None:
    page.get_by_role("button", name="Continue").click()


def holds(page, step: str) -> None:
    for name, value in STEPS[step][1].items():
        expect(page.locator(f"[name={name}]")).to_have_value(value)
    if step == "voice":
        expect(page.get_by_label("Warm and friendly")).to_be_checked()


def kept(page) -> None:
    expect(page.locator("#kept")).to_have_text(
        "Every answer is kept, on this device and in your account.")


@pytest.fixture
def ann(site, visit, reconciler):
    site.customer("acme", seats=2)
    made = visit("ann@acme.test")
    made.go("/onboarding")
    return made


@pytest.mark.long
def test_every_step_survives_a_closed_browser(ann, visit):
    for step in ORDER:
        answer(ann.page, step)
        # Closed at once: what was typed last is not on the server yet.
        state = ann.context.storage_state()
        ann.context.close()
        ann = visit(storage_state=state)
        ann.go("/onboarding")
        at(ann.page, step)
        for before in ORDER[:ORDER.index(step) + 1]:
            holds(ann.page, before)
        if step != "review":
            go_on(ann.page)
            at(ann.page, ORDER[ORDER.index(step) + 1])


@pytest.mark.long
def test_every_step_survives_a_lost_network(ann):
    for step in ORDER[:-1]:
        ann.context.set_offline(True)
        answer(ann.page, step)
        go_on(ann.page)
        at(ann.page, ORDER[ORDER.index(step) + 1])
        expect(ann.page.locator("#kept")).to_contain_text("You are offline.")
        ann.context.set_offline(False)
        kept(ann.page)
        ann.page.reload()
        at(ann.page, ORDER[ORDER.index(step) + 1])
        holds(ann.page, step)
    # At the last step nobody is hired while the answers can't be sent; then it works.
    ann.context.set_offline(True)
    ann.page.get_by_role("button", name="Change First task").click()
    ann.page.locator("[name=task]").fill("Another task")
    go_on(ann.page)
    ann.page.get_by_role("button", name="Hire Pulse").click()
    expect(ann.page.get_by_role("alert")).to_contain_text("nothing is lost")
    ann.context.set_offline(False)
    ann.page.get_by_role("button", name="Hire Pulse").click()
    expect(ann.page.get_by_role("heading", name="Pulse is getting ready")).to_be_visible()


def test_somebody_else_on_the_same_browser_sees_nothing(ann, site):
    answer(ann.page, "company")
    ann.context.clear_cookies()  # the session ended; the browser's storage stays
    accounts.ensure(site.instance, "ben@acme.test", PASSWORD, customer="acme", role="manager")
    ann.sign_in("ben@acme.test")
    ann.go("/onboarding")
    at(ann.page, "company")
    expect(ann.page.locator("[name=about]")).to_have_value("")
    ann.context.clear_cookies()
    ann.sign_in("ann@acme.test")
    ann.go("/onboarding")
    holds(ann.page, "company")


def test_signing_out_takes_the_answers_along_and_the_account_keeps_them(ann):
    answer(ann.page, "company")
    ann.page.locator("details.menu summary").click()
    ann.page.get_by_role("button", name="Sign out").click()
    ann.page.wait_for_url("**/sign-in*")
    assert ann.page.evaluate("Object.keys(localStorage).join()") == ""
    ann.sign_in("ann@acme.test")
    ann.go("/onboarding")
    holds(ann.page, "company")


@pytest.mark.long
def test_another_device_goes_on_and_the_newer_copy_wins(ann, visit):
    answer(ann.page, "company")
    go_on(ann.page)
    kept(ann.page)
    phone = visit("ann@acme.test", viewport=PHONE)
    phone.go("/onboarding")
    at(phone.page, "job")
    phone.page.locator("[name=name]").fill("Nova")
    phone.page.locator("[name=role]").fill("Writer")
    kept(phone.page)
    # The first device was left open. What it writes there is kept, and brings the rest along.
    ann.page.locator("[name=role]").fill("Poet")
    expect(ann.page.locator("[name=name]")).to_have_value("Nova")
    kept(ann.page)
    expect(ann.page.locator("[name=role]")).to_have_value("Poet")
    phone.page.reload()
    expect(phone.page.locator("[name=role]")).to_have_value("Poet")
    # A copy that was changed without a network, while another device was newer: theirs wins where
    # both wrote, and nothing else is lost.
    ann.page.evaluate("""() => { const key = Object.keys(localStorage)[0];
      const kept = JSON.parse(localStorage[key]);
      Object.assign(kept, {version: kept.version + 1, answers: {...kept.answers, name: "Old",
                                                                success: "No change"}});
      globalThis.stale = [key, JSON.stringify(kept)]; }""")
    phone.page.locator("[name=name]").fill("Vega")
    kept(phone.page)
    ann.page.evaluate("() => localStorage.setItem(...stale)")
    state = ann.context.storage_state()
    later = visit(storage_state=state)
    later.go("/onboarding")
    expect(later.page.locator("[name=name]")).to_have_value("Vega")
    expect(later.page.locator("[name=success]")).to_have_value("No change")


def test_two_tabs_of_one_browser_are_one(ann):
    other = ann.context.new_page()
    other.goto(ann.site.url + "/onboarding")
    answer(ann.page, "company")
    holds(other, "company")


def fill_all(page) -> None:
    for step in ORDER[:-1]:
        answer(page, step)
        go_on(page)
    at(page, "review")


def seen(site, employee: str, **fields) -> None:
    put_employee(site.status, employee, **({
        "customer": "acme", "name": "Pulse", "role": "M", "desired_state": "running",
        "reason": "", "address": "10.192.0.2"} | fields))


def test_from_the_first_answer_to_the_quiz(ann, site, reconciler):
    reconciler.put("acme", "prices.csv",
                   b"| Package | Price |\n| --- | --- |\n| Kraken | 49 EUR |\n")
    page = ann.page
    fill_all(page)
    expect(page.locator("#summary")).to_contain_text("Draft the newsletter")
    page.get_by_text("Its instructions, word for word").click()
    expect(page.locator("#instructions")).to_contain_text("**Tone**: Warm and friendly.")
    page.get_by_role("button", name="Hire Pulse").click()
    expect(page.get_by_role("heading", name="Pulse is getting ready")).to_be_focused()
    assert page.evaluate("Object.keys(localStorage).join()") == ""
    (employee,) = site.store.snapshot().customers["acme"].employees.values()
    assert "### Your first task\n\nSum up what we sell." in employee.instructions
    scene = page.locator("#scene")
    expect(page.locator("#hire-steps .now")).to_contain_text("your order was received")
    expect(scene).to_have_attribute("data-stage", "signed")
    seen(site, employee.id, sync_status="OutOfSync", health_status="Progressing",
         reason="its container is being made")
    expect(page.locator("#hire-steps .now")).to_contain_text(
        "its workplace is being set up · for")
    expect(scene).to_have_attribute("data-stage", "desk")
    seen(site, employee.id, sync_status="Synced", health_status="Progressing", reason="it starts")
    expect(scene).to_have_attribute("data-stage", "ready")
    # Closed and opened again: the same step.
    page.goto("about:blank")
    ann.go("/onboarding")
    expect(page.locator("#scene")).to_have_attribute("data-stage", "ready")
    seen(site, employee.id, sync_status="Synced", health_status="Degraded", reason="no memory left")
    expect(page.locator("#hire-steps .failed")).to_contain_text("no memory left")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Try again")).not_to_have_attribute("aria-busy", "true")
    assert site.store.snapshot().customers["acme"].employees[employee.id].restarts == 1
    seen(site, employee.id, sync_status="Synced", health_status="Healthy")
    expect(page.get_by_role("heading", name="Pulse is here")).to_be_visible()
    assert ann.violations() == []

    page.get_by_role("button", name="Ask it a few questions").click()
    expect(page.get_by_role("heading", name="How much did Pulse take in?")).to_be_visible()
    page.goto("about:blank")
    ann.go("/onboarding")  # leads to where it was left
    expect(page.get_by_role("heading", name="How much did Pulse take in?")).to_be_visible()
    expect(page.get_by_text("The demo model answers here")).to_be_visible()
    asked = []

    def clever(_: str, text: str) -> str:
        asked.append(text)
        return "\n".join(f"{n}. Warm and friendly. 49 EUR. Maria." for n in range(1, 9))
    reconciler.answer = clever
    page.get_by_role("button", name="Start the quiz").click()
    expect(page.locator("#score")).to_contain_text("right")
    expect(page.locator(".answer.right")).to_have_count(3)
    assert "prices.csv" in asked[0] and asked[0].startswith("QUIZ\n")
    assert ann.violations() == []
    page.get_by_role("button", name="Start working with Pulse").click()
    page.wait_for_url(f"**/employees/{employee.id}*")
    ann.go("/onboarding")
    at(page, "company")
    expect(page.locator("[name=about]")).to_have_value("")


def test_what_is_missing_is_said_beside_its_field(ann):
    go_on(ann.page)
    go_on(ann.page)
    at(ann.page, "job")
    expect(ann.page.locator("[name=name]")).to_be_focused()
    expect(ann.page.locator("[data-error=role]")).to_contain_text("Marketing assistant")
    assert ann.violations() == []
    ann.page.get_by_role("button", name="Customer support").click()
    expect(ann.page.locator("[name=name]")).to_have_value("Robin")
    ann.page.get_by_role("button", name="Research").click()
    expect(ann.page.locator("[name=role]")).to_have_value("Research assistant")
    ann.page.locator("[name=name]").fill("Ada")
    ann.page.get_by_role("button", name="Office").click()
    expect(ann.page.locator("[name=name]")).to_have_value("Ada")


def test_without_a_free_seat_nothing_is_lost_and_there_is_a_way(ann, site):
    site.employee("acme", "One")
    site.employee("acme", "Two")
    fill_all(ann.page)
    ann.page.get_by_role("button", name="Hire Pulse").click()
    expect(ann.page.get_by_role("alert")).to_contain_text("All seats are taken")
    expect(ann.page.get_by_role("link", name="See plans and seats")).to_be_visible()
    ann.page.reload()
    at(ann.page, "review")


def test_the_keyboard_is_enough(ann):
    page = ann.page
    page.locator("[name=about]").focus()
    page.keyboard.type("We roast coffee.")
    page.get_by_role("button", name="Continue").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What is its job?")).to_be_focused()
    page.locator("[name=name]").focus()
    page.keyboard.type("Pulse")
    page.keyboard.press("Tab")
    page.keyboard.type("Writer")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="How does it sound?")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", name="What is its job?")).to_be_focused()
    expect(page.locator("#stages button.done")).to_have_count(2)


def test_without_javascript_it_is_one_form(site, visit, reconciler):
    site.customer("acme")
    ann = visit("ann@acme.test", java_script_enabled=False)
    ann.go("/onboarding")
    for step in ("company", "job", "rules", "task"):
        for name, value in STEPS[step][1].items():
            ann.page.locator(f"[name={name}]").fill(value)
    ann.page.get_by_role("button", name="Hire").last.click()
    (employee,) = site.store.snapshot().customers["acme"].employees.values()
    assert employee.name == "Pulse" and "Promise a delivery date." in employee.instructions


@ONE_LOOK
def test_it_is_accessible_and_fits(site, visit, reconciler, viewport, scheme):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    ann.go("/onboarding")
    shape = f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    for step in ORDER:
        answer(ann.page, step)
        if (scheme, step) in (("light", step), ("dark", "job")):
            assert ann.violations() == []
            ann.shot(f"onboarding-{step}-{shape}", full=True)
        assert ann.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        if step != "review":
            go_on(ann.page)
    ann.page.get_by_role("button", name="Hire Pulse").click()
    expect(ann.page.locator("#hire-steps .now")).to_be_visible()
    (employee,) = site.store.snapshot().customers["acme"].employees
    moving = "document.getAnimations().filter((a) => a.effect.getTiming().iterations > 1).length"
    assert ann.page.evaluate(moving) == 0
    for stage, fields in {
            "signed": None, "desk": {"sync_status": "OutOfSync", "health_status": "Progressing",
                                     "reason": "its container is being made"},
            "ready": {"sync_status": "Synced", "health_status": "Progressing", "reason":
                      "its chat port is not open yet"},
            "failed": {"sync_status": "Synced", "health_status": "Degraded", "reason":
                       "it ran out of memory"},
            "here": {"sync_status": "Synced", "health_status": "Healthy"}}.items():
        if fields:
            seen(site, employee, **fields)
            expect(ann.page.locator("#scene")).to_have_attribute(
                "data-stage", "ready" if stage == "failed" else stage)
            if stage == "failed":
                expect(ann.page.locator("#hire-steps .failed")).to_be_visible()
        ann.shot(f"onboarding-hire-{stage}-{shape}")
        if scheme == "light" or stage == "here":
            assert ann.violations() == []
    ann.page.get_by_role("button", name="Ask it a few questions").click()
    reconciler.answer = lambda *_: "1. Warm and friendly\n2. Maria\n3. Something else"
    expect(ann.page.get_by_role("button", name="Start the quiz")).to_be_visible()
    assert ann.violations() == []
    ann.shot(f"quiz-empty-{shape}")
    reconciler.pause_s = 0.6
    ann.page.get_by_role("button", name="Start the quiz").click()
    expect(ann.page.get_by_text("Pulse is answering")).to_be_visible()
    ann.shot(f"quiz-waiting-{shape}")
    expect(ann.page.locator("#score")).to_be_visible()
    assert ann.violations() == []
    ann.shot(f"quiz-{shape}", full=True)
    assert json.dumps(ann.page.evaluate("Object.keys(localStorage)")) == "[]"
