"""Set-up names what it built, and leaves alone what somebody chose."""

from __future__ import annotations

import sqlite3

import pytest

from state_repo.instance import Instance, InstanceError
from tools import processes
from tools.bootstrap import followed, move_database

OLD, NEW, MINE = "x@sha256:0", "x@sha256:1", "x@sha256:2"


@pytest.mark.parametrize(("named", "last", "expected"), [
    ({}, {}, NEW), ({"employee": OLD}, {"employee": OLD}, NEW), ({"employee": OLD}, {}, NEW),
    ({"employee": MINE}, {"employee": OLD}, MINE),  # pinned
    ({"employee": OLD}, {"employee": NEW}, OLD),  # rolled back
])
def test_a_digest_that_somebody_set_stays(named, last, expected):
    assert followed(named, {"employee": NEW}, last) == {"employee": expected}


def test_other_parts_are_kept():
    assert followed({"mine": MINE}, {"edge": NEW}, {}) == {"mine": MINE, "edge": NEW}


def test_the_database_of_an_earlier_version_is_brought_over(tmp_path, monkeypatch):
    made = Instance(id="0badcafe", data=tmp_path)
    move_database(made)
    assert not made.database_path.exists(), "where there is none, none is made"
    connection = sqlite3.connect(tmp_path / "instantworker.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (7)")
    connection.commit()  # a part of it stands beside the file still
    monkeypatch.setattr(processes, "pid_of", lambda *_: 1)
    with pytest.raises(InstanceError, match="make down"):
        move_database(made)
    monkeypatch.setattr(processes, "pid_of", lambda *_: None)
    move_database(made)
    connection.close()
    with sqlite3.connect(made.database_path) as moved:
        assert moved.execute("SELECT x FROM t").fetchone() == (7,)
    assert not list(tmp_path.glob("instantworker.db*"))
