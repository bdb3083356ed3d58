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
    Confirmed,
    Decision,
    Drift,
    Hold,
    Seen,
    Wanted,
    decide,
    digest_of,
    is_expired,
    spread,
)
from state_repo.documents import Freeze, Platform, Skill, Violation
from state_repo.snapshot import CustomerState, Snapshot
from tests.reconciler.examples import acme, employee, platform, snapshot

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DONE = Applied(revision="c0", digest="p", attempted="p")


def settled(state: CustomerState, kept: frozenset[str] = frozenset()) -> Applied:
    digest = digest_of(state, "p", kept, 14, NOW)
    return Applied(revision="c0", digest=digest, attempted=digest)


def ran(*states: CustomerState, **more) -> dict[str, Wanted]:
    return {state.id: Wanted(platform(), state, **more) for state in states}


def run(wanted: Snapshot, applied=None, was=None, drift=None, **more) -> Decision:
    return decide(wanted, "p", {PLATFORM: DONE} | (applied or {}), was or {}, drift or {}, NOW,
                  **more)


def test_a_quiet_fleet_gets_no_action():
    assert run(snapshot(acme()), {"customer/acme": settled(acme())}).actions == ()


def test_a_new_customer_is_converged_without_a_refresh():
    (action,) = run(snapshot(acme())).actions
    assert (action.stack, action.cause, action.refresh) == ("customer/acme", "commit", False)


def test_only_the_customer_whose_documents_changed_gets_an_action():
    other = replace(acme(), id="bolt", customer=replace(acme().customer, id="bolt"), employees={})
    changed = replace(acme(), digest="changed")
    decision = run(snapshot(changed, other), {"customer/acme": settled(acme()),
                                              "customer/bolt": settled(other)})
    assert [a.stack for a in decision.actions] == ["customer/acme"]


def test_a_changed_skill_is_an_action_of_those_who_have_it():
    def taught(digest: str) -> Platform:
        return replace(platform(), skills={"notes": Skill(
            "notes", "d", "1.0", ("read",), "e", "# Notes", digest)})
    (id,) = acme().employees
    with_it = replace(acme(), employees={id: replace(acme().employees[id], skills=("notes",))})
    without = replace(acme(), id="bolt", customer=replace(acme().customer, id="bolt"), employees={})
    applied = {"customer/bolt": settled(without), "customer/acme": Applied("c0", digest_of(
        with_it, "p", frozenset(), 14, NOW, skills=taught("old").skills))}
    same, changed = (replace(snapshot(with_it, without), platform=taught(digest))
                     for digest in ("old", "new"))
    assert run(same, applied).actions == ()
    assert [a.stack for a in run(changed, applied).actions] == ["customer/acme"]


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
    assert "customer.yaml:3" in decision.held["acme"]
    unread = replace(broken, employees={})
    assert "acme" not in run(snapshot(unread), {"customer/acme": known}, ran(acme())).kept
    gone = Drift("customer/acme", "network", "iw-net-acme", "it is gone")
    (action,) = run(snapshot(broken), {"customer/acme": known},
                    drift={"customer/acme": (gone,)}).actions
    assert (action.revision, action.digest) == ("c0", known.digest)


def test_a_corrupt_customer_still_stops_whom_readable_documents_stop():
    was = people(3)
    broken = replace(changed(was, 1, state="paused"), digest="broken",
                     violations=(Violation("f", 1, "x", "bad", "good"),))
    decision = run(snapshot(broken), known(was), ran(was))
    (action,) = decision.actions
    assert (action.cause, action.revision) == ("commit", "c1")
    assert "f:1" in decision.held["acme"]
    many = replace(changed(people(9), 7, state="paused"), digest="broken",
                   violations=(Violation("f", 1, "x", "bad", "good"),))
    held = run(snapshot(many), known(people(9)), ran(people(9)))
    assert held.actions == () and held.hold is not None, "and the brake counts them"


def test_a_failure_of_documents_that_are_held_keeps_no_repair_waiting():
    record = replace(settled(acme()), attempted="refused", failures=1, waits_for="policy",
                     retry_at=NOW + timedelta(hours=6))
    gone = Drift("customer/acme", "container", "pulse", "it is gone")
    (action,) = run(snapshot(), {"customer/acme": record}, drift={"customer/acme": (gone,)}).actions
    assert (action.cause, action.digest) == ("drift", record.digest), "it vanished: held"
    assert run(snapshot(), {"customer/acme": record}).actions == ()


