"""A place of backups that is reached by SFTP: whose it is, by which key we come in, and how its
server is known. restic lets ssh do it; without a key of ours, ssh does as whoever runs it is set
up to."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEY, HOSTS = "backup-ssh-key", "backup-ssh-hosts"  # files of the secrets folder
_PLACE = re.compile(r"sftp:(?://)?(?:(?P<user>[\w.+][\w.+-]*)@)?"
                    r"(?P<host>\w[\w.-]*|\[[0-9a-fA-F:]+\])(?P<rest>[:/].*)")
_SECONDS = 15  # until ssh gives a server up that does not answer


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


def server_of(place: str) -> Server | None:
    """The server of `sftp:user@host:/path` or `sftp://user@host:port/path`; None for what is
    neither.

    https://restic.readthedocs.io/en/stable/030_preparing_a_new_repo.html#sftp
    """
    if not (found := _PLACE.fullmatch(place)):
        return None
    port = re.match(r":(\d{1,5})/", found["rest"]) if place.startswith("sftp://") else None
    return Server(found["host"].strip("[]"), found["user"], int(port[1]) if port else None)


def ssh_command(secrets: Path, server: Server) -> list[str] | None:
    """How ssh comes in with our own key, to a server that shows the key that was seen when the
    place was set; None without one."""
    key, hosts = secrets / KEY, secrets / HOSTS
    if not key.exists() or not hosts.exists():
        return None
    return ["ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={hosts}", "-o", "StrictHostKeyChecking=yes",
            "-o", f"ConnectTimeout={_SECONDS}", "-o", "ServerAliveInterval=30",
            *(["-p", str(server.port)] if server.port else []), str(server), "-s", "sftp"]


def refusal(command: Sequence[str]) -> str:
    """What ssh says of a server that does not let us in; "" when it does."""
    try:
        asked = subprocess.run(command, input="", capture_output=True, text=True, check=False,
                               timeout=2 * _SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} can't be run, or did not end ({type(error).__name__})"
    return "" if asked.returncode == 0 else (
        " ".join(asked.stderr.split()) or f"it ended with {asked.returncode}")
