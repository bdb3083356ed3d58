"""A key of the platform's own, for a server that keeps its backups."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

from operator_cli.output import console, plain
from state_repo import sftp
from state_repo.files import read_secret, write_secret
from state_repo.sftp import Server

_PATIENCE_S = 30.0


def prepare(secrets: Path, server: Server, *, yes: bool) -> None:
    """Makes the key at its first use, asks whether the server is the right one (`yes`: it is),
    and says what to do there if it does not let us in yet.

    Raises:
        click.ClickException: it does not answer, or ssh is missing. Nothing was changed then.
    """
    if not shutil.which("ssh-keyscan"):
        raise click.ClickException("ssh is missing here: apt-get install openssh-client")
    seen = _run("ssh-keyscan", *(["-p", str(server.port)] if server.port else []), server.host)
    lines = sorted(line for line in seen.stdout.splitlines() if line and not line.startswith("#"))
    if not lines:
        raise click.ClickException(f"{server.host} does not answer as an SSH server; is its name "
                                   "right, and does its firewall let this machine in?")
    known = "\n".join(lines) + "\n"
    if not (secrets / sftp.HOSTS).exists() or read_secret(secrets / sftp.HOSTS) != known.strip():
        shown = _run("ssh-keygen", "-lf", "-", given=known).stdout.strip()
        console.print(f"The keys of {plain(server.host)}, which its owner can compare:\n"
                      f"{plain(shown)}", soft_wrap=True)
        if not yes:
            click.confirm("Is this the right server?", abort=True)
        write_secret(secrets / sftp.HOSTS, known)
    if not (secrets / sftp.KEY).exists():
        _make_key(secrets)
    _say_how_to_let_us_in(secrets, server)


def _make_key(secrets: Path) -> None:
    fresh = secrets / f".{sftp.KEY}.new"
    fresh.unlink(missing_ok=True)
    made = _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "instantworker-backups",
                "-f", str(fresh))
    if made.returncode != 0:
        raise click.ClickException(f"no key could be made: {made.stderr.strip()}")
    fresh.with_name(fresh.name + ".pub").unlink()
    fresh.rename(secrets / sftp.KEY)


def _say_how_to_let_us_in(secrets: Path, server: Server) -> None:
    command = sftp.ssh_command(secrets, server)
    assert command is not None  # both files were just written
    if not (why := sftp.refusal(command)):
        console.print(f"{plain(str(server))} lets us in.")
        return
    public = _run("ssh-keygen", "-y", "-f", str(secrets / sftp.KEY)).stdout.strip()
    console.print(f"[yellow]{plain(str(server))} does not let us in yet[/] ({plain(why)}). Append "
                  "this line to ~/.ssh/authorized_keys there, then: iw backup now", soft_wrap=True)
    click.echo(f"restrict {public}")


def _run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False,
                              timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise click.ClickException(f"{command[0]} took longer than {_PATIENCE_S:.0f} s; is the "
                                   "server reachable?") from error
