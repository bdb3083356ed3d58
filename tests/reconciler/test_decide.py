"""Every rule of the loop, by literal values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.decide import (
    PLATFORM,
    Applied,
    Drift,
    Seen,
    brake,
    decide,
    digest_of,
    is_expired,
)
from state_repo.documents import Violation
from state_repo.snapshot import CustomerState, Snapshot
from tests.reconciler.examples import acme, employee, platform, snapshot

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DONE = Applied(revision="c0", digest="p", attempted="p")


def settled(state: CustomerState, kept: frozenset[str] = frozenset()) -> Applied:
    digest = digest_of(state, "p", kept, 14, NOW)
    return Applied(revision="c0", digest=digest, attempted=digest)


def run(wanted: Snapshot, applied=None, seen=None, drift=None, **more):
    return decide(wanted, "p", {PLATFORM: DONE} | (applied or {}), seen or {}, drift or {}, NOW,
                  **more)


def test_a_quiet_fleet_gets_no_action():
    assert run(snapshot(acme()), {"customer/acme": settled(acme())}).actions == ()


def test_a_new_customer_is_converged_without_a_refresh():
    (action,) = run(snapshot(acme())).actions
    assert (action.stack, action.cause, action.refresh) == ("customer/acme", "commit", False)


def test_only_the_customer_whose_documents_changed_gets_an_action():
    other = replace(acme(), id="bolt", customer=replace(acme().customer, id="bolt"))
    changed = replace(acme(), digest="changed")
    decision = run(snapshot(changed, other), {"customer/acme": settled(acme()),
                                              "customer/bolt": settled(other)})
    assert [a.stack for a in decision.actions] == ["customer/acme"]


def test_a_changed_platform_is_an_action_of_the_platform_stack():
    decision = decide(snapshot(), "p2", {PLATFORM: DONE}, {}, {}, NOW)
    assert [a.stack for a in decision.actions] == [PLATFORM]


def test_drift_is_repaired_with_a_refresh_and_says_what_drifted():
    gone = Drift("customer/acme", "container", "iw-emp-pulse-aaaaaa", "it is gone")
    (action,) = run(snapshot(acme()), {"customer/acme": settled(acme())},
                    drift={"customer/acme": (gone,)}).actions
    assert (action.cause, action.refresh) == ("drift", True)
    assert action.reason == "container iw-emp-pulse-aaaaaa: it is gone"


def test_a_failure_waits_for_its_backoff_and_a_new_commit_does_not():
    digest = digest_of(acme(), "p", frozenset(), 14, NOW)
    failed = Applied(attempted=digest, failures=2, retry_at=NOW + timedelta(seconds=9))
    assert run(snapshot(acme()), {"customer/acme": failed}).actions == ()
    (late,) = run(snapshot(acme()), {"customer/acme": replace(failed, retry_at=NOW)}).actions
    assert (late.cause, late.refresh) == ("retry", True)
    (new,) = run(snapshot(replace(acme(), digest="new")), {"customer/acme": failed}).actions
    assert new.cause == "commit"


def test_a_full_look_is_due_after_a_while():
    old = replace(settled(acme()), refreshed_at=NOW - timedelta(hours=7))
    (action,) = run(snapshot(acme()), {"customer/acme": old}).actions
    assert (action.cause, action.refresh) == ("refresh", True)


def test_a_corrupt_customer_is_held_at_its_last_good_state_and_still_repaired():
    broken = replace(acme(), digest="broken", violations=(
        Violation("customers/acme/customer.yaml", 3, "spec.maxEmployees", "must be a number",
                  "write a whole number"),))
    known = settled(acme())
    decision = run(snapshot(broken), {"customer/acme": known})
    assert decision.actions == ()
    assert "customer.yaml:3" in decision.corrupt["acme"]
    unread = replace(broken, employees={})
    seen = {"pulse-aaaaaa": Seen("acme", True)}
    assert "acme" not in run(snapshot(unread), {"customer/acme": known}, seen).kept
    gone = Drift("customer/acme", "network", "iw-net-acme", "it is gone")
    (action,) = run(snapshot(broken), {"customer/acme": known},
                    drift={"customer/acme": (gone,)}).actions
    assert (action.revision, action.digest) == ("c0", known.digest)


def test_a_vanished_customer_is_held():
    decision = run(snapshot(), {"customer/acme": settled(acme())})
    assert decision.actions == ()
    assert "vanished" in decision.corrupt["acme"]


def test_a_vanished_employee_is_kept_apart_and_changes_the_digest():
    seen = {"gone-bbbbbb": Seen("acme", True), "pulse-aaaaaa": Seen("acme", True)}
    decision = run(snapshot(acme()), {"customer/acme": settled(acme())}, seen)
    assert decision.kept["acme"] == {"gone-bbbbbb"}
    assert [a.cause for a in decision.actions] == ["commit"]


def many(count: int) -> dict[str, Seen]:
    return {f"e{i}-aaaaaa": Seen("acme", True) for i in range(count)}


def with_running(count: int) -> CustomerState:
    people = {f"e{i}-aaaaaa": employee(f"e{i}-aaaaaa") for i in range(count)}
    return replace(acme(), employees=people)


@pytest.mark.parametrize(("before", "after", "held"), [
    (10, 10, False), (10, 5, False), (10, 4, True), (100, 71, False), (100, 69, True),
])
def test_the_brake_holds_what_would_stop_too_many(before, after, held):
    wanted = snapshot(with_running(after))
    assert (brake(wanted, many(before), None) is not None) is held


def test_a_held_snapshot_stops_nobody_until_its_commit_is_confirmed():
    wanted, seen = snapshot(with_running(0)), many(10)
    known = {"customer/acme": settled(with_running(10))}
    decision = run(wanted, known, seen)
    assert decision.actions == () and "iw confirm" in decision.hold.reason
    confirmed = run(wanted, known, seen, confirmed=wanted.commit)
    assert confirmed.hold is None and [a.cause for a in confirmed.actions] == ["commit"]


def test_a_suspended_customer_and_a_corrupt_one_do_not_trip_the_brake():
    suspended = with_running(10)
    suspended = replace(suspended, customer=replace(suspended.customer, suspended=True))
    assert brake(snapshot(suspended), many(10), None) is None
    broken = replace(with_running(0), violations=(Violation("f", 1, "x", "bad", "good"),))
    assert brake(snapshot(broken), many(10), None) is None


def test_who_lost_a_seat_does_not_trip_the_brake():
    people = with_running(10).employees
    unseated = {name: replace(e, state="paused", seat=False) for name, e in people.items()}
    assert brake(snapshot(replace(acme(), employees=unseated)), many(10), None) is None
    paused = {name: replace(e, state="paused") for name, e in people.items()}
    assert brake(snapshot(replace(acme(), employees=paused)), many(10), None) is not None


def test_grace_ends_with_time_and_changes_the_digest():
    retired = replace(employee(), state="retired", retired_at="2026-04-01T00:00:00+00:00")
    state = replace(acme(), employees={retired.id: retired})
    early = datetime(2026, 4, 10, tzinfo=UTC)
    assert not is_expired(retired, 14, early) and is_expired(retired, 14, NOW)
    assert digest_of(state, "p", frozenset(), 14, early) != digest_of(
        state, "p", frozenset(), 14, NOW)


@given(st.integers(0, 60), st.integers(0, 60))
def test_nobody_is_stopped_without_the_brake_having_agreed(before, after):
    """Whatever the numbers: either the snapshot is held, or it stops at most what is allowed."""
    after = min(before, after)
    wanted = snapshot(with_running(after))
    stopped, limits = before - after, platform().brakes
    if brake(wanted, many(before), None) is None:
        assert stopped <= limits.max_stop_count or (
            stopped * 100 <= limits.max_stop_percent * before)
