"""Any sequence of purchases, changes, failures and hires, with messages that are lost, doubled,
late, out of order or forged, ends as it should after one reconciliation.

As a test it runs 30 sequences (2,000 in `make test-long`); `python -m
tests.webapp.billing_sequences 2000` runs more, and says how many of which steps there were.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from state_repo import StateRepoError, changes
from tests.webapp.billing_world import ENGINEER, PLANS, World

plans, seats = st.sampled_from(sorted(PLANS)), st.integers(1, 6)
carriers = st.sampled_from(["deliver", "deliver", "drop", "double", "late", "mixed"])
steps = st.one_of(
    st.tuples(st.just("buy"), plans, seats),
    st.tuples(st.just("buy"), plans, seats),
    st.tuples(st.just("buy_twice"), plans, seats, seats),  # two windows, both paid
    st.tuples(st.just("leave_checkout"), plans, seats),
    st.tuples(st.just("change"), plans, seats, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("change"), plans, seats, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("portal_seats"), seats),
    st.tuples(st.just("portal_cancel"), st.booleans()),
    st.tuples(st.just("card"), st.booleans()),
    st.tuples(st.just("hire"), st.integers(1, 3)),
    st.tuples(st.just("hire"), st.integers(1, 3)),
    st.tuples(st.just("rush"), st.sampled_from([8, 8, 8, 50])),  # at once
    st.tuples(st.just("employee"), st.sampled_from(["retire", "pause", "resume"])),
    st.tuples(st.just("days"), st.sampled_from([0.01, 1, 2, 5, 8, 16, 31])),
    st.tuples(st.just("fault"), st.sampled_from(["busy", "broken", "lost"]), st.integers(1, 4)),
    st.tuples(st.just("forge")),
    st.tuples(st.just("replay")),
    st.tuples(st.just("by_hand"), seats),  # an engineer edits customer.yaml
    st.tuples(st.just("reconcile")))
sequences = st.lists(st.tuples(steps, carriers), min_size=3, max_size=22)
COUNTS: Counter[str] = Counter()


def run(world: World, sequence: list[Any], seed: int) -> None:
    chance = random.Random(seed)
    world.fresh()
    for (name, *given_), carrier in sequence:
        COUNTS[name] += 1
        COUNTS[f"messages: {carrier}"] += 1
        _step(world, name, given_, chance)
        world.carry(carrier, chance)
        _always(world)
    COUNTS["sequences"] += 1
    _at_the_end(world)


def _step(world: World, name: str, given_: list[Any], chance: random.Random) -> None:
    fake, living = world.fake, world.living()
    match name:
        case "buy" | "leave_checkout":
            session = world.checkout(*given_)
            if session is not None and name == "buy":
                fake.pay(session)
        case "buy_twice":
            plan, first, second = given_
            one = world.checkout(plan, first)
            if one is None:
                return
            # The second window asked before the first one's checkout was noted.
            fake._things["session"][one]["status"] = "open"
            kept = fake._expire
            fake._expire = lambda _, session: fake._find("session", session)
            two = world.checkout(plan, second)
            fake._expire = kept
            for session in (one, two):
                if session is not None:
                    fake.pay(session)
        case "change":
            plan, count, named, twice = given_
            fake.now += 1  # two changes that cost the same are told apart by when they were
            world.change(plan, count, named, twice)
        case "portal_seats" if living:
            fake.portal_seats(chance.choice(living)["id"], given_[0])
        case "portal_cancel" if living:
            fake.portal_cancel(chance.choice(living)["id"], given_[0])
        case "card" if world.row and world.row.payer:
            fake.card(world.row.payer, given_[0])
        case "hire":
            world.hire(given_[0])
        case "rush":
            world.hire(given_[0], workers=8)
        case "employee":
            world.act(given_[0], chance)
        case "days":
            world.pass_days(given_[0])
            world.billing.apply_pending()
        case "fault":
            fake.faults += [given_[0]] * given_[1]
        case "forge":
            world.forge()
        case "replay" if fake.outbox:
            event = chance.choice(fake.outbox)
            if world.deliver(event) == 200:
                before = world._state()
                assert world.deliver(event) == 200
                assert world._state() == before
        case "by_hand":
            _edit(world, given_[0])
        case "reconcile":
            fake.faults.clear()
            world.reconcile()


def _edit(world: World, count: int) -> None:
    with suppress(StateRepoError):
        changes.set_seats(world.store, ENGINEER, world.customer, count)


def _always(world: World) -> None:
    """At every moment: nobody runs without a seat in the document."""
    assert world.running() <= world.company.max_employees


def _at_the_end(world: World) -> None:
    """After one reconciliation."""
    fake = world.fake
    fake.faults.clear()
    world.reconcile()
    _always(world)
    living = world.living()
    assert len(living) <= 1, "a company has one subscription"
    _nobody_paid_twice(world)
    company, row = world.company, world.row
    if living:
        (one,) = living
        item = one["items"]["data"][0]
        assert row is not None and row.plan is not None
        paid = min(item["quantity"], PLANS[row.plan].seats.max)
        assert row.id == one["id"]
        assert row.seats == item["quantity"] and row.status == one["status"]
        if one["status"] in ("active", "trialing"):
            assert not company.suspended, "who pays is not stopped"
        if row.over_until is None:
            assert company.plan == row.plan
            assert company.max_employees == paid, "no seat is lost, none is given"
        else:
            holders = sum(e.holds_seat for e in world.documents.employees.values())
            assert company.max_employees == holders > paid, "in a grace nobody new comes in"
    elif fake.subscriptions():
        assert company.suspended and world.running() == 0
    # The grace ends, and the newest are paused: nobody runs beyond what is paid for.
    if living and row is not None and row.over_until is not None:
        fake.now = max(fake.now, int(row.over_until.timestamp()) + 1)
        world.reconcile()
        current = world.living()
        assert world.company.max_employees == min(
            current[0]["items"]["data"][0]["quantity"], PLANS[world.company.plan].seats.max)
        _always(world)
    # A second look finds nothing: the first one repaired all of it.
    head = world.store.head()
    report = world.reconcile()
    assert [f for f in report.found if "behind" in f or "not what is paid" in f] == []
    assert world.store.head() == head


def _nobody_paid_twice(world: World) -> None:
    """Of two subscriptions at the same time, only one's money was kept; no period twice."""
    found = world.fake.subscriptions()
    for newer in found:
        bills = [b for b in world.fake.bills(newer["id"]) if b["status"] == "paid"]
        starts = [b["period_start"] for b in bills if b["billing_reason"] != "subscription_update"]
        assert len(starts) == len(set(starts)), "a period was charged twice"
        beside = [older for older in found if _beside(older, newer)]
        kept = sum(b["amount_paid"] - b["post_payment_credit_notes_amount"] for b in bills)
        if beside:
            assert kept == 0, "a second subscription's money was kept"
    updates = Counter((b["customer"], b["created"], b["total"]) for s in found
                      for b in world.fake.bills(s["id"])
                      if b["billing_reason"] == "subscription_update" and b["status"] == "paid")
    for (_, _, total), count in updates.items():
        assert count == 1 or total == 0, "one change was charged twice"


