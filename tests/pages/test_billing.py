"""The pages about money in a real browser, with a fake of Stripe over HTTP and its hosted page."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from state_repo import changes
from state_repo.instance import Instance
from tests.conftest import free_ports
from tests.fake_stripe import FakeStripe
from tests.fake_stripe import serve as serve_stripe
from tests.pages.conftest import DESKTOP, ENGINEER, ONE_LOOK, PHONE, SIZES, Site, serve
from tools.bootstrap import PLANS
from webapp import accounts
from webapp.settings import StripeSettings

GOOD = "a long and odd password 47"


def sells(site: Site, **prices: str) -> None:
    """The first catalogue, with prices."""
    from dataclasses import replace
    changes.set_platform(site.store, ENGINEER, "Plans", lambda p: replace(p, plans={
        name: replace(plan, price_id=prices.get(name), trial_days=0 if prices else 14)
        for name, plan in PLANS.items()}))


TOO_WIDE = """width => document.documentElement.scrollWidth <= width ? [] :
    [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width)
        .map(e => e.outerHTML.slice(0, 120)).slice(-5)"""


def fine(visitor: Any, name: str, viewport: dict[str, int], *, full: bool = False) -> None:
    visitor.page.wait_for_load_state()
    assert visitor.violations() == []
    assert visitor.page.evaluate(TOO_WIDE, viewport["width"]) == []
    visitor.shot(f"billing-{name}-{'phone' if viewport is PHONE else 'desktop'}", full=full)


@pytest.mark.long
@ONE_LOOK
def test_in_the_local_mode_plans_are_chosen_freely(site, visit, reconciler, viewport, scheme):
    sells(site)
    site.customer("acme", seats=0)
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    ann.go("/billing?plan=team")
    page = ann.page
    expect(page.get_by_text("Local mode: nothing is charged.")).to_be_visible()
    fine(ann, f"choose-{scheme}", viewport, full=True)
    page.locator("#plan-team").get_by_label("Seats").fill("3")
    page.get_by_role("button", name="Choose Team").click()
    expect(page.get_by_role("heading", name="Your seats are ready")).to_be_visible()
    fine(ann, f"ready-{scheme}", viewport)
    employees = [site.employee("acme", name) for name in ("Pulse", "Echo", "Nova")]
    reconciler.usage["employees"] = {employees[0]: {
        "settled_usd": 3.214, "reserved_usd": 0, "calls": 1204, "tokens": 1}}
    reconciler.usage["customer"] = reconciler.usage["employees"][employees[0]]
    page.get_by_role("link", name="To billing").click()
    expect(page.get_by_text("3 of 3")).to_be_visible()
    expect(page.get_by_text("$3.21").first).to_be_visible()
    fine(ann, f"plan-{scheme}", viewport, full=True)

    page.get_by_role("link", name="Change plan or seats").click()
    page.get_by_role("spinbutton", name="Seats").fill("1")
    page.get_by_role("button", name="See the price").click()
    expect(page.get_by_text("3 employees, and 1 seat: who is paused?")).to_be_visible()
    expect(page.get_by_role("checkbox", name=re.compile("Nova"))).to_be_checked()
    page.get_by_role("checkbox", name=re.compile("Nova")).uncheck()
    expect(page.get_by_text("Choose 1 more")).to_be_visible()
    page.get_by_role("checkbox", name=re.compile("Pulse")).check()
    fine(ann, f"change-{scheme}", viewport, full=True)
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_text("Your plan was changed.")).to_be_visible()
    people = site.store.snapshot().customers["acme"].employees
    assert [people[e].state for e in employees] == ["paused", "paused", "running"]
    fine(ann, f"changed-{scheme}", viewport, full=True)

    page.get_by_role("button", name="End the plan").click()
    page.get_by_role("dialog").get_by_role("button", name="End the plan").click()
    expect(page.get_by_role("heading", name="Your plan has ended")).to_be_visible()
    expect(page.get_by_role("link", name="Download everything")).to_be_visible()
    expect(page.get_by_role("link", name="Download Pulse’s files")).to_be_visible()
    fine(ann, f"ended-{scheme}", viewport, full=True)
    assert site.store.snapshot().customers["acme"].customer.suspended


@pytest.fixture
def stripe_site(tmp_path) -> Iterator[tuple[Site, FakeStripe, list[str]]]:
    """A site that sells, the fake, and "held": put something in and messages wait."""
    fake, held = FakeStripe({"price_starter": 4900, "price_team": 7900}), []
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports())
    import time
    fake.now = int(time.time())

    def message(event: dict[str, Any]) -> None:
        while held:
            time.sleep(0.05)
        body, signature = fake.signed(event)
        requests.post(f"http://127.0.0.1:{instance.ports['edge']}/webhooks/stripe", data=body,
                      headers={"Stripe-Signature": signature}, timeout=10)
    with serve_stripe(fake, message) as url:
        keys = StripeSettings("sk_test_fake", "whsec_fake", api_base=url)
        for site in serve(instance, stripe=keys):
            sells(site, starter="price_starter", team="price_team")
            yield site, fake, held


@SIZES
def test_from_the_prices_to_a_hire(stripe_site, chromium, viewport):
    from tests.pages.conftest import Visitor
    site, fake, held = stripe_site
    context = chromium.new_context(viewport=viewport)
    context.set_default_timeout(15_000)
    carl = Visitor(site, context, context.new_page())
    page = carl.page
    carl.go("/")
    page.get_by_role("link", name="Start with Team").click()
    page.get_by_label("Company", exact=True).fill("Cube")
    page.get_by_label("Your name").fill("Carl")
    page.get_by_label("E-mail").fill("carl@cube.test")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/billing"))
    fine(carl, "sold", viewport, full=True)
    page.locator("#plan-team").get_by_label("Seats").fill("2")
    page.get_by_role("button", name="Choose Team").click()

    expect(page.get_by_role("heading", name="Fake checkout")).to_be_visible()
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_role("heading", name="Nothing was bought")).to_be_visible()
    fine(carl, "left", viewport)
    page.get_by_role("link", name="Choose a plan").click()
    page.locator("#plan-team").get_by_label("Seats").fill("2")
    page.get_by_role("button", name="Choose Team").click()
    held.append("the messages wait")
    threading.Timer(3.0, held.clear).start()
    fake.faults += ["broken"] * 6  # nor does Stripe answer when it is asked
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_role("heading", name="Getting your seats ready")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Waiting for \d+ seconds"))).to_be_visible()
    assert carl.violations() == []
    carl.shot(f"billing-waiting-{'phone' if viewport is PHONE else 'desktop'}")
    expect(page.get_by_role("heading", name="Your seats are ready")).to_be_visible()
    expect(page.get_by_text("2 seats are free")).to_be_visible()
    carl.go("/hire")
    page.get_by_label("Name", exact=True).fill("Pulse")
    page.get_by_label("Role").fill("Marketing assistant")
    page.get_by_role("button", name="Hire", exact=True).click()
    expect(page.locator("ol.steps > li.done").first).to_be_visible()
    carl.go("/billing")
    expect(page.get_by_text("1 of 2")).to_be_visible()
    expect(page.get_by_role("heading", name="Bills")).to_be_visible()
    fine(carl, "paid", viewport, full=True)
    page.get_by_role("link", name="Change plan or seats").click()
    page.get_by_role("spinbutton", name="Seats").fill("4")
    page.get_by_role("button", name="See the price").click()
    fine(carl, "price", viewport, full=True)
    page.get_by_role("button", name=re.compile(r"^Pay \$")).click()
    expect(page.get_by_text("1 of 4")).to_be_visible()
    context.close()


def test_a_failed_payment_and_its_end_are_said(stripe_site, chromium):
    from tests.pages.conftest import Visitor
    from webapp import buying
    site, fake, _ = stripe_site
    site.customer("acme", seats=0)
    billing = site.app.extensions["iw_billing"]
    made = buying.checkout(billing, "acme", "team", 1, name="Acme", email="ann@acme.test")
    fake.pay(made.id)
    billing.sync("acme")
    site.employee("acme", "Pulse")
    fake.card(billing.row("acme").payer, False)
    subscription = fake.subscriptions()[0]
    fake.advance(31 * 86400)
    fake.bills(subscription["id"])[-1]["created"] -= 31 * 86400 - 3600
    billing.sync("acme")
    context = chromium.new_context(viewport=DESKTOP)
    ann = Visitor(site, context, context.new_page())
    ann.sign_in("ann@acme.test")
    ann.go("/billing")
    expect(ann.page.get_by_text("Your last payment failed.")).to_be_visible()
    fine(ann, "unpaid", DESKTOP, full=True)
    accounts.ensure(site.instance, "eng@iw.test", "correct horse battery", customer=None,
                    role="engineer")
    engineer = Visitor(site, chromium.new_context(viewport=DESKTOP), None)
    engineer.page = engineer.context.new_page()
    from webapp.billing_check import reconcile
    reconcile(billing)
    engineer.sign_in("eng@iw.test")
    engineer.go("/billing")
    expect(engineer.page.get_by_role("heading", name="Billing of all companies")).to_be_visible()
    fine(engineer, "overview", DESKTOP, full=True)
    engineer.context.close()
    context.close()


def test_a_viewer_sees_the_plan_and_changes_nothing(site, visit):
    sells(site)
    site.customer("acme", seats=1)
    accounts.ensure(site.instance, "val@acme.test", "correct horse battery", customer="acme",
                    role="viewer")
    val = visit("val@acme.test")
    val.go("/billing")
    expect(val.page.get_by_text("An owner of your company chooses the plan.")).to_be_visible()
    expect(val.page.get_by_role("button", name=re.compile("Choose"))).to_have_count(0)
    assert val.violations() == []

