"""Rules over documents, by values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.documents import check_customer, check_platform
from state_repo.documents import (
    AlertReceiver,
    Alerts,
    Backups,
    Customer,
    Employee,
    MailServer,
    Model,
    NetworkPool,
    Plan,
    PlanLimits,
    Platform,
    Resources,
    SeatRange,
)
from state_repo.snapshot import CustomerView
from tools import bootstrap

IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
PULSE = Employee("pulse-aaaaaa", "acme", "Pulse", "M", IMAGE)
PLATFORM = Platform(images={"employee": IMAGE})
ACME = Customer("acme", "Acme", 1, "10.192.0.0/25")
GOOD = CustomerView(PLATFORM, ACME, {PULSE.id: PULSE}, {"bolt": "10.192.0.128/25"})


def with_pulse(**fields) -> CustomerView:
    return replace(GOOD, employees={PULSE.id: replace(PULSE, **fields)})


def test_good_documents_pass():
    assert check_customer(GOOD) == [] and check_platform(PLATFORM) == []


@pytest.mark.parametrize(("view", "says"), [
    (replace(GOOD, customer=replace(ACME, max_employees=0)), "1 employees would hold a seat"),
    (with_pulse(resources=Resources(cpus=64)), "spec.resources.cpus: is 64"),
    (with_pulse(resources=Resources(memory_mb=99999)), "spec.resources.memoryMb"),
    (with_pulse(resources=Resources(pids=9999)), "spec.resources.pids"),
    (with_pulse(customer="bolt"), "metadata.customer: is bolt; write acme"),
    (with_pulse(model=Model(name="gpt")), "there is no such model"),
    (with_pulse(skills=("juggling",)), "names 'juggling'"),
    (replace(GOOD, customer=replace(ACME, subnet="10.192.0.128/25")), "overlaps bolt's"),
    (replace(GOOD, customer=replace(ACME, subnet="10.0.0.0/25")), "write a /25 network out of"),
    (replace(GOOD, customer=replace(ACME, subnet="10.192.64.0/24")), "write a /25 network out of"),
    (replace(GOOD, customer=replace(ACME, subnet="10.192.0.1/25")), "has host bits set"),
    (replace(GOOD, customer=replace(ACME, max_employees=500)), "its network has 125 addresses"),
])
def test_each_rule_says_what_is_wrong_and_what_would_be_right(view, says):
    (violation,) = check_customer(view)
    assert says in str(violation) and violation.fix


TEAM = Plan("Team", 7900, seats=SeatRange(1, 1, 2), limits=PlanLimits(2.0, 4096),
            model_budget_usd=20.0)
PAID = replace(GOOD, customer=replace(ACME, plan="team"),
               platform=replace(PLATFORM, plans={"team": TEAM}))


def test_a_plan_s_limits_hold_and_without_a_plan_the_platform_s_alone():
    def with_plan(**fields) -> CustomerView:
        return replace(PAID, employees={PULSE.id: replace(PULSE, **fields)})
    assert check_customer(PAID) == []
    for view, says in (
            (replace(PAID, customer=replace(PAID.customer, plan="gold")), "no such plan"),
            (replace(PAID, customer=replace(PAID.customer, max_employees=3)), "at most 2 seats"),
            (with_plan(resources=Resources(cpus=3)), "resources.cpus: is 3, and the plan team"),
            (with_plan(resources=Resources(memory_mb=5000)), "resources.memoryMb: is 5000"),
            (with_plan(model=Model(monthly_budget_usd=21)), "model.monthlyBudgetUsd: is 21")):
        (violation,) = check_customer(view)
        assert says in str(violation) and violation.fix
    assert check_customer(with_pulse(resources=Resources(cpus=3))) == []


def test_who_was_paused_for_want_of_a_seat_holds_none():
    people = {PULSE.id: PULSE, "p": replace(PULSE, id="p", state="paused", seat=False)}
    assert check_customer(replace(GOOD, employees=people)) == []
    people["p"] = replace(PULSE, id="p", state="paused")
    assert len(check_customer(replace(GOOD, employees=people))) == 1


@pytest.mark.parametrize(("plans", "says"), [
    ({"a": replace(TEAM, seats=SeatRange(1, 2, 3))}, "spec.plans.a.seats: are not in order"),
    ({"a": replace(TEAM, limits=PlanLimits(cpus=9))}, "spec.plans.a.limits.cpus: is 9"),
    ({"a": replace(TEAM, price_id="price_1"), "b": replace(TEAM, price_id="price_1")},
     "price_1 more than once")])
def test_a_catalogue_s_mistakes(plans, says):
    assert any(says in str(v) for v in check_platform(replace(PLATFORM, plans=plans)))


def test_the_first_catalogue_is_good():
    assert check_platform(replace(PLATFORM, plans=bootstrap.PLANS)) == []


def test_who_is_retired_holds_no_seat_and_may_be_any_size():
    gone = with_pulse(state="retired", retired_at="2026-01-01T00:00:00+00:00",
                      resources=Resources(cpus=64))
    assert check_customer(replace(gone, customer=replace(ACME, max_employees=0))) == []


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_seat_limit_holds_for_any_number(seats, working, retired):
    people = [replace(PULSE, id=f"w{i}") for i in range(working)]
    people += [replace(PULSE, id=f"r{i}", state="retired") for i in range(retired)]
    view = replace(GOOD, customer=replace(ACME, max_employees=seats),
                   employees={e.id: e for e in people})
    assert bool(check_customer(view)) is (working > seats)


@pytest.mark.parametrize("alerts, says", [
    (Alerts((AlertReceiver(email="a@iw.test"),)), "write spec.alerts.mail"),
    (Alerts(mail=MailServer("mail.iw.test:25", "b@iw.test", user="iw")), "write both")])
def test_alerts_by_mail_have_a_server(alerts, says):
    assert any(says in str(v) for v in check_platform(replace(PLATFORM, alerts=alerts)))


@pytest.mark.parametrize("place, is_well", [
    ("/mnt/backups", True), ("sftp:me@host:/srv", True), ("s3:https://s3.iw.test:9000/b", True),
    ("rest:https://me:secret@rest.iw.test:8000/", False)])
def test_no_password_of_a_place_for_backups_is_in_git(place, is_well):
    told = check_platform(replace(PLATFORM, backups=Backups(place)))
    assert [v.field for v in told] == ([] if is_well else ["spec.backups.repository"])


@pytest.mark.parametrize(("network", "says"), [
    (NetworkPool("8.8.0.0/16"), "private"), (NetworkPool("x"), "10.192.0.0/12"),
    (NetworkPool("10.0.0.0/26", 25), "27 or more")])
def test_a_platform_s_network(network, says):
    assert any(says in str(v) for v in check_platform(replace(PLATFORM, network=network)))
