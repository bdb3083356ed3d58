"""Set-up names what it built, and leaves alone what somebody chose."""

from __future__ import annotations

import sqlite3
import stat
import subprocess

import pytest

from state_repo.forge import ForgeAddressError
from state_repo.git_door import GitError
from state_repo.instance import Instance, InstanceError
from state_repo.store import Store
from tools import processes
from tools.bootstrap import followed, keep_forge, keep_told, move_database, remembered
from webapp import settings

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


def test_what_the_web_app_is_told_holds_without_the_environment_too(tmp_path, monkeypatch):
    made = Instance(id="0badcafe", data=tmp_path)
    made.save()
    keep_told(made, {"IW_SMTP_URL": "smtps://u:p@mail.test:465", "STRIPE_SECRET_KEY": " "})
    monkeypatch.delenv("IW_SMTP_URL", raising=False)
    found = settings.of(tmp_path)
    assert found.smtp_url == "smtps://u:p@mail.test:465" and found.stripe is None
    assert found.mail_from is None and not found.local
    kept = made.secrets_path / "webapp" / "iw-smtp-url"
    assert stat.S_IMODE(kept.stat().st_mode) & 0o077 == 0
    monkeypatch.setenv("IW_SMTP_URL", "smtp://other.test:25")
    assert settings.of(tmp_path).smtp_url == "smtp://other.test:25"


# ---- a forge -----------------------------------------------------------------------------------

FORGE = {"IW_STATE_REMOTE": "http://127.0.0.1:9/acme/state.git", "IW_FORGE": "gitea",
         "IW_FORGE_TOKEN": "t:o/k en"}


def test_what_set_up_is_told_of_a_forge_is_kept(tmp_path):
    made = remembered(Instance(id="0badcafe", data=tmp_path), FORGE)
    assert Instance.load(tmp_path) == made and made.state_forge is not None
    assert remembered(made, {}) == made, "and is not forgotten"
    with pytest.raises(ForgeAddressError, match="IW_FORGE is 'svn'"):
        remembered(made, {"IW_FORGE": "svn"})
    keep_forge(made, {})
    assert not made.secrets_path.exists(), "without a token nothing is made"
    keep_forge(made, FORGE)
    token = made.secrets_path / "forge-token"
    assert token.read_text() == FORGE["IW_FORGE_TOKEN"]
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert FORGE["IW_FORGE_TOKEN"] not in (tmp_path / "instance.json").read_text()


def test_git_shows_the_token_to_that_host_alone_and_keeps_it_when_it_is_refused(tmp_path):
    made = remembered(Instance(id="0badcafe", data=tmp_path / "it's here"), FORGE)
    keep_forge(made, FORGE)
    with pytest.raises(GitError, match="cannot fetch"):  # nobody is there
        Store.open_or_create(made)

    def credential(verb: str, host: str) -> str:
        return subprocess.run(
            ["git", "credential", verb], cwd=made.state_repo_path, text=True, capture_output=True,
            input=f"protocol=http\nhost={host}\nusername=token\npassword=x\n\n" if (
                verb == "reject") else f"protocol=http\nhost={host}\n\n", check=False,
            env={"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path)}).stdout
    assert "password=t:o/k en" in credential("fill", "127.0.0.1:9")
    assert "password" not in credential("fill", "127.0.0.1:10")
    credential("reject", "127.0.0.1:9")
    assert "password=t:o/k en" in credential("fill", "127.0.0.1:9")


def test_a_remote_over_ssh_gets_no_token(tmp_path):
    made = remembered(Instance(id="0badcafe", data=tmp_path), FORGE | {
        "IW_STATE_REMOTE": "git@git.example.com:acme/state.git"})
    keep_forge(made, FORGE)
    assert not made.git_credentials_path.exists()
