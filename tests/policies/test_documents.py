"""Rules over documents, by values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.documents import check_customer, check_platform
from state_repo.documents import Customer, Employee, Model, NetworkPool, Platform, Resources
from state_repo.snapshot import CustomerView

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
    (replace(GOOD, customer=replace(ACME, subnet="10.192.0.128/25")), "overlaps bolt's"),
    (replace(GOOD, customer=replace(ACME, subnet="10.0.0.0/25")), "write a /25 network out of"),
    (replace(GOOD, customer=replace(ACME, subnet="10.192.64.0/24")), "write a /25 network out of"),
    (replace(GOOD, customer=replace(ACME, subnet="10.192.0.1/25")), "has host bits set"),
    (replace(GOOD, customer=replace(ACME, max_employees=500)), "its network has 125 addresses"),
])
def test_each_rule_says_what_is_wrong_and_what_would_be_right(view, says):
    (violation,) = check_customer(view)
    assert says in str(violation) and violation.fix


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


@pytest.mark.parametrize(("network", "says"), [
    (NetworkPool("8.8.0.0/16"), "private"), (NetworkPool("x"), "10.192.0.0/12"),
    (NetworkPool("10.0.0.0/26", 25), "27 or more")])
def test_a_platform_s_network(network, says):
    assert any(says in str(v) for v in check_platform(replace(PLATFORM, network=network)))
