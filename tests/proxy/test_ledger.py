"""The ledger: nothing is spent twice, nothing past a budget."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "model-proxy"))
from gate import plausible
from ledger import PATIENCE_S, Grant, Ledger, Refused, Unavailable

NOON = 1_790_000_000.0


def grant(**fields) -> Grant:
    return Grant(**{"employee": "pulse", "customer": "acme", "models": ("default",),
                    "subnet": "10.0.0.0/24", "monthly_budget_usd": 1.0,
                    "requests_per_minute": 1000} | fields)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(str(tmp_path / "ledger.db"))
    yield made
    made.close()


def sums(ledger: Ledger, scope: str = "employee:pulse") -> tuple[float, float]:
    row = ledger._db.execute("SELECT settled_usd, reserved_usd FROM spend WHERE scope = ?",
                             (scope,)).fetchone()
    return row or (0.0, 0.0)


def test_a_budget_counts_what_is_reserved(ledger):
    first = ledger.reserve(grant(), "default", 0.6, NOON)
    with pytest.raises(Refused) as refused:
        ledger.reserve(grant(), "default", 0.6, NOON)
    assert refused.value.kind == "budget_exceeded"
    assert "$0.0000 of $1.00" in str(refused.value) and "$0.6000" in str(refused.value)
    ledger.settle(first, 0.1, 10)
    ledger.reserve(grant(), "default", 0.6, NOON)
    assert sums(ledger) == pytest.approx((0.1, 0.6))


def test_a_company_s_budget_holds_over_its_employees(ledger):
    ledger.reserve(grant(customer_monthly_budget_usd=1.0), "default", 0.6, NOON)
    other = grant(employee="quill", customer_monthly_budget_usd=1.0)
    with pytest.raises(Refused, match="The company"):
        ledger.reserve(other, "default", 0.6, NOON)
    with pytest.raises(Refused, match="The company"):
        ledger.reserve(other, "default", 0.41, NOON)
    ledger.reserve(other, "default", 0.4, NOON)


def test_a_new_month_has_a_new_budget(ledger):
    ledger.settle(ledger.reserve(grant(), "default", 1.0, NOON), 1.0, 1)
    with pytest.raises(Refused):
        ledger.reserve(grant(), "default", 0.1, NOON)
    ledger.reserve(grant(), "default", 0.1, NOON + 31 * 86400)


def test_requests_a_minute(ledger):
    slow = grant(requests_per_minute=2)
    ledger.reserve(slow, "default", 0, NOON)
    ledger.reserve(slow, "default", 0, NOON + 30)
    with pytest.raises(Refused) as refused:
        ledger.reserve(slow, "default", 0, NOON + 40)
    assert refused.value.retry_after_s == 21
    ledger.reserve(slow, "default", 0, NOON + 61)


def test_only_the_first_word_about_a_call_counts(ledger):
    call = ledger.reserve(grant(), "default", 0.5, NOON)
    ledger.settle(call, 0.2, 5)
    ledger.settle(call, 0.4, 5)
    ledger.release(call)
    ledger.expire_one(call)
    assert sums(ledger) == pytest.approx((0.2, 0.0))


def test_what_a_crash_cut_off_counts_in_full(tmp_path):
    first = Ledger(str(tmp_path / "ledger.db"))
    first.reserve(grant(), "default", 0.5, NOON)
    first.close()
    again = Ledger(str(tmp_path / "ledger.db"))
    assert again.expire(NOON + 1, 0.0) == 1
    assert sums(again) == pytest.approx((0.5, 0.0))
    again.close()


def test_fifty_threads_do_not_pass_the_cap(ledger):
    passed, refused = [], []

    def call() -> None:
        try:
            passed.append(ledger.reserve(grant(), "default", 0.1, NOON))
        except Refused:
            refused.append(1)
    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(passed), len(refused)) == (10, 40)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release", "expire"]),
                          st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_any_sequence_keeps_the_sums_and_the_cap(tmp_path_factory, steps):
    ledger = Ledger(str(tmp_path_factory.mktemp("l") / "ledger.db"))
    calls: list[tuple[str, float]] = []
    for number, (verb, which, cents) in enumerate(steps):
        if verb == "reserve":
            with contextlib.suppress(Refused):
                calls.append((ledger.reserve(grant(), "m", cents / 100, NOON + number),
                              cents / 100))
        elif calls:
            call, reserved = calls[which % len(calls)]
            if verb == "settle":
                ledger.settle(call, min(cents / 100, reserved), 1)
            elif verb == "release":
                ledger.release(call)
            else:
                ledger.expire_one(call)
        settled, held = sums(ledger)
        assert settled + held <= 1.0 + 1e-9 and settled >= 0 and held >= 0
    rows = ledger._db.execute("SELECT state, reserved_usd, cost_usd FROM calls").fetchall()
    settled, held = sums(ledger)
    assert settled == pytest.approx(sum(r[2] or 0 for r in rows if r[0] != "reserved"))
    assert held == pytest.approx(sum(r[1] for r in rows if r[0] == "reserved"))
    ledger.close()


# ---- books that are away -----------------------------------------------------------------------

def test_books_that_are_locked_are_told_in_time_and_nobody_queues_behind_another(ledger, tmp_path):
    locker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    said: list[float] = []

    def call() -> None:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"locked|busy"):
            ledger.reserve(grant(), "default", 0.1, NOON)
        said.append(time.monotonic() - began)
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 4 and max(said) < 3 * PATIENCE_S
    with pytest.raises(Unavailable):
        ledger.check()
    locker.execute("ROLLBACK")
    ledger.check()
    ledger.reserve(grant(), "default", 0.1, NOON)


def test_books_that_were_removed_are_told_and_begun_with_the_sums_that_were_kept(tmp_path):
    path = tmp_path / "ledger.db"
    ledger = Ledger(str(path))
    ledger.settle(ledger.reserve(grant(), "default", 0.6, NOON), 0.6, 1000)
    open_call = ledger.reserve(grant(), "default", 0.1, NOON)
    ledger.keep_sums()
    for file in tmp_path.glob("ledger.db*"):
        if not file.name.endswith(".sums.json"):
            file.unlink()
    with pytest.raises(Unavailable, match="were removed"):
        ledger.reserve(grant(), "default", 0.1, NOON)
    with pytest.raises(Unavailable, match="were removed"):
        ledger.settle(open_call, 0.0, 0)
    again = Ledger(str(path))
    assert "begun with the sums of" in again.recovered
    assert sums(again)[0] == pytest.approx(0.7), "what was reserved counts too"
    with pytest.raises(Refused, match="has spent"):
        again.reserve(grant(), "default", 0.5, NOON)
    again.close()
    assert Ledger(str(path)).recovered is None


def test_books_and_sums_that_are_both_broken_are_not_begun_in_silence(tmp_path):
    (tmp_path / "ledger.db.sums.json").write_text("{")
    for _ in range(2):
        with pytest.raises(Unavailable, match="remove both to begin with nothing"):
            Ledger(str(tmp_path / "ledger.db"))


@pytest.mark.parametrize(("usage", "produced", "counts"), [
    ({"prompt_tokens": 100, "completion_tokens": 50}, True, (100, 50)),
    ({"prompt_tokens": 100, "completion_tokens": 0}, False, (100, 0)),
    ({"prompt_tokens": 0, "completion_tokens": 0}, True, None),
    ({"prompt_tokens": 100, "completion_tokens": 0}, True, None),
    ({"prompt_tokens": -50_000_000, "completion_tokens": 1}, True, None),
    ({"prompt_tokens": 10, "completion_tokens": -1}, False, None),
    ({"prompt_tokens": "100", "completion_tokens": 1}, True, None),
    ({"prompt_tokens": True, "completion_tokens": 1}, True, None),
    ({}, True, None), (None, True, None),
])
def test_only_a_usage_that_can_be_true_is_believed(usage, produced, counts):
    assert plausible(usage, produced) == counts


def test_the_minutes_tidying_reads_no_call_that_it_does_not_need(ledger):
    for question in ("SELECT id FROM calls WHERE state = 'reserved' AND at <= 1",
                     "DELETE FROM calls WHERE at < 1 AND state <> 'reserved'"):
        plan = str(ledger._db.execute(f"EXPLAIN QUERY PLAN {question}").fetchall())
        assert "USING" in plan and "INDEX calls_" in plan, plan