@pytest.mark.parametrize("waits_for", ["engine", "policy", "docker"])
def test_what_failed_and_was_taken_back_is_an_action_at_once(waits_for):
    record = replace(settled(acme()), attempted="failed", failures=1, waits_for=waits_for,
                     retry_at=NOW + timedelta(hours=6))
    (action,) = run(snapshot(acme()), {"customer/acme": record}).actions
    assert (action.cause, action.digest, action.refresh) == ("commit", record.digest, True)
    again = replace(record, attempted=record.digest)
    assert run(snapshot(acme()), {"customer/acme": again}).actions == (), "if that fails, it waits"


def test_a_vanished_customer_is_held():
    decision = run(snapshot(), {"customer/acme": settled(acme())})
    assert decision.actions == ()
    assert "vanished" in decision.held["acme"]
    frozen = replace(snapshot(), platform=replace(platform(), freeze=Freeze(
        "we upgrade", "2026-05-02T12:00:00+00:00")))
    decision = run(frozen, {"customer/acme": settled(acme())}, drift={"customer/acme": (
        Drift("customer/acme", "network", "iw-net-acme", "it is gone"),)})
    assert decision.actions == () and "we upgrade" in decision.held["acme"]


def test_a_vanished_employee_is_kept_apart_and_changes_the_digest():
    gone = employee("gone-bbbbbb")
    was = replace(acme(), employees={**acme().employees, gone.id: gone})
    decision = run(snapshot(acme()), {"customer/acme": settled(acme())}, ran(was))
    assert decision.kept["acme"] == {"gone-bbbbbb"}
    assert [a.cause for a in decision.actions] == ["commit"]
    later = run(snapshot(acme()), {}, ran(acme(), kept=frozenset({"gone-bbbbbb"})))
    assert later.kept["acme"] == {"gone-bbbbbb"}, "it stays so until somebody acts"
    over = replace(gone, state="retired", retired_at="2026-01-01T00:00:00+00:00")
    was = replace(acme(), employees={**acme().employees, gone.id: over})
    assert run(snapshot(acme()), {}, ran(was)).kept["acme"] == frozenset(), "its time was over"


# ---- the brake -------------------------------------------------------------------------------

def people(count: int, customer: str = "acme", **changes) -> CustomerState:
    found = {f"e{i}-{customer}": replace(employee(f"e{i}-{customer}", customer), **changes)
             for i in range(count)}
    company = replace(acme().customer, id=customer)
    return replace(acme(), id=customer, customer=company, employees=found, digest=f"{customer}0")


def changed(company: CustomerState, count: int, /, **changes) -> CustomerState:
    """The first `count` of them with other fields."""
    found = {id: replace(e, **changes) if n < count else e
             for n, (id, e) in enumerate(company.employees.items())}
    return replace(company, employees=found, digest=f"{company.id}1")


def known(*states: CustomerState) -> dict[str, Applied]:
    return {f"customer/{state.id}": settled(state) for state in states}


def suspended(state: CustomerState) -> CustomerState:
    return replace(state, customer=replace(state.customer, suspended=True), digest="s")


def without(state: CustomerState, count: int) -> CustomerState:
    return replace(state, digest="w", employees=dict(list(state.employees.items())[count:]))


STOPS = {
    "deleted": lambda s: without(s, 7),
    "paused": lambda s: changed(s, 7, state="paused"),
    "retired": lambda s: changed(s, 7, state="retired", retired_at="2026-05-01T00:00:00+00:00"),
    "suspended": suspended,
    "another image": lambda s: changed(s, 7, image=f"other@sha256:{'b' * 64}"),
    "restarted": lambda s: changed(s, 7, restarts=1),
    "another network": lambda s: replace(s, digest="n", customer=replace(
        s.customer, subnet="10.192.9.0/25")),
}


@pytest.mark.parametrize("way", STOPS)
def test_every_way_to_stop_many_at_once_is_held_for_as_long_as_nobody_agrees(way):
    before = people(9)
    wanted, hold = snapshot(STOPS[way](before)), None
    for _ in range(5):  # a brake that lets go in the second turn is none
        decision = run(wanted, known(before), ran(before), before=hold)
        hold = decision.hold
        assert decision.actions == () and hold is not None
        assert "iw confirm c1" in decision.held["acme"]
    for named in hold.employees:
        assert named in hold.reason
    agreed = Confirmed("c1", hold.employees)
    decision = run(wanted, known(before), ran(before), before=hold, confirmed=agreed)
    assert decision.hold is None and [a.cause for a in decision.actions] == ["commit"]


