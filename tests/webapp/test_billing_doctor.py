"""`iw billing doctor`: each thing that can be set up wrongly is found, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from state_repo import changes
from tests.webapp.billing_world import ENGINEER, World
from webapp.billing_admin import answer
from webapp.billing_doctor import examine
from webapp.payments import API_VERSION
from webapp.purchases import HANDLED

URL = "https://app.iw.example/webhooks/stripe"


def endpoint(**fields: Any) -> dict[str, Any]:
    return {"id": "we_1", "object": "webhook_endpoint", "url": URL, "status": "enabled",
            "enabled_events": sorted(HANDLED), "api_version": API_VERSION} | fields


@pytest.fixture
def world(tmp_path) -> World:
    made = World(tmp_path)
    made.fake.endpoints = [endpoint()]
    made.billing.instance = replace(made.billing.instance, domain="iw.example",
                                    ports=made.billing.instance.ports | {"edge": 443})
    made.billing.payments.clock = lambda: None
    return made


def found(world: World) -> dict[str, tuple[str, str]]:
    return {f.name: (f.result, f.found) for f in examine(world.billing)}


def test_what_is_right_is_ok(world):
    world.reconcile()
    results = found(world)
    assert {name for name, (result, _) in results.items() if result == "fail"} == set()
    assert results["plan large"] == ("ok", "price_large: 2500 usd a month")
    assert results["webhook"][0] == "ok" and "test mode" in results["secret key"][1]


@pytest.mark.parametrize(("change", "name", "says"), [
    ({"endpoints": []}, "webhook", "Stripe has no endpoint"),
    ({"endpoints": [endpoint(status="disabled")]}, "webhook", "is disabled"),
    ({"endpoints": [endpoint(enabled_events=["invoice.paid"])]}, "webhook",
     "is not sent checkout.session"),
    ({"prices": {"price_small": 1000, "price_large": 1}}, "plan large",
     "its amount at Stripe is 1, not 2500"),
    ({"prices": {"price_small": 1000}}, "plan large", "No such price"),
])
def test_what_is_wrong_is_found(world, change, name, says):
    for field, value in change.items():
        setattr(world.fake, field, value)
    result, text = found(world)[name]
    assert result == "fail" and says in text


def test_a_plan_without_a_price_can_t_be_bought(world):
    changes.set_platform(world.store, ENGINEER, "P", lambda p: replace(p, plans={
        **p.plans, "new": replace(p.plans["large"], price_id=None)}))
    assert found(world)["plan new"][0] == "fail"


def test_a_wrong_key_and_a_clock_that_is_off(world, monkeypatch):
    world.fake.handle = lambda *_: (401, {"error": {
        "type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_****"}})
    results = found(world)
    assert results["Stripe"][0] == "fail" and "Invalid API Key" in results["Stripe"][1]
    assert "subscriptions" in results, "our own tables are looked at all the same"


def test_a_clock_that_is_off(world):
    from datetime import timedelta

    from webapp.models import now
    world.billing.payments.clock = lambda: now() - timedelta(minutes=9)
    assert found(world)["clock"][0] == "fail"


def test_what_git_does_not_follow_is_named(world):
    world.subscribe()
    world.billing.set(world.customer, applied=0)
    result, text = found(world)["subscriptions"]
    assert result == "warn" and world.customer in text


def test_the_list_says_the_phase(world):
    world.subscribe("small", 1)
    (row,), code = answer(world.billing, "list")
    assert (row["customer"], row["phase"], code) == (world.customer, "trial", 0)
