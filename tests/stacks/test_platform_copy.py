"""An installation's own data: taken while it is in use, and put back somewhere else."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from stacks import StackError, platform_copy
from stacks.platform_copy import VolumeCopied
from state_repo import changes
from state_repo.database import engine_for
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from tests.conftest import free_ports

ENGINEER = Author("Engineer", "eng@iw.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
VOLUMES = [VolumeCopied("iw-vol-emp-a", "acme", "emp-a"),
           VolumeCopied("iw-know-acme", "acme", None)]


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    data = tmp_path / "data"
    made = Instance(id="0badcafe", data=data, ports=free_ports())
    made.save()
    return fill(made)


def fill(made: Instance) -> Instance:
    store = Store.open_or_create(made)
    changes.set_platform(store, ENGINEER, "P", lambda _: Platform(images={"employee": IMAGE}))
    changes.create_customer(store, ENGINEER, "acme", "Acme", 3)
    StatusStore.prepared(made)
    for path, words in (("secrets/provider-key", "sk-1"), ("volumes/iw-vol-emp-a", ""),
                        ("data/edge/caddy/root.crt", "cert"), ("data/prometheus/wal", "much"),
                        ("config/edge/bootstrap.json", "{}"), ("pulumi/state.json", "{}")):
        (made.data / path).parent.mkdir(parents=True, exist_ok=True)
        (made.data / path).write_text(words)
    (made.data / "secrets/provider-key").chmod(0o600)
    ledger = made.data / "data/model_proxy/ledger.db"
    ledger.parent.mkdir(parents=True)
    with closing(sqlite3.connect(ledger)) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE spend (usd REAL);"
                         "INSERT INTO spend VALUES (4.5);")
    return made


def taken(instance: Instance, folder: Path) -> Path:
    folder.mkdir()
    platform_copy.take(instance, folder, Store(instance.state_repo_path).head(), VOLUMES)
    return folder


def test_what_was_taken_is_put_back_elsewhere(instance, tmp_path):
    StatusStore(instance.database_url).add_event("Hired", "Pulse", "acme", None)
    ledger = sqlite3.connect(instance.data / "data/model_proxy/ledger.db")
    ledger.execute("INSERT INTO spend VALUES (1.5)")  # somebody writes meanwhile
    copy = taken(instance, tmp_path / "copy")
    ledger.rollback()
    ledger.close()
    platform_copy.check(copy)
    again = platform_copy.put_back(copy, tmp_path / "again")
    assert replace(again, data=instance.data) == instance
    old, new = Store(instance.state_repo_path), Store.open_or_create(again)
    assert new.head() == old.head() and new.snapshot().customers.keys() == {"acme"}
    assert [e.message for e in StatusStore(again.database_url).events()] == ["Pulse"]
    with closing(sqlite3.connect(again.data / "data/model_proxy/ledger.db")) as db:
        assert db.execute("SELECT * FROM spend").fetchall() == [(4.5,)]
    secret = again.secrets_path / "provider-key"
    assert secret.read_text() == "sk-1" and secret.stat().st_mode & 0o777 == 0o600
    assert (again.data / "volumes/iw-vol-emp-a").exists()
    assert (again.data / "data/edge/caddy/root.crt").read_text() == "cert"
    for made_anew in ("data/prometheus", "config", "pulumi"):
        assert not (again.data / made_anew).exists()
    assert platform_copy.manifest(copy) == (old.head(), VOLUMES)


def test_an_installation_is_never_written_over(instance, tmp_path):
    copy = taken(instance, tmp_path / "copy")
    with pytest.raises(StackError, match="holds an installation already; nothing was changed"):
        platform_copy.put_back(copy, instance.data)


def damage_bundle(copy: Path) -> None:
    bundle = bytearray((copy / "state.bundle").read_bytes())
    bundle[-100:] = bytes(100)
    (copy / "state.bundle").write_bytes(bundle)


def damage_database(copy: Path) -> None:
    with open(copy / "database.sqlite3", "r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))


def another_format(copy: Path) -> None:
    (copy / "manifest.json").write_text(json.dumps({"format": 99}))


@pytest.mark.parametrize("damage, says", [
    (damage_bundle, "git failed"), (damage_database, "database.sqlite3 is damaged"),
    (another_format, "format 99"), (lambda copy: (copy / "manifest.json").unlink(), "no copy of")])
def test_what_could_not_be_put_back_is_found_before(instance, tmp_path, damage, says):
    copy = taken(instance, tmp_path / "copy")
    damage(copy)
    with pytest.raises(StackError, match=says):
        platform_copy.check(copy)


@pytest.mark.parts
def test_a_database_of_a_server_comes_along(tmp_path, postgres_server, monkeypatch):
    for name in ("old", "new"):
        engine = engine_for(postgres_server).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS copy_{name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE copy_{name}"))
        engine.dispose()
    base = postgres_server.rpartition("/")[0]
    made = Instance(id="0badcafe", data=tmp_path / "data", ports=free_ports(),
                    database=f"{base}/copy_old")
    made.save()
    fill(made)
    StatusStore(made.database_url).add_event("Hired", "Pulse", "acme", None)
    copy = taken(made, tmp_path / "copy")
    platform_copy.check(copy)
    again = platform_copy.put_back(copy, tmp_path / "again",
                                   {"DATABASE_URL": f"{base}/copy_new"})
    monkeypatch.setenv("DATABASE_URL", f"{base}/copy_new")
    assert [e.message for e in StatusStore(again.database_url).events()] == ["Pulse"]
