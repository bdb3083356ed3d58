"""The next task of an employee, out of a database that is not to be trusted."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stacks import due

SOON, LATER = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(due, "volume_folder", {"v": tmp_path}.__getitem__)
    path = tmp_path / "state" / "state" / "openclaw.sqlite"
    path.parent.mkdir(parents=True)
    return path


def fill(path: Path, *jobs: tuple[int, str | None, object]) -> sqlite3.Connection:
    made = sqlite3.connect(path)
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("CREATE TABLE cron_jobs (enabled INTEGER, declaration_key TEXT, state_json TEXT)")
    for enabled, key, at in jobs:
        state = {"nextRunAtMs": at.timestamp() * 1000} if isinstance(at, datetime) else at
        made.execute("INSERT INTO cron_jobs VALUES (?, ?, ?)", (enabled, key, json.dumps(state)))
    made.commit()
    return made


def test_the_earliest_of_its_own_tasks(database):
    open_still = fill(database, (1, None, LATER), (1, None, SOON), (0, None, datetime(
        2026, 1, 1, tzinfo=UTC)), (1, "memory-core:dreaming", datetime(2026, 1, 1, tzinfo=UTC)))
    assert due.next_task("v") == SOON, "also when it stands in the write-ahead log alone"
    open_still.close()


def test_no_task_is_none(database):
    fill(database, (1, None, {}), (1, "heartbeat:main", SOON)).close()
    assert due.next_task("v") is None


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_whatever_is_wrong_means_that_nothing_is_due(database, content):
    if content is not None:
        database.write_bytes(content)
    assert due.next_task("v") is None


def test_a_link_is_not_followed(database, tmp_path):
    other = tmp_path / "other.sqlite"
    fill(other, (1, None, SOON)).close()
    database.symlink_to(other)
    assert due.next_task("v") is None


def test_odd_numbers_do_no_harm(database):
    fill(database, (1, None, {"nextRunAtMs": "soon"}), (1, None, {"nextRunAtMs": 10**30})).close()
    due.next_task("v")


def test_a_view_without_end_gets_its_time_and_no_more(database, monkeypatch):
    monkeypatch.setattr(due, "_MOST_S", 0.2)
    made = sqlite3.connect(database)
    made.execute("CREATE VIEW cron_jobs AS WITH RECURSIVE n(enabled) AS (SELECT 1 UNION ALL "
                 "SELECT enabled FROM n) SELECT enabled, NULL AS declaration_key, "
                 "'{\"nextRunAtMs\": 1}' AS state_json FROM n")
    made.commit()
    made.close()
    began = time.monotonic()
    assert due.next_task("v") is None
    assert time.monotonic() - began < 5
