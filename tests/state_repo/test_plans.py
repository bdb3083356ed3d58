"""A change of plan is one commit: seats, who loses theirs, and what each may have."""

from __future__ import annotations

import pytest

from policies.documents import check_customer
from state_repo import changes
from state_repo.changes import ChangeError, Terms
from state_repo.documents import Plan, PlanLimits, Platform, Resources, SeatRange
from state_repo.instance import Instance
from state_repo.store import Author, RejectedError, Store

ANN = Author("Ann", "ann@iw.test")
PLANS = {"small": Plan("Small", 1000, seats=SeatRange(1, 1, 5), limits=PlanLimits(0.5, 512),
                       model_budget_usd=5.0),
         "large": Plan("Large", 5000, seats=SeatRange(1, 1, 50), limits=PlanLimits(2.0, 4096),
                       model_budget_usd=50.0)}


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store.open_or_create(Instance(id="0badcafe", data=tmp_path), check_customer)
    changes.set_platform(made, ANN, "P", lambda _: Platform(
        images={"employee": f"x@sha256:{'a' * 64}"}, plans=PLANS, defaults=Resources(1.0, 1024),
        warm_per_customer=1))
    changes.create_customer(made, ANN, "acme", "Acme", 0)
    return made


def become(store: Store, *terms, **more) -> None:
    changes.set_plan(store, ANN, "acme", "Plan", lambda _: Terms(*terms, **more))


def people(store: Store):
    return {e.name: e for e in store.snapshot().customers["acme"].employees.values()}


def test_who_is_hired_gets_what_the_plan_gives(store):
    become(store, "small", 2, False)
    pulse, _ = changes.hire(store, ANN, "acme", "Pulse", "M")
    assert (pulse.resources.cpus, pulse.resources.memory_mb) == (0.5, 512)
    assert pulse.model.monthly_budget_usd == 5.0
    with pytest.raises(RejectedError, match="the plan small allows at most 512"):
        changes.hire(store, ANN, "acme", "Echo", "M", resources=Resources(0.5, 2048))


def test_a_larger_plan_raises_budgets_that_followed_the_old_one_and_a_smaller_one_lowers_all(store):
    become(store, "large", 3, False)
    changes.hire(store, ANN, "acme", "Pulse", "M", resources=Resources(2.0, 4096))
    become(store, "small", 3, False)
    pulse = people(store)["Pulse"]
    assert (pulse.resources.cpus, pulse.resources.memory_mb) == (0.5, 512)
    assert pulse.model.monthly_budget_usd == 5.0
    become(store, "large", 3, False)
    assert people(store)["Pulse"].model.monthly_budget_usd == 50.0
    assert people(store)["Pulse"].resources.memory_mb == 512  # a size is chosen, never given


def test_who_loses_a_seat_is_paused_and_takes_one_again_by_being_resumed(store):
    become(store, "small", 2, False)
    pulse, echo = (changes.hire(store, ANN, "acme", name, "M")[0] for name in ("Pulse", "Echo"))
    with pytest.raises(RejectedError, match="2 employees would hold a seat"):
        become(store, "small", 1, False)
    become(store, "small", 1, False, unseat=(echo.id,))
    assert people(store)["Echo"].state == "paused" and not people(store)["Echo"].seat
    assert people(store)["Pulse"].state == "running"
    with pytest.raises(RejectedError):
        changes.resume(store, ANN, "acme", echo.id)
    changes.pause(store, ANN, "acme", pulse.id)
    with pytest.raises(RejectedError):  # a pause of one's own keeps the seat
        changes.resume(store, ANN, "acme", echo.id)
    become(store, "small", 2, False)
    assert changes.resume(store, ANN, "acme", echo.id)[0].seat


def test_nobody_is_hired_by_a_suspended_company(store):
    become(store, "small", 2, True)
    with pytest.raises(ChangeError, match="suspended"):
        changes.hire(store, ANN, "acme", "Pulse", "M")


def test_what_is_so_already_is_no_commit(store):
    become(store, "small", 2, False)
    head = store.head()
    become(store, "small", 2, False)
    assert store.head() == head