@pytest.mark.parametrize(("before", "after", "held"), [
    (10, 10, False), (10, 5, False), (10, 4, True), (100, 71, False), (100, 69, True),
])
def test_the_brake_holds_what_would_stop_too_many(before, after, held):
    was = people(before)
    decision = run(snapshot(without(was, before - after)), known(was), ran(was))
    assert (decision.hold is not None) is held


def test_a_hold_lets_everybody_elses_commits_through_and_a_hire_of_its_own_wait():
    was, other = people(9), people(3, "bolt")
    new = employee("new-acme")
    stopped = changed(was, 7, state="paused")
    stopped = replace(stopped, employees={**stopped.employees, new.id: new})
    decision = run(snapshot(stopped, changed(other, 1, role="Sales")), known(was, other),
                   ran(was, other))
    assert [a.stack for a in decision.actions] == ["customer/bolt"]
    assert list(decision.held) == ["acme"]


def test_a_few_stops_elsewhere_pass_a_hold_and_many_join_it():
    was, other = people(9), people(9, "bolt")
    applied, before = known(was, other), ran(was, other)
    stopped = changed(was, 7, state="paused")
    one = run(snapshot(stopped, other), applied, before)
    assert list(one.hold.stops) == ["acme"]
    two = run(snapshot(stopped, changed(other, 2, state="paused")), applied, before,
              before=one.hold)
    assert list(two.hold.stops) == ["acme"]
    assert [a.stack for a in two.actions] == ["customer/bolt"]
    assert two.hold == one.hold, "and the commit to confirm stays the same"
    three = run(snapshot(stopped, without(other, 8)), applied, before, before=two.hold)
    assert list(three.hold.stops) == ["acme", "bolt"]


def test_who_is_held_stays_so_though_others_are_hired_meanwhile():
    was, other = people(20), people(1, "bolt")
    wanted = changed(was, 7, state="paused")
    one = run(snapshot(wanted, other), known(was, other), ran(was, other))
    assert one.hold is not None, "7 of 21"
    grown = people(30, "bolt")
    two = run(snapshot(wanted, grown), known(was, grown), ran(was, grown), before=one.hold)
    assert two.hold is not None, "7 of 50 would have passed as a new change"


def test_what_is_reverted_is_held_no_more():
    was = people(9)
    one = run(snapshot(changed(was, 7, state="paused")), known(was), ran(was))
    assert run(snapshot(was), known(was), ran(was), before=one.hold).hold is None
    fewer = changed(was, 2, state="paused")
    two = run(snapshot(fewer), known(was), ran(was), before=one.hold)
    assert two.hold is None and len(two.actions) == 1


def test_a_word_holds_for_those_who_were_named():
    was = people(20)
    one = run(snapshot(changed(was, 7, state="paused")), known(was), ran(was))
    agreed = Confirmed("c1", one.hold.employees)
    more = run(snapshot(changed(was, 14, state="paused")), known(was), ran(was), confirmed=agreed,
               before=one.hold)
    assert more.hold is not None
    assert more.hold.employees == {f"e{n}-acme" for n in range(7, 14)}


def test_what_does_not_run_is_not_stopped_and_a_corrupt_customer_stops_nobody():
    was = changed(people(9), 7, state="paused")
    assert run(snapshot(changed(was, 7, state="retired", retired_at="2026-05-01T00:00:00+00:00")),
               known(was), ran(was)).hold is None
    running = people(9)
    broken = replace(without(running, 9), violations=(Violation("f", 1, "x", "bad", "good"),))
    assert run(snapshot(broken), known(running), ran(running)).hold is None


def test_who_lost_a_seat_does_not_trip_the_brake():
    was = people(10)
    assert run(snapshot(changed(was, 10, state="paused", seat=False)), known(was),
               ran(was)).hold is None


def test_where_nothing_is_known_to_have_been_applied_what_runs_is_what_ran():
    """The status tables were lost; the containers were not."""
    running = {f"e{n}-acme": "acme" for n in range(9)}
    decision = run(snapshot(without(people(9), 7)), seen=Seen(running))
    assert decision.hold is not None and len(decision.hold.employees) == 7
    fine = run(snapshot(without(people(9), 2)), seen=Seen(running))
    assert fine.hold is None and fine.kept["acme"] == {"e0-acme", "e1-acme"}


