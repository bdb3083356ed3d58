"""Addresses of servers that keep backups, and how ssh gets there."""

from __future__ import annotations

import pytest

from state_repo.sftp import HOSTS, KEY, Server, refusal, server_of, ssh_command


@pytest.mark.parametrize("place, server", [
    ("sftp:backup@other.example.com:/srv/iw", Server("other.example.com", "backup")),
    ("sftp:other:backups/iw", Server("other")),
    ("sftp://u1.sub+x@other.example.com:2222//srv/iw", Server("other.example.com", "u1.sub+x",
                                                              2222)),
    ("sftp://[2001:db8::1]:2222/srv", Server("2001:db8::1", None, 2222)),
    ("sftp:b@other:2222/srv", Server("other", "b")),  # a folder called 2222
    ("sftp:-oProxyCommand=x:/srv", None), ("sftp:a@-b:/srv", None), ("sftp:", None),
    ("/mnt/backups", None), ("s3:https://s3.iw.test/bucket", None)])
def test_the_server_of_an_address(place, server):
    assert server_of(place) == server


def test_our_key_is_used_once_it_and_the_server_are_known(tmp_path):
    server = Server("other.example.com", "backup", 2222)
    assert ssh_command(tmp_path, server) is None, "as whoever runs it is set up"
    (tmp_path / KEY).touch()
    assert ssh_command(tmp_path, server) is None
    (tmp_path / HOSTS).touch()
    command = ssh_command(tmp_path, server)
    assert command is not None and command[:5] == ["ssh", "-F", "none", "-i", str(tmp_path / KEY)]
    assert command[-5:] == ["-p", "2222", "backup@other.example.com", "-s", "sftp"]
    assert "StrictHostKeyChecking=yes" in command and "BatchMode=yes" in command


@pytest.mark.parametrize("script, said", [
    ("exit 0", ""), ("echo Permission denied. >&2; exit 255", "Permission denied."),
    ("exit 7", "it ended with 7")])
def test_what_it_says_when_we_are_not_let_in(script, said):
    assert refusal(["sh", "-c", script]) == said
    assert refusal(["/no/such/program"]).startswith("/no/such/program can't be run")
