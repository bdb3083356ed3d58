"""From subscriptions to seats, by values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from state_repo.documents import Billing, Customer, Employee, Plan, Platform, SeatRange
from state_repo.snapshot import CustomerView
from webapp.entitlement import Entitlement, entitlement, settle, terms
from webapp.purchases import Paid

NOW = datetime(2027, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
PAID = Paid("sub_1", "cus_1", "active", 3, NOW - 30 * DAY, period_end=NOW + 5 * DAY)
RULES = Billing(unpaid_grace_days=7, downgrade_grace_days=3, retention_days=30)


def bad(since: timedelta, status: str = "past_due") -> Paid:
    return replace(PAID, status=status, unpaid_since=NOW - since)


@pytest.mark.parametrize(("paid", "wanted"), [
    (None, None),
    (replace(PAID, status="incomplete"), None),
    (PAID, Entitlement(3, False, "active", NOW + 5 * DAY)),
    (replace(PAID, status="trialing", trial_end=NOW + DAY),
     Entitlement(3, False, "trial", NOW + DAY)),
    (replace(PAID, ends_at=NOW + 2 * DAY), Entitlement(3, False, "ending", NOW + 2 * DAY)),
    (bad(2 * DAY), Entitlement(3, False, "unpaid", NOW + 5 * DAY)),
    (bad(7 * DAY), Entitlement(3, True, "stopped")),
    (bad(DAY, "unpaid"), Entitlement(3, True, "stopped")),
    (replace(PAID, status="paused"), Entitlement(3, True, "stopped")),
    (replace(PAID, status="canceled", ended_at=NOW - DAY),
     Entitlement(3, True, "ended", NOW + 29 * DAY)),
])
def test_what_each_state_gives(paid, wanted):
    assert entitlement(paid, RULES, NOW) == wanted


def live(name: str, days: int, status: str = "active", ended: int | None = None) -> Paid:
    return replace(PAID, id=name, status="canceled" if ended is not None else status,
                   created=NOW + days * DAY, ended_at=None if ended is None else NOW + ended * DAY)


@pytest.mark.parametrize(("found", "kept", "undone"), [
    ([], None, {}),
    ([live("a", 0)], "a", {}),
    ([live("b", 1), live("a", 0)], "a", {"b": True}),  # bought twice: the second is given back
    ([live("a", 0, ended=2), live("b", 3)], "b", {}),  # bought again after an end
    ([live("a", 0, "past_due"), live("b", 1)], "b", {"a": False}),  # a new card, a new purchase
    ([live("a", 0, "past_due"), live("b", 1, "past_due")], "a", {"b": True}),
    ([live("a", 0), live("b", 1, ended=2)], "a", {"b": True}),  # the double ended by itself
    ([live("a", 0, ended=2), live("b", 1)], "b", {}),  # the older was ended in favour of it
    ([live("a", 0, ended=3), live("b", 1, ended=2)], "a", {"b": True}),
    ([live("a", 0, "incomplete")], "a", {}),
    ([live("a", 0, ended=1), live("b", 2, "incomplete")], "a", {}),
])
def test_a_company_has_one_subscription(found, kept, undone):
    settled = settle(found)
    assert (settled.kept.id if settled.kept else None) == kept
    assert {one.id: since is not None for one, since in settled.undo} == undone


IMAGE = f"x@sha256:{'a' * 64}"
PLANS = {"small": Plan("S", 1, seats=SeatRange(1, 1, 2)),
         "large": Plan("L", 1, seats=SeatRange(1, 1, 50))}


def view(*hired: str, seats: int = 5, plan: str = "large") -> CustomerView:
    """Employees named by when they were hired."""
    people = {name: Employee(name, "acme", name, "R", IMAGE, hired_at=name) for name in hired}
    return CustomerView(Platform(images={"employee": IMAGE}, plans=PLANS),
                        Customer("acme", "Acme", seats, "10.192.0.0/25", plan=plan), people)


def wanted(at: CustomerView, seats: int, plan: str = "large", chosen: tuple[str, ...] = (),
           over: datetime | None = None):
    return terms(at, Entitlement(seats, False, "active"), plan, chosen, over, NOW)


def test_seats_for_everybody_are_given_at_once():
    made, over = wanted(view("1", "2"), 4)
    assert (made.seats, made.unseat, over) == (4, (), None)


def test_too_few_seats_hold_everybody_for_a_grace_and_let_nobody_in():
    made, over = wanted(view("1", "2", "3"), 2)
    assert (made.seats, made.unseat, over) == (3, (), NOW + 3 * DAY)
    made, over = wanted(view("1", "2", "3"), 1, over=NOW + DAY)
    assert (made.seats, over) == (3, NOW + DAY)  # the same grace, not a new one


def test_after_the_grace_the_newest_lose_their_seats():
    made, over = wanted(view("1", "2", "3"), 1, over=NOW)
    assert (made.seats, made.unseat, over) == (1, ("3", "2"), None)


def test_who_was_named_goes_at_once():
    made, over = wanted(view("1", "2", "3"), 2, chosen=("1",))
    assert (made.seats, made.unseat, over) == (2, ("1",), None)
    made, over = wanted(view("1", "2", "3"), 1, chosen=("1", "gone"))
    assert (made.seats, made.unseat, over) == (2, ("1",), NOW + 3 * DAY)


def test_a_plan_with_fewer_seats_than_are_held_waits_for_the_grace():
    assert wanted(view("1", "2", "3"), 2, "small")[0].plan == "large"
    made, _ = wanted(view("1", "2", "3"), 2, "small", over=NOW)
    assert (made.plan, made.seats, made.unseat) == ("small", 2, ("3",))


def test_never_more_than_the_plan_has_and_an_unknown_plan_changes_nothing_but_seats():
    assert wanted(view(), 40, "small")[0].seats == 2
    assert wanted(view(), 3, "gone")[0].plan == "large"
    assert wanted(view(), 9999)[0].seats == 50