def _beside(older: dict[str, Any], newer: dict[str, Any]) -> bool:
    """Whether `newer` lived only while an older one did, which was good to the end."""
    if (older["created"], older["id"]) >= (newer["created"], newer["id"]):
        return False
    ended, end = newer["ended_at"], older["ended_at"]
    if older["status"] != "canceled":
        return older["status"] in ("active", "trialing") and ended is not None
    return end is not None and ended is not None and newer["created"] < end and ended <= end


def check(world: World, examples: int, derandomize: bool = False) -> None:
    @settings(max_examples=examples, deadline=None, database=None, derandomize=derandomize,
              suppress_health_check=list(HealthCheck),
              phases=(Phase.generate, Phase.shrink))
    @given(sequences, st.integers(0, 2**16))
    def holds(sequence: list[Any], seed: int) -> None:
        run(world, sequence, seed)
    holds()


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    began = time.monotonic()
    logging.disable(logging.CRITICAL)  # each refused message is logged
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None
                                     ) as folder:
        # The repo of one world grows by a company a sequence: several worlds keep it small.
        for number in range(0, wanted, 250):
            check(World(Path(folder) / str(number)), min(250, wanted - number))
            print(f"{COUNTS['sequences']} sequences, {time.monotonic() - began:.0f} s", flush=True)
    for name, count in sorted(COUNTS.items()):
        print(f"{count:8} {name}")
    print(f"no violation in {COUNTS['sequences']} sequences")


if __name__ == "__main__":
    main()


