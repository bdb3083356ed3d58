"""The loop by value: real git and SQLite, a fake world. Each test is a promise that was broken."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler import workers
from reconciler.answers import Answers
from reconciler.decide import PLATFORM, Action, Drift
from state_repo import changes, journal
from state_repo.documents import Freeze, Limits
from state_repo.parsing import dump
from tests.reconciler.fake_world import ANN, wait_for
from tests.rows import put_employee
from tools import catalogue

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def now_iso() -> str:
    return "2026-11-25T22:36:00Z"


# ---- the brake -------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [
    {"state": "paused"}, {"state": "retired", "retired_at": now_iso()},
    {"image": f"other@sha256:{'b' * 64}"}, {"restarts": 1}])
def test_the_brake_holds_over_many_turns_and_restarts_until_it_is_confirmed(house, fields):
    ids = house.hire("acme", 9)
    house.customer("bolt")
    house.settle()
    made = {e: c.id for e, c in house.world.containers.items()}
    commit = house.edit("acme", ids[:7], **fields)
    house.turn(5)
    assert {e: c.id for e, c in house.world.containers.items()} == made
    house.restart()
    house.turn(5)
    assert {e: c.id for e, c in house.world.containers.items()} == made
    (other,) = house.hire("bolt")
    (waits,) = house.hire("acme")
    house.settle()
    assert other in house.running() and waits not in house.running()
    assert "iw confirm" in house.row(waits).reason and house.row(waits).sync_status == "OutOfSync"
    assert "would stop 7 of" in house.stack("loop").reason
    for id in ids[:7]:
        assert id in house.stack("loop").reason, "who would stop is named"
    runs = len(house.world.runs)
    Answers(house.r).confirm(house.r.turn.decision.hold.commit[:10])
    house.settle()
    assert len(house.world.runs) > runs and waits in house.running()
    if "state" in fields:
        assert not house.running() & set(ids[:7])
    assert house.stack("loop").reason == ""
    assert commit


def test_suspending_a_company_is_held_too_and_lets_go_when_it_is_reverted(house):
    ids = house.hire("acme", 9)
    house.settle()
    changes.set_seats(house.store, ANN, "acme", suspended=True)
    house.turn(4)
    assert house.running() == set(ids)
    changes.set_seats(house.store, ANN, "acme", suspended=False)
    house.settle()
    assert house.stack("loop").reason == "" and house.running() == set(ids)


def test_the_status_rows_decide_nothing(house):
    """They are lost, or lie: what ran is what was applied."""
    ids = house.hire("acme", 9)
    house.settle()
    for id in ids:
        put_employee(house.status, id, desired_state="paused")
    house.restart()
    house.edit("acme", ids, state="paused")
    house.turn(4)
    assert house.running() == set(ids)


def test_a_lost_database_lets_nobody_be_stopped_either(house, tmp_path):
    ids = house.hire("acme", 9)
    house.settle()
    house.r.stop(5)
    with sqlite3.connect(tmp_path / "database" / "instantworker.db") as database:
        for table in ("applied", "stacks", "employees"):
            database.execute(f"DELETE FROM {table}")
    house.edit("acme", ids[:7], state="paused")
    house.start()
    house.turn(4)
    assert house.running() == set(ids)
    assert "would stop 7 of 9" in house.stack("loop").reason


# ---- workers, and parts that refuse ------------------------------------------------------------

def test_a_worker_survives_what_happens_while_it_fails(house):
    house.settle()
    house.world.fail["customer-acme"] = RuntimeError("the engine is on fire")
    original = house.r.book.failed
    house.r.book.failed = lambda *_: 1 / 0  # and so is the failure path
    for _ in range(workers_count(house) + 2):
        house.hire("acme")
        house.turn()
    assert house.r.workers.live() == workers_count(house)
    house.r.book.failed = original
    house.world.fail.clear()
    (id,) = house.hire("acme")
    house.settle()
    assert id in house.running()


def workers_count(house) -> int:
    return house.r.workers._count


def test_a_look_that_raises_in_the_failure_path_ends_nobody(house):
    house.settle()
    house.world.fail["customer-acme"] = ["network: no"]
    house.hire("acme")
    house.r.cycle()
    house.world.look_raises = RuntimeError("no look")
    wait_for(lambda: house.r.book.problem("customer/acme") or not house.r.queue._running, "run")
    time.sleep(0.05)
    assert house.r.workers.live() == workers_count(house)


def test_a_database_that_is_away_stops_no_repair_and_is_told_later(house, tmp_path):
    ids = house.hire("acme", 2)
    house.settle()
    locker = sqlite3.connect(tmp_path / "database" / "instantworker.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    del house.world.containers[ids[0]]
    house.turn(2)
    (new,) = house.hire("acme")
    house.turn(2)
    assert house.running() == {*ids, new}, "repaired and hired without the database"
    house.turn()
    assert "locked" in house.r.turn.look.unreachable["database"]
    found, well = Answers(house.r).healthz()
    assert "locked" in found["database"] and well
    assert house.events("Repaired") == []
    locker.execute("ROLLBACK")
    time.sleep(2.1)  # the outbox does not ask all the time
    house.turn(2)
    assert len(house.events("Repaired")) == 1
    assert house.row(new).health_status == "Healthy"
    assert house.r.outbox.problem is None
    wait_for(lambda: any(r.subject == "Hire E0 for acme" for r in house.status.receipts("acme")),
             "its receipt")


def test_a_wedged_worker_is_named_and_replaced(house, monkeypatch):
    house.customer("bolt")
    house.settle()
    let_go = threading.Event()
    house.world.fail["customer-acme"] = lambda: let_go.wait(20)
    house.hire("acme")
    house.r.cycle()
    wait_for(lambda: house.r.queue.running("customer/acme"), "a run")
    monkeypatch.setattr(workers, "WEDGED_S", 0.01)
    time.sleep(0.05)
    house.r.cycle()
    monkeypatch.setattr(workers, "WEDGED_S", 600.0)
    assert house.r.workers.live() == workers_count(house)
    found, well = Answers(house.r).healthz()
    assert list(found["wedged"]) == ["customer/acme"] and well
    assert "has been at customer/acme" in house.events("Worker")[0]
    (id,) = house.hire("bolt")
    house.r.cycle()
    wait_for(lambda: id in house.running(), "others go on")
    let_go.set()
    wait_for(lambda: not house.r.workers.wedged(), "it ends")


def test_health_counts_the_living(house):
    assert Answers(house.r).healthz()[1]
    house.r.workers.stop()
    house.r.workers.join(5)
    found, well = Answers(house.r).healthz()
    assert found["workers"] == 0 and not well


@pytest.mark.parametrize("part", ["firewall", "edge", "dns", "monitoring"])
def test_a_part_that_refuses_stops_only_what_depends_on_it(house, part):
    ids = house.hire("acme", 1)
    house.settle()
    house.world.unreachable[part] = "it answers 502"
    house.world.containers.clear()
    (new,) = house.hire("acme")
    house.settle()
    assert house.running() == {*ids, new}
    assert house.stack(PLATFORM).sync_status == "Unknown"
    assert "it answers 502" in house.stack(PLATFORM).reason
    assert any("it answers 502" in m for m in house.events("Unreachable"))
    del house.world.unreachable[part]
    house.settle()
    assert house.stack(PLATFORM).sync_status == "Synced"


def test_one_employees_failure_is_not_its_colleagues(house):
    one, other = house.hire("acme", 2)
    house.settle()
    house.world.fail["customer-acme"] = [f"employee-{one}: no such image"]
    house.edit("acme", [one], role="Sales")
    house.turn(2)
    assert "no such image" in house.row(one).reason
    assert "no such image" not in house.row(other).reason
    assert house.row(other).health_status == "Healthy"
    hired, sha = changes.hire(house.store, ANN, "acme", "Nova", "Tester")
    house.turn(2)
    receipt = receipt_of(house, "acme", sha)
    assert receipt.result == "succeeded" and "no such image" in receipt.message
    wait_for(lambda: house.turn() or house.row(hired.id).health_status == "Healthy", "she works")
    assert house.row(hired.id).sync_status == house.row(other).sync_status == "Synced"
    assert house.row(one).sync_status == "OutOfSync"
    sha = house.edit("acme", [one], role="Marketing")
    house.turn(2)
    assert receipt_of(house, "acme", sha).result == "failed"
    house.world.fail["customer-acme"] = ["network: no room"]
    house.edit("acme", [one], role="Support")
    house.turn(2)
    assert "no room" in house.row(other).reason, "what is everybody's is told to everybody"


# ---- policy ------------------------------------------------------------------------------------

def bring(house, path: str, text: str) -> None:
    """Past the rules of a commit, as a remote without our hooks would."""
    head, objects = house.store.head(), house.store.objects
    root = objects.with_files(objects.tree_of(head), {path: text})
    house.store._door.swap(house.store._write_commit(head, root, ANN, "From elsewhere"), head)


def tighten(house) -> None:
    platform = replace(house.store.platform(), limits=Limits(max_memory_mb=1024))
    bring(house, "platform.yaml", dump(replace(platform, defaults=replace(
        platform.defaults, memory_mb=512))))


def test_who_violates_newer_limits_is_repaired_and_can_be_paused(house):
    ids = house.hire("acme", 2)
    house.settle()
    tighten(house)
    house.settle()
    assert house.stack("customer/acme").sync_status == "Synced"
    del house.world.containers[ids[0]]
    house.settle()
    assert house.running() == set(ids)
    changes.pause(house.store, ANN, "acme", ids[1])
    house.settle()
    assert house.running() == {ids[0]}


def test_what_the_rules_refuse_waits_and_repairs_go_on(house):
    ids = house.hire("acme", 1)
    house.settle()
    house.push({f"customers/acme/employees/{ids[0]}.yaml": too_large(house, ids[0])})
    house.settle()
    assert "99999" in house.row(ids[0]).reason
    house.world.containers.clear()
    house.settle()
    assert house.running() == set(ids)
    assert "99999" in house.row(ids[0]).reason, "and it still says what it waits for"


def too_large(house, employee: str) -> str:
    """Its document, larger than the rules allow."""
    return house.text(f"customers/acme/employees/{employee}.yaml").replace(
        "memoryMb: 3072", "memoryMb: 99999")


def test_a_skill_reaches_those_who_have_it_and_a_broken_one_takes_it_from_nobody(house):
    catalogue.teach(house.store, ANN, {})
    path, text = "skills/lead-list/SKILL.md", catalogue.shipped()["lead-list"]
    one, other = house.hire("acme", 2)
    house.edit("acme", [one], skills=("lead-list",))
    house.customer("bolt")
    house.hire("bolt")
    house.settle()
    runs = len(house.world.runs)
    house.push({path: text + "\nAsk twice.\n"})
    house.settle()
    assert [stack for stack, _ in house.world.runs[runs:]] == ["customer-acme"]
    assert house.r.book.wanted()["acme"].platform.skills["lead-list"].text.endswith("twice.\n")
    bring(house, path, "no skill at all")
    house.settle()
    held = house.r.book.wanted()["acme"].platform.skills
    assert held["lead-list"].text.endswith("twice.\n")
    assert "names 'lead-list'" in house.row(one).reason
    assert house.stack("customer/bolt").sync_status == "Synced"
    changes.pause(house.store, ANN, "acme", other)
    house.settle()
    assert other not in house.running() and one in house.running()
    house.push({path: text})
    house.settle()
    assert house.stack("customer/acme").sync_status == "Synced"


def test_what_the_rules_refuse_of_one_keeps_no_colleague_from_anything(house):
    one, other = house.hire("acme", 2)
    house.settle()
    path = f"customers/acme/employees/{one}.yaml"
    bad = house.push({path: too_large(house, one)})
    house.settle()
    assert receipt_of(house, "acme", bad).result == "failed"
    _, paused = changes.pause(house.store, ANN, "acme", other)
    hired, _ = changes.hire(house.store, ANN, "acme", "Nova", "Tester")
    house.settle()
    assert house.running() == {one, hired.id}
    receipt = receipt_of(house, "acme", paused)
    assert receipt.result == "succeeded" and "99999" in receipt.message
    assert "99999" in house.row(one).reason and "99999" not in house.row(other).reason
    assert house.row(other).health_status == "Suspended"
    house.world.containers.clear()
    house.settle()
    assert house.running() == {one, hired.id}, "what was brought into force is repaired"
    house.restart()
    house.settle()
    assert house.running() == {one, hired.id}
    assert "99999" in house.row(one).reason
    house.push({path: too_large(house, one).replace("99999", "3072")})
    house.settle()
    assert house.stack("customer/acme").sync_status == "Synced"


def test_whoever_is_stopped_by_a_refused_commit_is_stopped(house):
    one, other = house.hire("acme", 2)
    house.settle()
    before = house.text(f"customers/acme/employees/{one}.yaml")
    house.push({f"customers/acme/employees/{one}.yaml": too_large(house, one).replace(
        "state: running", "state: paused")})
    house.settle()
    assert house.running() == {other}
    house.push({f"customers/acme/employees/{one}.yaml": before})  # exactly as it was applied
    house.settle()
    assert house.running() == {one, other}
    assert house.stack("customer/acme").sync_status == "Synced"


def test_more_employees_than_seats_keep_nobody_from_being_stopped(house):
    one, other = house.hire("acme", 2)
    house.settle()
    company = house.text("customers/acme/customer.yaml")
    seats = next(line for line in company.splitlines() if "maxEmployees" in line)
    house.push({"customers/acme/customer.yaml": company.replace(
        seats, f"{seats.split(':')[0]}: 1")})
    house.settle()
    assert house.running() == {one, other}
    house.push({f"customers/acme/employees/{one}.yaml": house.text(
        f"customers/acme/employees/{one}.yaml").replace("state: running", "state: paused")})
    house.settle()
    assert house.running() == {other}
    assert not house.row(other).reason


def test_a_file_that_cant_be_read_keeps_nobody_from_being_stopped(house):
    one, other, third = house.hire("acme", 3)
    house.settle()
    path = f"customers/acme/employees/{one}.yaml"
    good = house.text(path)
    house.push({path: "nonsense: [\n"})
    house.settle()
    assert house.running() == {one, other, third}
    house.push({f"customers/acme/employees/{other}.yaml": house.text(
        f"customers/acme/employees/{other}.yaml").replace("state: running", "state: paused")})
    house.settle()
    assert house.running() == {one, third}
    house.world.containers.clear()
    house.settle()
    assert house.running() == {one, third}
    assert one in house.stack("customer/acme").reason
    house.push({path: good})
    house.settle()
    assert house.running() == {one, third}
    assert house.stack("customer/acme").sync_status == "Synced"


def receipt_of(house, customer: str, sha: str):
    """Written once the employees have answered, in a thread of its own."""
    (found,) = wait_for(lambda: house.status.receipts(customer, 5, sha), "its receipt")
    return found


# ---- receipts ----------------------------------------------------------------------------------

def test_a_receipt_is_of_the_stacks_own_commit(house):
    house.customer("bolt")
    house.settle()
    mine = changes.hire(house.store, ANN, "acme", "Pulse", "Tester")[1]
    theirs = changes.hire(house.store, ANN, "bolt", "Secret project", "Tester")[1]
    house.turn()
    acme, bolt = receipt_of(house, "acme", mine), receipt_of(house, "bolt", theirs)
    assert (acme.revision, acme.subject) == (mine, "Hire Pulse for acme")
    assert (bolt.revision, bolt.subject) == (theirs, "Hire Secret project for bolt")
    assert "Secret" not in str([(r.subject, r.commits) for r in house.status.receipts("acme")])


def test_several_commits_of_one_run_are_all_found(house):
    house.settle()
    shas = [changes.hire(house.store, ANN, "acme", f"E{n}", "Tester")[1] for n in range(3)]
    house.turn()
    for sha in shas:
        receipt = receipt_of(house, "acme", sha)
        assert [c["sha"] for c in receipt.commits] == shas[::-1]
        assert receipt.revision == shas[-1]


def test_a_change_of_the_platform_gives_nobody_anothers_receipt(house):
    house.hire("acme")
    house.settle()
    changes.set_platform(house.store, ANN, "Secret negotiations", lambda old: type(old)(
        **{**{f: getattr(old, f) for f in old.__slots__}, "grace_days": 20}))
    house.settle()
    assert "Secret" not in str([(r.subject, r.commits, r.author)
                                for r in house.status.receipts("acme")])


def test_retiring_who_never_answered_succeeds_at_once(house, monkeypatch):
    stuck = threading.Event()

    def never(address, visitor, deadline, gone, **_):
        while not gone() and not stuck.is_set():
            time.sleep(0.005)
        return "its chat port is not open yet"
    monkeypatch.setattr("reconciler.fleet.wait_until_ready", never)
    (id,) = house.hire("acme")
    house.turn(2)
    sha = changes.retire(house.store, ANN, "acme", id)[1]
    house.turn(2)
    receipt = receipt_of(house, "acme", sha)
    assert (receipt.result, receipt.message) == ("succeeded", "")
    stuck.set()


# ---- what is lost ------------------------------------------------------------------------------

def test_a_volume_that_vanished_is_held_and_reported_and_colleagues_work(house):
    one, other = house.hire("acme", 2)
    house.settle()
    house.world.lost = {"acme": frozenset({one})}
    del house.world.containers[one]
    house.turn(4)
    assert house.running() == {other}
    assert house.row(one).health_status == "Missing"
    assert "is gone from Docker" in house.row(one).reason and "iw restore" in house.row(one).reason
    assert len(house.events("Lost")) == 1
    (new,) = house.hire("acme")
    house.restart()
    house.settle()
    assert house.running() == {other, new}
    house.world.lost = {}
    house.settle()
    assert house.running() == {one, other, new}


def test_a_company_whose_knowledge_is_gone_is_left_as_it_is(house):
    (id,) = house.hire("acme")
    house.settle()
    house.world.unshared = {"acme": "the volume is gone; restore it"}
    house.world.containers.clear()
    runs = len(house.world.runs)
    house.turn(3)
    assert len(house.world.runs) == runs and "restore it" in house.row(id).reason


# ---- restart, rewrite --------------------------------------------------------------------------

def test_a_confirmed_rewrite_and_a_collection_let_the_reconciler_start(house):
    ids = house.hire("acme", 2)
    house.settle()
    door = house.store._door
    old = house.store.head()
    door.run("update-ref", "refs/heads/main", door.run("rev-parse", f"{old}~1").stdout.strip())
    house.turn()
    assert "history was rewritten" in house.stack("loop").reason
    assert house.running() == set(ids)
    Answers(house.r).confirm(house.store.head())
    house.r.cycle()  # it is taken, and perhaps not yet applied
    door.run("reflog", "expire", "--expire=now", "--all")
    door.run("gc", "--quiet", "--prune=now")
    house.restart()
    house.settle()
    assert house.stack("loop").reason == ""
    assert ids[0] in house.running()


def test_a_word_about_a_hold_accepts_no_rewritten_history(house):
    ids = house.hire("acme", 9)
    house.settle()
    house.edit("acme", ids[:7], state="paused")
    house.turn()
    held = house.r.turn.decision.hold.commit
    door = house.store._door
    door.run("update-ref", "refs/heads/main", door.run("rev-parse", f"{held}~3").stdout.strip())
    house.turn()
    assert "history was rewritten" in house.stack("loop").reason
    Answers(house.r).confirm(held)
    house.turn(3)
    assert "history was rewritten" in house.stack("loop").reason
    assert house.running() == set(ids)


def test_a_restart_with_nothing_to_do_runs_nothing_and_refuses_nobody(house):
    (id,) = house.hire("acme")
    house.settle()
    runs = len(house.world.runs)
    assert (house.row(id).sync_status, house.row(id).reason) == ("Synced", "")
    house.restart()
    house.r.cycle()
    assert (house.row(id).sync_status, house.row(id).health_status) == ("Synced", "Healthy")
    house.settle()
    assert len(house.world.runs) == runs


def test_a_dead_lock_is_removed_by_the_loop_and_reported(house):
    import os
    lock = house.store.path / "refs/heads/main.lock"
    lock.touch()
    os.utime(lock, (time.time() - 7200,) * 2)
    house.turn()
    assert not lock.exists() and "main.lock" in house.events("LockRemoved")[0]


def test_who_is_woken_by_hand_is_not_degraded_while_it_is_put_back(house):
    (id,) = house.hire("acme")
    house.settle()
    made = house.world.containers[id]
    changes.pause(house.store, ANN, "acme", id)
    house.settle()
    house.world.fail["customer-acme"] = lambda: time.sleep(0.05)
    house.world.containers[id] = made
    house.r.cycle()
    row = house.row(id)
    assert (row.sync_status, row.health_status) == ("OutOfSync", "Progressing")
    assert house.events("Degraded") == []


def test_drift_of_the_platform_does_not_wait_for_anybody(house):
    house.hire("acme")
    house.settle()
    house.world.platform_drift = (Drift(PLATFORM, "file", "x", "it was changed"),)
    house.world.runs.clear()
    house.turn()
    assert house.world.runs == [("platform", True)]


def test_who_was_frozen_is_left_so_by_repairs_and_says_why(house, monkeypatch):
    from dataclasses import replace
    (id,) = house.hire("acme")
    house.settle()
    house.world.containers[id] = replace(house.world.containers[id], running=False, paused=True)
    house.r.storage._frozen[id] = "its files take 9 of 5 MiB"
    house.turn(2)
    assert (house.row(id).health_status, house.row(id).reason) == (
        "Degraded", "its files take 9 of 5 MiB")
    assert id in house.world.asleep(), "the engine leaves it standing"


def test_what_docker_told_stands_beside_what_drifted(house):
    (one,) = house.hire("acme", 1)
    house.settle()
    house.world.done[one] = "docker destroy, 12:03:01 UTC"
    del house.world.containers[one]
    house.settle()
    assert f"container {one}: it is gone (docker destroy, 12:03:01 UTC)" in house.events("Drift")
    assert house.events("Repaired") == [f"container {one}: it is gone"]


def test_who_is_frozen_is_neither_changed_nor_repaired_and_says_so(house):
    house.customer("bolt")
    ids, others = house.hire("acme", 2), house.hire("bolt", 1)
    house.settle()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    changes.set_freeze(house.store, ANN, "acme", Freeze("we move its disk", soon))
    house.turn(2)
    runs = list(house.world.runs)
    del house.world.containers[ids[0]]
    house.edit("acme", ids[1:], state="paused")
    house.turn(3)
    assert [r for r in house.world.runs[len(runs):] if r[0] == "customer-acme"] == []
    assert house.running() == {ids[1], *others}
    assert "frozen until" in house.row(ids[1]).reason and "we move its disk" in (
        house.stack("customer/acme").reason)
    del house.world.containers[others[0]]
    house.turn(2)
    assert others[0] in house.running(), "nobody else is held up"
    changes.set_freeze(house.store, ANN, "acme", None)
    house.turn(3)
    assert house.running() == {ids[0], *others} and "frozen" not in (
        house.stack("customer/acme").reason or "")


def test_everything_can_be_frozen_and_goes_on_by_itself(house, monkeypatch):
    (one,) = house.hire("acme", 1)
    house.settle()
    at = datetime.now(UTC)
    changes.set_freeze(house.store, ANN, None, Freeze("we upgrade", (
        at + timedelta(minutes=5)).isoformat()))
    house.turn(2)
    runs = list(house.world.runs)
    del house.world.containers[one]
    house.world.platform_drift = (Drift("platform", "dns", "x", "it is gone"),)
    house.turn(3)
    assert house.world.runs == runs and "we upgrade" in house.stack("platform").reason
    house.restart()
    house.turn(2)
    assert house.world.runs == runs, "a restart ends no freeze"
    monkeypatch.setattr("reconciler.loop._now", lambda: at + timedelta(minutes=6))
    house.world.platform_drift = ()
    house.turn(3)
    assert one in house.running()


# ---- the journal -----------------------------------------------------------------------------

def test_what_a_run_logs_is_of_the_trace_of_the_commit_it_was_made_for(house, log_lines):
    with journal.about(trace=TRACE):
        house.hire("acme")
    commit = house.store.head()
    house.settle()
    told = [line for line in log_lines() if line.get("trace") == TRACE]
    assert told[0]["message"].startswith("customer/acme: commit begins: Hire")
    wait_for(lambda: any("succeeded in" in line["message"] for line in log_lines()
                         if line.get("trace") == TRACE), "its end is told")
    assert {(line["customer"], line["commit"]) for line in told} == {("acme", commit)}


def test_a_repair_is_of_a_trace_of_its_own(house, log_lines):
    (employee,) = house.hire("acme")
    house.settle()
    before = len(log_lines())
    del house.world.containers[employee]
    house.settle()
    begins, *_ = [line for line in log_lines()[before:] if "drift begins" in line["message"]]
    assert len(begins["trace"]) == 32 and "commit" not in begins


@pytest.mark.parametrize("kept", [False, True], ids=["taken-back", "and-that-fails-too"])
def test_a_change_that_failed_and_is_taken_back_leaves_no_trouble(house, kept):
    (one,) = house.hire("acme")
    house.settle()
    house.world.fail["customer-acme"] = [f"employee-{one}: no room", "network: no room"]
    house.edit("acme", [one], role="Sales")
    house.turn(2)
    assert house.stack("customer/acme").health_status == "Degraded"
    runs = len(house.world.runs)
    if not kept:
        house.world.fail.clear()
    house.edit("acme", [one], "Take it back", role="Tester")
    house.turn(6)
    assert len(house.world.runs) == runs + 1, "once; and if that fails it waits for its time"
    assert house.world.runs[-1] == ("customer-acme", True), "it may have been begun"
    newest = house.status.receipts("acme", 1)[0]
    assert (newest.subject, newest.result) == ("Take it back", "failed" if kept else "succeeded")
    row = house.stack("customer/acme")
    assert row.health_status == ("Degraded" if kept else "Healthy") and row.failures == kept
    if kept:
        house.world.fail.clear()
        house.r.book.release({"docker"})
        house.settle()
        assert house.stack("customer/acme").health_status == "Healthy"


def test_what_was_decided_while_it_was_being_done_is_not_done_again(house):
    house.hire("acme")
    house.settle()
    runs, receipts = len(house.world.runs), len(house.status.receipts("acme", 50))
    record = house.r.book.record("customer/acme")
    late = Action("customer/acme", "commit", record.revision, record.digest, "late")
    house.r.queue.put(late, time.monotonic())
    house.settle()
    assert len(house.world.runs) == runs
    assert len(house.status.receipts("acme", 50)) == receipts
