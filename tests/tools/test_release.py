"""An upgrade keeps what was, and goes back: by value, with real SQLite and files."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from state_repo.instance import PORTS, Instance
from state_repo.status import VERSION_TABLE, StatusStore
from tests.tools.test_migrations import revisions
from tools import processes, release, versions
from tools.steps import StepError
from webapp import accounts


@pytest.fixture
def instance(tmp_path: Path, monkeypatch) -> Instance:
    made = Instance(id="0badcafe", data=tmp_path, ports=dict.fromkeys(PORTS, 2000))
    made.save()
    (tmp_path / "run").mkdir()
    made.secrets_path.mkdir(mode=0o700)
    (made.secrets_path / "key").write_text("secret")
    StatusStore(made.database_url).migrate()
    accounts.prepare(made)
    stopped: list[str] = []
    monkeypatch.setattr(release.service, "stop", lambda _, name: stopped.append(name))
    monkeypatch.setattr(processes, "pid_of", lambda *_: 1)
    return made


def runs(instance: Instance, code: str) -> None:
    for name in processes.NAMES:
        (instance.data / "run" / f"{name}.code").write_text(json.dumps(
            {"code": code, "commit": "v1"}))


def test_what_runs_is_compared_with_what_is_here(instance, monkeypatch):
    for name in processes.NAMES:
        versions.started(instance.data, name)
    assert not versions.is_due(instance.data)
    runs(instance, "older")
    assert versions.is_due(instance.data)
    (instance.data / "run" / "webapp.code").unlink()  # started before this was kept
    assert versions.running(instance.data)["webapp"]["code"] == ""
    monkeypatch.setattr(processes, "pid_of", lambda *_: None)
    assert not versions.is_due(instance.data), "nothing runs: there is nothing to upgrade"


def test_the_code_is_told_by_what_it_holds(tmp_path):
    for room in versions.ROOMS:
        (tmp_path / room / "__pycache__").mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("a")
    (tmp_path / "webapp" / "a.html").write_text("one")
    first = versions.digest(tmp_path)
    (tmp_path / "webapp" / "__pycache__" / "a.pyc").write_text("compiled")
    assert versions.digest(tmp_path) == first
    (tmp_path / "webapp" / "a.html").write_text("two")
    assert versions.digest(tmp_path) != first


def test_a_copy_is_kept_that_only_its_owner_reads_and_old_ones_go(instance):
    runs(instance, "older")
    made = [release.keep(instance) for _ in range(release.KEPT + 2)]
    assert release.kept(instance.data) == made[-release.KEPT:]
    last = made[-1]
    assert last.stat().st_mode & 0o077 == 0 and last.parent.stat().st_mode & 0o077 == 0
    told = json.loads((last / "upgrade.json").read_text())
    assert told["from"] == {"code": "older", "commit": "v1"}
    assert told["to"]["code"] == versions.digest()
    assert told["schemas"] == {"status": revisions(release.MIGRATIONS)[-1],
                               "web": revisions(accounts.MIGRATIONS)[-1]}
    with sqlite3.connect(last / "database.sqlite3") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (last / "secrets" / "key").read_text() == "secret"


def test_a_copy_that_fails_changes_nothing(instance, monkeypatch):
    runs(instance, "older")
    monkeypatch.setattr(release.platform_copy, "take", _fails)
    with pytest.raises(StepError, match="no room") as error:
        release.keep(instance)
    assert "nothing was changed" in error.value.next_try
    assert release.kept(instance.data) == []


def _fails(*_):
    raise release.StackError("no room is left")


def test_back_takes_the_tables_to_where_they_were(instance):
    runs(instance, "older")
    folder = release.keep(instance)
    told = json.loads((folder / "upgrade.json").read_text())
    told["schemas"] = {"status": "0003", "web": "0003"}
    (folder / "upgrade.json").write_text(json.dumps(told))
    last = release.back(instance.data)
    assert last["from"]["commit"] == "v1"
    assert release.revision_of(instance.database_url, VERSION_TABLE) == "0003"
    assert release.kept(instance.data) == []
    with pytest.raises(StepError, match="no upgrade yet"):
        release.back(instance.data)


def test_back_is_for_the_newer_code_alone(instance):
    runs(instance, versions.digest())
    release.keep(instance)
    with pytest.raises(StepError, match="the code of before already"):
        release.back(instance.data)
