"""The web app's walls, built by the real Bubblewrap: it runs as a user of its own, sees what it
needs, and writes to its database and the state repo alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from state_repo import changes
from state_repo.database import engine_for
from state_repo.instance import Instance
from state_repo.store import Author, Store
from tools import confine
from tools.machine import ROOT

pytestmark = pytest.mark.parts


def inside(data: Path, *command: str) -> str:
    done = subprocess.run([*confine.walls(data), *command], capture_output=True, text=True,
                          check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_below_tmp_is_seen_and_can_not_be_written_to(tmp_path: Path, monkeypatch):
    code, data = tmp_path / "clone", tmp_path / "clone" / "data"
    (data / "secrets").mkdir(parents=True)
    (code / "app.py").write_text("code")
    (data / "secrets" / "key").write_text("secret")
    outside = Path("/tmp") / f"iw-outside-{tmp_path.name}"
    outside.write_text("another's")
    monkeypatch.setattr(confine, "ROOT", code)
    try:
        said = inside(data, "sh", "-c",
                      f"cat {code}/app.py; touch {code}/new || echo read-only; "
                      f"touch {data}/made || echo closed; touch {data}/database/made; "
                      f"touch /tmp/own && ls -A {data}/secrets; ls {outside} || echo hidden")
    finally:
        outside.unlink()
    assert said.split() == ["coderead-only", "closed", "webapp", "hidden"]
    assert (data / "database" / "made").exists() and not (code / "new").exists()


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """With a state repo and a database as root's reconciler leaves them."""
    made = Instance(id="0badcafe", data=tmp_path / "data", ports={})
    made.save()
    store = Store.open_or_create(made)
    changes.set_platform(store, Author("A", "a@x.test"), "First", lambda p: replace(
        p, images={"employee": "employee@sha256:" + "0" * 64}))
    changes.create_customer(store, Author("A", "a@x.test"), "acme", "Acme", 5)
    with engine_for(made.database_url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_it_has_a_user_of_its_own_that_shares_the_repo_and_the_database(instance):
    (instance.data / "secrets" / "webapp").mkdir(parents=True)
    (instance.data / "secrets" / "webapp" / "stripe-secret-key").write_text("sk")
    said = inside(instance.data, sys.executable, "-c", f"""
import os, pwd, sqlite3
from pathlib import Path
from state_repo.instance import Instance
from state_repo import changes
from state_repo.store import Author, Store
who = Instance.load(Path({str(instance.data)!r}))
store = Store.open_or_create(who)
for n in range(40):  # folders of objects are made by both
    changes.hire(store, Author("B", "b@x.test"), "acme", f"N{{n}}", "R") if n < 3 else (
        store.objects.write("blob", b"%d" % n))
with sqlite3.connect(who.database_path) as database:
    database.execute("INSERT INTO t VALUES (1)")
print(os.getuid(), os.getgid(), os.getgroups(), pwd.getpwuid(os.getuid()).pw_name,
      (who.secrets_path / "webapp" / "stripe-secret-key").read_text())
for path in ("/etc/shadow", "/root/.ssh", who.state_repo_path / "hooks" / "x",
             who.state_repo_path / "config", who.data / "instance.json"):
    try:
        os.open(path, os.O_RDONLY if str(path).startswith(("/etc", "/root")) else
                os.O_WRONLY | os.O_CREAT)
        print("reached", path)
    except OSError:
        pass
""").split("\n")
    uid = confine.user(instance.data)
    assert said == [f"{uid} {uid} [] instantworker sk", ""]
    store = Store.open_or_create(instance)
    store.objects.write("blob", b"made by root")
    for n in range(3):  # and root goes on beside it
        changes.hire(store, Author("A", "a@x.test"), "acme", f"M{n}", "R")
    with engine_for(instance.database_url).begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
    assert "2" in inside(instance.data, sys.executable, "-c", f"""
import sqlite3
database = sqlite3.connect({str(instance.database_path)!r})
database.execute("INSERT INTO t VALUES (3)"); database.commit()
print(database.execute("SELECT max(x) - 1 FROM t").fetchone()[0])""")
    assert "M2" in inside(instance.data, sys.executable, "-c", f"""
from pathlib import Path
from state_repo.instance import Instance
from state_repo import changes
from state_repo.store import Author, Store
store = Store.open_or_create(Instance.load(Path({str(instance.data)!r})))
for n in range(200, 900):  # into every folder that root made
    store.objects.write("blob", b"%d" % n)
store.objects.write("blob", b"made by root")  # what is there already
changes.hire(store, Author("B", "b@x.test"), "acme", "Last", "R")
print([e.name for e in store.snapshot().customers["acme"].employees.values()])""")


def test_no_other_user_of_the_machine_reads_the_data(instance):
    confine.walls(instance.data)
    assert not instance.data.stat().st_mode & (stat.S_IRWXO)
    assert not instance.database_path.stat().st_mode & stat.S_IRWXO


def test_code_that_only_root_reads_runs_as_root_within_the_walls(tmp_path, monkeypatch):
    code = tmp_path / "clone"
    (code / "webapp").mkdir(parents=True)
    (code / "webapp" / "__main__.py").touch(mode=0o600)
    monkeypatch.setattr(confine, "ROOT", code)
    assert "setpriv" not in confine.walls(tmp_path / "data")
    (code / "webapp" / "__main__.py").chmod(0o644)
    if os.geteuid() == 0:
        assert "setpriv" in confine.walls(tmp_path / "data")


def test_another_instance_has_another_user(tmp_path):
    users = {confine.user(tmp_path / str(n)) for n in range(50)}
    assert len(users) == 50
    assert all(confine.FIRST_UID <= uid < 2**31 for uid in users)
