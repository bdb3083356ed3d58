"""What is to be written is written, now or later, once each and in order."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime

import pytest

from reconciler import outbox as outbox_module
from reconciler.outbox import Outbox
from state_repo.status import StatusStore

ROW = {"customer": "acme", "name": "Pulse", "role": "R", "desired_state": "running",
       "sync_status": "Synced", "health_status": "Healthy", "reason": ""}


@pytest.fixture
def status(tmp_path):
    made = StatusStore(f"sqlite:///{tmp_path}/s.db", patience_s=0.1)
    made.migrate()
    return made


@pytest.fixture
def lock(tmp_path, status):
    made = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    yield made
    made.close()


def test_what_could_not_be_written_comes_later_the_newest_of_a_row(status, lock, monkeypatch):
    monkeypatch.setattr(outbox_module, "_AGAIN_S", 0.0)
    box = Outbox(status)
    box.employee("kept", **ROW)
    box.employee("gone", **ROW)
    lock.execute("BEGIN IMMEDIATE")
    box.event("One", "1", "acme")
    box.employee("kept", **ROW | {"health_status": "Degraded"})
    box.employee("kept", **ROW | {"health_status": "Missing"})
    box.stack("customer/acme", revision="r1", reason="old")
    box.stack("customer/acme", reason="new")
    box.forget_employee("gone")
    box.event("Two", "2", "acme")
    box.receipt(stack="customer/acme", revision="r", cause="commit", result="succeeded",
                started_at=datetime.now(UTC))
    assert "locked" in box.problem and status.events() == []
    lock.execute("ROLLBACK")
    box.flush()
    assert box.problem is None
    assert [e.kind for e in status.events()] == ["One", "Two"]
    assert status.employee("kept").health_status == "Missing"
    assert status.employee("gone") is None
    stack = status.stack("customer/acme")
    assert (stack.revision, stack.reason) == ("r1", "new")
    assert len(status.receipts("acme")) == 1
    box.flush()
    assert len(status.events()) == 2, "and once"


def test_while_it_is_away_it_is_not_asked_all_the_time(status, lock):
    box = Outbox(status)
    lock.execute("BEGIN IMMEDIATE")
    box.event("One", "1")
    began = time.monotonic()
    for number in range(50):
        box.event("More", str(number))
    assert time.monotonic() - began < 2, "each of 50 writes would wait for 0.1 s"
    lock.execute("ROLLBACK")


def test_a_row_that_is_wrong_in_itself_holds_no_other_up(status):
    box = Outbox(status)
    with box.together():
        box.event("Good", "a")
        box.receipt(stack=None, revision="r", cause="commit", result="succeeded",
                    started_at=datetime.now(UTC))
        box.event("Good", "b")
    assert [e.message for e in status.events()] == ["a", "b"] and box.problem is None


def test_what_is_gathered_goes_out_together(status, monkeypatch):
    box, writes = Outbox(status), []
    original = status.write
    monkeypatch.setattr(status, "write", lambda changes: (writes.append(len(changes)),
                                                          original(changes)))
    with box.together():
        for number in range(20):
            box.employee(f"e{number}", **ROW)
    assert writes == [20]


def test_what_waits_is_bounded(status, lock, monkeypatch):
    box = Outbox(status)
    lock.execute("BEGIN IMMEDIATE")
    for number in range(outbox_module.MOST_WAITING + 500):
        box.event("E", str(number))
    assert len(box._lines) == outbox_module.MOST_WAITING
    lock.execute("ROLLBACK")