# ---- what is lost, and what the rules refuse ---------------------------------------------------

def test_who_lost_its_files_is_left_out_and_nobody_else():
    was = acme()
    lost = Seen(lost={"acme": frozenset({"pulse-aaaaaa"})})
    decision = run(snapshot(was), known(was), ran(was), seen=lost)
    assert decision.lost["acme"] == {"pulse-aaaaaa"}
    assert [a.cause for a in decision.actions] == ["commit"]
    blind = run(snapshot(was), {}, ran(was, lost=frozenset({"pulse-aaaaaa"})), seen=Seen(lost=None))
    assert blind.lost["acme"] == {"pulse-aaaaaa"}, "what can't be seen now was seen before"


def test_a_company_whose_knowledge_is_gone_is_not_touched_at_all():
    gone = Drift("customer/acme", "volume", "iw-know-acme", "it is gone")
    decision = run(snapshot(changed(acme(), 1, role="Sales")), known(acme()), ran(acme()),
                   {"customer/acme": (gone,)}, seen=Seen(unshared={"acme": "restore it"}))
    assert decision.actions == () and decision.held["acme"] == "restore it"


def test_what_was_applied_is_repaired_while_the_rules_refuse_what_is_newer():
    old, new = settled(acme()), replace(acme(), digest="new")
    digest = digest_of(new, "p", frozenset(), 14, NOW)
    refused = replace(old, attempted=digest, failures=1, retry_at=NOW + timedelta(hours=6),
                      waits_for="policy")
    gone = Drift("customer/acme", "container", "x", "it is gone")
    (action,) = run(snapshot(new), {"customer/acme": refused}, ran(acme()),
                    {"customer/acme": (gone,)}).actions
    assert (action.cause, action.revision, action.digest) == ("drift", "c0", old.digest)
    assert run(snapshot(new), {"customer/acme": refused}, ran(acme())).actions == ()
    later = replace(refused, repair_at=NOW + timedelta(seconds=9))
    assert run(snapshot(new), {"customer/acme": later}, ran(acme()),
               {"customer/acme": (gone,)}).actions == ()


def test_an_id_is_one_customers_for_ever():
    mine, thief = people(2), replace(people(1, "bolt"), digest="theft")
    stolen = replace(thief, employees={**thief.employees, "e0-acme": employee("e0-acme", "bolt")})
    owners = {"e0-acme": "acme", "e1-acme": "acme", "e0-bolt": "bolt"}
    decision = run(snapshot(mine, stolen), known(mine, people(1, "bolt")),
                   ran(mine, people(1, "bolt")), owners=owners)
    assert "belongs to acme" in decision.held["bolt"] and "acme" not in decision.held
    assert decision.actions == ()
    gone = run(snapshot(without(mine, 2), stolen), known(people(1, "bolt")), {}, owners=owners)
    assert "bolt" in gone.held, "also when its owner has it no more"
    both = run(snapshot(mine, stolen), {}, {}, owners={})
    assert set(both.held) == {"acme", "bolt"}, "nobody's yet: neither gets it"


def test_full_looks_are_spread_over_their_time():
    every = timedelta(hours=6)
    shares = sorted(spread(f"customer/c{n}", every) / every for n in range(1000))
    assert all(abs(share - n / 1000) < 0.06 for n, share in enumerate(shares))


def test_grace_ends_with_time_and_changes_the_digest():
    retired = replace(employee(), state="retired", retired_at="2026-04-01T00:00:00+00:00")
    state = replace(acme(), employees={retired.id: retired})
    early = datetime(2026, 4, 10, tzinfo=UTC)
    assert not is_expired(retired, 14, early) and is_expired(retired, 14, NOW)
    assert digest_of(state, "p", frozenset(), 14, early) != digest_of(
        state, "p", frozenset(), 14, NOW)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 6))
def test_nobody_is_stopped_without_the_brake_having_agreed(before, after, turns):
    """Whatever the numbers, and for as many turns as it takes: either the customer is held, or
    at most what is allowed is stopped."""
    after = min(before, after)
    was = people(before)
    stopped, limits = before - after, platform().brakes
    hold: Hold | None = None
    for _ in range(turns):
        hold = run(snapshot(without(was, stopped)), known(was), ran(was), before=hold).hold
        if hold is None:
            assert stopped <= limits.max_stop_count or (
                stopped * 100 <= limits.max_stop_percent * before)
