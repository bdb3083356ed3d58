"""The rule for writers on SQLite, and migrations that two processes begin at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from state_repo.database import IMMEDIATE, engine_for
from state_repo.status import MIGRATIONS, VERSION_TABLE, StatusStore
from tests.conftest import ROOT
from tests.rows import put_receipt


@pytest.fixture
def url(tmp_path):
    made = f"sqlite:///{tmp_path}/one.db"
    with engine_for(made).begin() as connection:
        connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
        connection.execute(text("INSERT INTO numbers VALUES (0)"))
    return made


def test_what_was_read_before_another_wrote_does_not_fail_the_write(url):
    """With the usual BEGIN the second statement fails at once with "database is locked", however
    long the time-out (SQLITE_BUSY_SNAPSHOT)."""
    one, other = engine_for(url), engine_for(url)
    with one.connect() as reader:
        assert reader.scalar(text("SELECT n FROM numbers")) == 0
        with other.begin() as writer:
            writer.execute(text("UPDATE numbers SET n = 1"))
        reader.execute(text("UPDATE numbers SET n = n + 1"))
        reader.commit()
        assert reader.scalar(text("SELECT n FROM numbers")) == 2


def test_who_reads_to_write_has_the_writers_place_from_the_start(url):
    engine = engine_for(url).execution_options(**IMMEDIATE)

    def add_twenty() -> None:
        for _ in range(20):
            with engine.begin() as connection:
                before = connection.scalar(text("SELECT n FROM numbers"))
                time.sleep(0.001)
                connection.execute(text("UPDATE numbers SET n = :n"), {"n": before + 1})
    threads = [threading.Thread(target=add_twenty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT n FROM numbers")) == 80


def test_a_reader_holds_no_writer_up_and_a_held_place_is_told_in_time(url):
    one, other = engine_for(url), engine_for(url, patience_s=0.2)
    with one.connect() as reader:
        reader.execute(text("SELECT n FROM numbers"))
        with other.begin() as writer:
            writer.execute(text("UPDATE numbers SET n = 5"))
    with one.execution_options(**IMMEDIATE).connect() as holder:
        holder.execute(text("SELECT n FROM numbers"))
        with pytest.raises(OperationalError, match="locked"), other.begin() as writer:
            writer.execute(text("UPDATE numbers SET n = 6"))
        with other.connect() as reader:
            assert reader.scalar(text("SELECT n FROM numbers")) == 5


def test_several_processes_migrate_at_once(tmp_path):
    url = f"sqlite:///{tmp_path}/fresh.db"
    script = f"from state_repo.status import StatusStore; StatusStore({url!r}).migrate()"
    started = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE)
               for _ in range(4)]
    for process in started:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint.decode()[-2000:]


def test_who_is_busy_flushes_nobody_elses_history(tmp_path):
    status = StatusStore(f"sqlite:///{tmp_path}/s.db")
    status.migrate()

    def receipt(customer: str) -> None:
        put_receipt(status, stack=f"customer/{customer}", revision="a" * 40, cause="commit",
                           result="succeeded", started_at=datetime.now(UTC))
    status.add_event("Healthy", "the loop's own")
    status.add_event("Healthy", "long ago", customer="acme")
    receipt("acme")
    for number in range(30):
        status.add_event("Drift", f"{number}", customer="bolt")
        receipt("bolt")
    status.prune(keep=10)
    assert [e.message for e in status.events("acme")] == ["long ago"]
    assert [e.message for e in status.events("bolt")] == [str(n) for n in range(20, 30)]
    assert len(status.receipts("acme")) == 1 and len(status.receipts("bolt")) == 10
    assert len(status.events()) == 12


def test_a_receipt_is_found_by_each_commit_that_its_run_applied(tmp_path):
    status = StatusStore(f"sqlite:///{tmp_path}/s.db")
    status.migrate()
    shas = [digit * 40 for digit in "abc"]
    put_receipt(status, stack="customer/acme", revision=shas[0], cause="commit", result="succeeded",
                       started_at=datetime.now(UTC),
                       commits=[{"sha": s, "author": "Ann", "subject": s[:3]} for s in shas[:2]])
    assert len(status.receipts("acme", revision="a" * 40)) == 1
    assert len(status.receipts("acme", revision="b" * 10)) == 1
    assert status.receipts("acme", revision="c" * 40) == []


def test_an_older_database_keeps_what_was_applied_and_how_far_the_loop_came(tmp_path):
    url = f"sqlite:///{tmp_path}/one.db"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes |= {"url": url, "version_table": VERSION_TABLE}
    command.upgrade(config, "0002")
    with engine_for(url).begin() as connection:
        for stack, revision, digest in (("loop", "a" * 40, None), ("customer/acme", "b" * 40, "d"),
                                        ("customer/new", None, None)):
            connection.execute(text(
                "INSERT INTO stacks (id, sync_status, health_status, reason, revision, digest, "
                "failures, updated_at) VALUES (:id, 'Synced', 'Healthy', '', :revision, :digest, "
                "0, '2026-01-01 00:00:00')"),
                {"id": stack, "revision": revision, "digest": digest})
    status = StatusStore(url)
    status.migrate()
    assert {row.stack: (row.revision, row.digest) for row in status.applied()} == {
        "loop": ("a" * 40, ""), "customer/acme": ("b" * 40, "d")}
