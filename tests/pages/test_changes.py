"""The engineers' pages in a real browser: a change is read, talked about, approved, merged and
rolled back. Git is real, the plan's engine is faked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from state_repo import changes
from state_repo.parsing import dump
from tests.pages.conftest import ENGINEER, ENGINEERS_LOOK, ONE_LOOK, PASSWORD, PHONE
from tests.rows import put_receipt
from tests.webapp.test_reviews import fake_plan, propose
from webapp import accounts


@pytest.fixture
def store(site, reconciler):
    site.customer("acme")
    pulse = site.employee("acme", "Pulse")
    for name in ("Eve", "Max"):
        accounts.ensure(site.instance, f"{name.lower()}@iw.test", PASSWORD, customer=None,
                        role="engineer")
    changed = [{"op": "replace", "type": "docker:index/container:Container",
                "name": f"employee-{pulse}", "fields": ["memory"], "values": [
                    {"field": "memory", "old": "3221225472", "new": "4294967296"}]}]
    reconciler.plan = lambda name: fake_plan(site.store, name, changed) | {
        "cost": {"models_usd": 15.0}}
    return site.store


def loaded(visitor):
    expect(visitor.page.get_by_role("heading", name="Merge", exact=True)).to_be_visible()


@ENGINEERS_LOOK
def test_a_change_is_accessible_and_fits(store, visit, viewport, scheme):
    look = f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    eve = visit("eve@iw.test", viewport=viewport, color_scheme=scheme)
    eve.go("/changes")
    expect(eve.page.get_by_text("Nothing waits for a review")).to_be_visible()
    propose(store, "team/give-pulse-more-memory")
    eve.go("/changes")
    assert eve.violations() == []
    eve.shot(f"changes-{look}", full=True)
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.page.get_by_role("link", name="More", exact=True).click()
    loaded(eve)
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"change-{look}", full=True)


def test_from_the_list_to_main_and_back(store, visit):
    propose(store)
    eve, max_ = visit("eve@iw.test"), visit("max@iw.test")
    eve.go("/changes/more")
    loaded(eve)
    expect(eve.page.get_by_text("is interrupted")).to_be_visible()
    expect(eve.page.get_by_text("spec.resources.memoryMb")).to_be_visible()
    expect(eve.page.get_by_role("button", name="Approve this plan")).to_be_disabled()
    expect(eve.page.get_by_role("button", name="Merge")).to_be_disabled()
    eve.page.get_by_label("Comment").fill("It ran out of memory twice.")
    eve.page.get_by_role("button", name="Comment").click()
    expect(eve.page.get_by_text("It ran out of memory twice.")).to_be_visible()
    max_.go("/changes")
    max_.page.get_by_role("link", name="More", exact=True).click()
    max_.page.get_by_role("button", name="Approve this plan").click()
    expect(max_.page.get_by_text("You approved this plan.")).to_be_visible()
    eve.page.reload()
    eve.page.get_by_role("button", name="Merge").click()
    expect(eve.page.get_by_text("Merged.")).to_be_visible()
    (pulse,) = store.snapshot().customers["acme"].employees.values()
    assert pulse.resources.memory_mb == 4096
    eve.shot("changes-merged")
    eve.page.get_by_role("button", name="Roll back More").click()
    loaded(eve)
    expect(eve.page.get_by_role("heading", name='Roll back "More"')).to_be_visible()
    eve.page.get_by_role("button", name="Close without merging").click()
    eve.page.get_by_role("dialog").get_by_role("button", name="Close it").click()
    expect(eve.page.get_by_text("The change is closed")).to_be_visible()


def test_a_plan_that_can_not_be_made_says_so_and_can_be_asked_again(store, visit, reconciler):
    propose(store)
    reconciler.fail_with = (409, "not_possible", "the engine is being upgraded")
    eve = visit("eve@iw.test")
    eve.go("/changes/more")
    expect(eve.page.get_by_text("the engine is being upgraded")).to_be_visible()
    reconciler.fail_with = None
    eve.page.get_by_role("button", name="Try again").click()
    loaded(eve)


@pytest.mark.long
def test_what_moved_meanwhile_is_not_merged(store, visit):
    wanted = propose(store)
    eve, max_ = visit("eve@iw.test"), visit("max@iw.test")
    max_.go("/changes/more")
    max_.page.get_by_role("button", name="Approve this plan").click()
    eve.go("/changes/more")
    loaded(eve)
    (pulse,) = store.snapshot().customers["acme"].employees.values()
    propose(store, memory=5120, text=dump(replace(pulse, role="Other")), path=pulse.path)
    before = store.head()
    eve.page.get_by_role("button", name="Merge").click()
    expect(eve.page.get_by_text("not what you looked at any more")).to_be_visible()
    assert store.head() == before and wanted["head"]


@ENGINEERS_LOOK
def test_what_differed_is_told_with_what_it_was_set_back_to(
        store, site, visit, reconciler, viewport, scheme):
    reconciler.ignored = ["memory of acme may differ until 2026-12-01 08:00 UTC: it starves"]
    site.status.add_event("Drift", "container iw-emp-pulse: it was changed by hand (docker update, "
                          "12:03:01 UTC)", "acme")
    put_receipt(
        site.status, stack="customer/acme", revision="a" * 40, cause="drift", result="succeeded",
        subject="container iw-emp-pulse: it was changed by hand", total_s=0.8,
        started_at=datetime.now(UTC), changes=[
            {"op": "update", "type": "t", "name": "employee-pulse", "fields": ["memory"],
             "values": [{"field": "memory", "old": "209715200", "new": "134217728"}]}])
    eve = visit("eve@iw.test", viewport=viewport, color_scheme=scheme)
    eve.go("/changes")
    eve.page.get_by_role("link", name="What differed in reality").click()
    expect(eve.page.get_by_text("memory of acme may differ until")).to_be_visible()
    expect(eve.page.get_by_text("Reality is what was applied")).to_be_visible()
    expect(eve.page.get_by_text("docker update")).to_be_visible()
    expect(eve.page.get_by_text("134217728")).to_be_visible()
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"drift-{scheme}-{'phone' if viewport is PHONE else 'desktop'}", full=True)


def test_history_leads_to_one_company(store, visit):
    changes.create_customer(store, ENGINEER, "bolt", "Bolt", 1)
    eve = visit("eve@iw.test")
    eve.go("/changes")
    eve.page.get_by_label("Company’s id").fill("bolt")
    eve.page.get_by_role("button", name="Show").click()
    expect(eve.page.get_by_role("heading", name="What main became: bolt")).to_be_visible()
    expect(eve.page.get_by_text("Hire Pulse")).to_have_count(0)


@ONE_LOOK
def test_where_a_forge_holds_the_state_repo_its_requests_stand_here(
        store, visit, reconciler, monkeypatch, viewport, scheme):
    page = "https://git.example.com/acme/state"
    monkeypatch.setenv("IW_FORGE", "forgejo")
    monkeypatch.setenv("IW_STATE_REMOTE", f"{page}.git")
    propose(store, "team/give-pulse-more-memory")
    asked = {"number": 12, "branch": "team/give-pulse-more-memory", "head": "a" * 40,
             "title": "Give Pulse more memory", "author": "eve", "page": f"{page}/pulls/12",
             "own": True, "plan": "d" * 16, "state": "success",
             "says": "1 changed, 1 employee stopped or interrupted.", "problem": ""}
    reconciler.forge = {
        "kind": "forgejo", "noun": "pull request", "page": page, "requests_page": f"{page}/pulls",
        "problem": "", "left_out": 0, "looked_at": "2026-11-26T12:00:00Z", "requests": [
            asked, asked | {"number": 11, "branch": "wider", "title": "Wider limits for everybody",
                            "state": "failure", "says": "2 things to correct first."},
            asked | {"number": 9, "branch": "fork", "title": "From a fork", "own": False,
                     "state": "error", "says": "A fork's branch is not planned: push it to "
                                               "acme/state itself."}]}
    look = f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    eve = visit("eve@iw.test", viewport=viewport, color_scheme=scheme)
    eve.go("/changes")
    expect(eve.page.get_by_role("link", name="Pull request 12")).to_have_attribute(
        "href", f"{page}/pulls/12")
    assert eve.violations() == []
    eve.shot(f"changes-forge-{look}", full=True)
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.page.get_by_role("link", name="Give Pulse more memory", exact=True).click()
    expect(eve.page.get_by_text("It is merged at")).to_be_visible()
    expect(eve.page.get_by_role("link", name="Review pull request 12")).to_be_visible()
    expect(eve.page.get_by_role("button", name="Merge")).to_have_count(0)
    assert eve.violations() == []
    assert eve.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    eve.shot(f"change-forge-{look}", full=True)
