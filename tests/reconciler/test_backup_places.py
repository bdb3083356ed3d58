"""Backups elsewhere, as an engineer sets them: on a real SSH server, and in a real S3 store."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from operator_cli.whole import iw
from state_repo.sftp import HOSTS, KEY
from tests.conftest import free_ports
from tests.e2e.house import until
from tests.reconciler.test_backups import House, house, pulse
from tests.ssh_server import SshServer, ssh_server
from tools import machine

__all__ = ["house"]  # the fixture

pytestmark = [pytest.mark.parts, pytest.mark.long]


def run(house: House, *arguments: str, text: str | None = None):
    return CliRunner().invoke(iw, ["--data", str(house.instance.data), "backup", *arguments],
                              input=text)


def goes_there_and_comes_back(house: House) -> None:
    folder = pulse(house)
    house.backups._r.book.platform = house.store.platform()
    made = house.backups.run(house.store.platform().backups)
    assert made.is_whole and made.volumes == 1, made
    house.docker.running.clear()
    (folder / "workspace" / "plan.md").write_text("ruined")
    house.backups.restore("acme", "emp-a", None)
    assert (folder / "workspace" / "plan.md").read_text() == "Sell more tea."
    again = house.backups.run(house.store.platform().backups)
    assert again.is_whole and again.added < made.added, "what is there is not sent again"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "other-machine") as made:
        yield made


def test_by_sftp_with_a_key_of_its_own(house, server):
    place, secrets = server.place, house.instance.secrets_path
    asked = run(house, "set", place, text="n\n")
    assert asked.exit_code == 1 and "SHA256:" in asked.output, asked.output
    assert not (secrets / HOSTS).exists() and house.store.platform().backups.repository is None
    done = run(house, "set", place, text="y\n")
    assert done.exit_code == 0 and "does not let us in yet" in done.output, done.output
    failed = house.backups.run(house.store.platform().backups)
    assert not failed.is_whole and "Permission denied" in str(failed.problems), failed

    server.let_in(done.output)
    again = run(house, "set", place)
    assert "lets us in" in again.output and "SHA256" not in again.output, "it is known by now"
    assert (secrets / KEY).stat().st_mode & 0o777 == 0o600
    goes_there_and_comes_back(house)

    # Another server answers there: it gets nothing.
    (secrets / HOSTS).write_text((secrets / HOSTS).read_text().replace("AAAA", "AAAB"))
    refused = house.backups.run(house.store.platform().backups)
    assert not refused.is_whole and "ost key verification failed" in str(refused.problems), refused


def test_a_server_that_is_not_there_changes_nothing(house):
    done = run(house, "set", f"sftp://keeper@127.0.0.1:{free_ports()['app']}//srv/backups")
    assert done.exit_code == 1 and "does not answer as an SSH server" in done.output
    assert house.store.platform().backups.repository is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """The URL of versitygw, which keeps what it is given below a folder."""
    (tmp_path / "s3" / "backups").mkdir(parents=True)  # a bucket
    url = f"http://127.0.0.1:{free_ports()['app']}"
    with (tmp_path / "versitygw.log").open("wb") as log:
        process = subprocess.Popen(
            [machine.versitygw(), "--port", url.removeprefix("http://"), "--access", "keeper",
             "--secret", "a-secret-key", "posix", str(tmp_path / "s3")], stdout=log, stderr=log)
        try:
            until(lambda: answers(url), "versitygw answers", 30)
            yield url
        finally:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 403
    except requests.ConnectionError:
        return False


def test_in_s3(house, store):
    place = f"s3:{store}/backups/iw"
    wrong = run(house, "set", place, text="AWS_ACCESS_KEY_ID=keeper\nAWS_SECRET_ACCESS_KEY=no\n")
    assert wrong.exit_code == 0, wrong.output
    failed = house.backups.run(house.store.platform().backups)
    assert not failed.is_whole and "ignature" in str(failed.problems), failed
    run(house, "set", place, text="AWS_ACCESS_KEY_ID=keeper\nAWS_SECRET_ACCESS_KEY=a-secret-key\n")
    goes_there_and_comes_back(house)
