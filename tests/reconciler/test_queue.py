from __future__ import annotations

import random
import threading

import pytest

from reconciler.decide import Action
from reconciler.queue import FairQueue, backoff


def action(stack: str, digest: str = "d", cause="commit") -> Action:
    return Action(stack, cause, "c", digest, "why")


def test_first_come_first_served_and_one_run_a_stack():
    queue = FairQueue()
    for stack in ("a", "b"):
        queue.put(action(stack), 1.0)
    assert queue.get(0)[0].stack == "a"
    queue.put(action("a", "newer"), 2.0)
    assert queue.get(0)[0].stack == "b"
    assert queue.get(0) is None  # a's newer action waits for a's run
    queue.done("a")
    assert queue.get(0)[0].digest == "newer"


def test_a_newer_action_replaces_the_waiting_one_and_keeps_its_place():
    queue = FairQueue()
    queue.put(action("a", "old"), 1.0)
    queue.put(action("b"), 2.0)
    queue.put(action("a", "new"), 3.0)
    got, since = queue.get(0)
    assert (got.stack, got.digest, since) == ("a", "new", 1.0)
    assert queue.depth() == 1


def test_what_already_runs_is_not_queued_again():
    queue = FairQueue()
    queue.put(action("a"), 1.0)
    queue.get(0)
    assert queue.put(action("a", cause="drift"), 2.0) is False


def test_closing_wakes_whoever_waits():
    queue = FairQueue()
    got = []
    thread = threading.Thread(target=lambda: got.append(queue.get(30)))
    thread.start()
    queue.close()
    thread.join(5)
    assert got == [None]


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (5, 16), (50, 120)])
def test_backoff_doubles_up_to_a_limit(failures, seconds):
    wait = backoff(failures, rng=random.Random(1)).total_seconds()
    assert 0.8 * seconds <= wait <= 1.2 * seconds


def of(stack: str, cause: str) -> Action:
    return action(stack, f"{stack}-digest", cause)


def test_people_go_before_repairs_and_repairs_before_full_looks():
    queue = FairQueue()
    for stack, cause in (("a", "refresh"), ("b", "retry"), ("c", "drift"), ("d", "commit")):
        queue.put(of(stack, cause), 100.0)
    assert [queue.get(0)[0].stack for _ in range(4)] == ["d", "c", "b", "a"]


def test_who_waits_grows_older_and_is_not_passed_for_ever():
    queue = FairQueue()
    queue.put(of("old", "drift"), 100.0)
    for number in range(3):
        queue.put(of(f"new{number}", "commit"), 104.0 + number)
    assert [queue.get(0)[0].stack for _ in range(4)] == ["new0", "old", "new1", "new2"]


def test_full_looks_run_one_at_a_time_so_that_a_hire_finds_a_free_worker():
    queue = FairQueue()
    for number in range(500):
        queue.put(of(f"customer/c{number}", "refresh"), 100.0)
    assert queue.get(0) is not None and queue.get(0) is None
    queue.put(of("customer/hire", "commit"), 101.0)
    assert queue.get(0)[0].stack == "customer/hire"
    queue.done("customer/c0")
    assert queue.get(0)[0].cause == "refresh"


def test_the_age_of_the_oldest_is_known():
    queue = FairQueue()
    assert queue.oldest() is None
    queue.put(of("a", "commit"), 100.0)
    queue.put(of("b", "commit"), 90.0)
    assert queue.oldest() == 90.0
