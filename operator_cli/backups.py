"""`iw backup`: where everything is copied to, whether it is whole, and how it comes back."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import replace
from typing import Any

import click

from operator_cli import ssh_key
from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, console, plain, show_json, table
from operator_cli.reach import notify
from policies.documents import check_platform
from state_repo import changes, sftp
from state_repo.documents import Platform
from state_repo.files import read_secret, write_secret
from state_repo.snapshot import CustomerState

_LOOK_S = 0.5
_DOWN_S = 120.0
_BEGINS_S = 120.0  # the setting is applied, and looked at
_HOURS = 24 * 3600.0


@iw.group()
def backup() -> None:
    """Encrypted copies of everything, in a folder, by SFTP or in S3; and back again."""


@backup.command("set")
@click.argument("repository")
@click.option("--every-hours", type=float, help="From one backup to the next (default: 6).")
@click.option("--access/--no-access", default=None, help="Ask for what the place wants (default "
              "for s3, b2, azure, gs): a line NAME=value each, such as AWS_ACCESS_KEY_ID=…, ended "
              "by an empty line.")
@click.option("--yes", is_flag=True, help="Don't ask whether an SFTP server is the right one.")
@click.pass_obj
def set_(obj: Context, repository: str, every_hours: float | None, access: bool | None,
         yes: bool) -> None:
    """Copy everything to REPOSITORY: a folder, sftp:user@host:/path, s3:https://host/bucket, or
    another place as restic names it.

    By SFTP it comes with a key of its own, and says the line that lets that in.
    """
    if server := sftp.server_of(repository):
        ssh_key.prepare(obj.instance.secrets_path, server, yes=yes)
    wants = repository.partition(":")[0] in ("s3", "b2", "azure", "gs", "swift")
    secret = "backup-access" if (wants if access is None else access) else None
    if secret:
        write_secret(obj.instance.secrets_path / secret, _lines())

    def apply(platform: Platform) -> Platform:
        backups = replace(platform.backups, repository=repository, access=secret)
        if every_hours is not None:
            backups = replace(backups, every_hours=every_hours)
        changed = replace(platform, backups=backups)
        if wrong := [v for v in check_platform(changed) if v.field.startswith("spec.backups")]:
            raise click.ClickException("\n".join(map(str, wrong)))
        return changed
    # Now, and not with the first backup: it is to be written down.
    write_secret(obj.instance.backup_password_path, secrets.token_urlsafe(32), replace=False)
    changes.set_platform(obj.store, obj.author(), "Set where backups go", apply)
    notify(obj.instance.socket)
    console.print("Set. The first backup begins within a minute: iw backup list\n[yellow]Write the "
                  "password down, away from this machine:[/] iw backup key. Without it no backup "
                  "can be read.", soft_wrap=True)


@backup.command()
@click.pass_obj
def off(obj: Context) -> None:
    """Make no more backups; those that there are stay."""
    if sys.stdin.isatty():
        click.confirm("Then nothing that is lost from now on can be restored. Go on?", abort=True)
    changes.set_platform(obj.store, obj.author(), "Make no more backups", lambda p: replace(
        p, backups=replace(p.backups, repository=None, access=None)))
    notify(obj.instance.socket)
    console.print("No more backups are made.")


@backup.command()
@click.pass_obj
def key(obj: Context) -> None:
    """Show the password that every backup is encrypted with."""
    click.echo(read_secret(obj.instance.backup_password_path))


@backup.command("list")
@json_option
@click.pass_obj
def listed(obj: Context, as_machine: bool) -> None:
    """The last backups and drills. Exit code 1 unless the last of each is whole."""
    found = obj.ask("GET", "/v1/backups")
    if as_machine:
        show_json(found)
    elif not found["repository"]:
        console.print("[yellow]Nothing is backed up.[/] iw backup set REPOSITORY", soft_wrap=True)
    else:
        console.print(f"To {plain(found['repository'])} every {found['every_hours']:g} h"
                      + (f"; now: {plain(found['doing'])}" if found["doing"] else ""),
                      soft_wrap=True)
        console.print(table(("WHEN", "WHAT", "RESULT", "VOLUMES", "SIZE", "NEW", "STILL", "SAYS"), (
            (ago(r["began"]), what, "ok" if r["whole"] else "failed",
             str(r["volumes"]) if what == "backup" else r["sample"], _size(r["bytes"]),
             _size(r["added"]), f"{r['still_s']:g} s", _says(what, r))
            for what, r in sorted([("backup", r) for r in found["runs"][-5:]]
                                  + [("drill", r) for r in found["drills"][-2:]],
                                  key=lambda one: one[1]["began"]))))
    if not found["repository"] or any(
            runs and not runs[-1]["whole"] for runs in (found["runs"], found["drills"])):
        sys.exit(1)


@backup.command()
@json_option
@click.pass_obj
def now(obj: Context, as_machine: bool) -> None:
    """Make a backup now. Exit code 1 unless it is whole."""
    _done(obj, "run", "runs", as_machine)


@backup.command()
@json_option
@click.pass_obj
def drill(obj: Context, as_machine: bool) -> None:
    """Restore a sample beside the original and compare. Exit code 1 unless all is well."""
    _done(obj, "drill", "drills", as_machine)


@backup.command()
@click.argument("employee", required=False)
@click.option("--customer", help="All employees of this customer, and what it knows.")
@click.option("--knowledge", help="What this customer knows, alone.")
@click.option("--at", help="As it was at this time (RFC 3339), at the latest; default: the newest.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def restore(obj: Context, employee: str | None, customer: str | None, knowledge: str | None,
            at: str | None, yes: bool) -> None:
    """Give EMPLOYEE the files that it had. It is paused meanwhile; what it has now becomes a
    snapshot first, so that this can be undone by --at.

    Everything, onto a new machine: `make restore`, see docs/operations.md.
    """
    if sum(x is not None for x in (employee, customer, knowledge)) != 1:
        raise click.UsageError("name an employee, or --customer, or --knowledge")
    whose = customer or knowledge or obj.customer_of(employee or "")
    state = obj.store.read_customer(obj.store.head() or "", whose)
    if state.customer is None:
        raise click.ClickException(f"there is no customer {whose}")
    who = [employee] if employee else [
        e.id for e in state.employees.values() if e.state in ("running", "paused")
    ] if customer else []
    if not yes:
        what = [*who, *([f"the knowledge of {whose}"] if not employee else [])]
        console.print(f"This replaces the files of {plain(', '.join(what))} by those of "
                      f"{plain(at or 'the last backup')}.", soft_wrap=True)
        click.confirm("Go on?", abort=True)
    for one in who:
        _restore_employee(obj, state, one, at)
    if not employee:
        _put_back(obj, whose, None, at)


def _restore_employee(obj: Context, state: CustomerState, employee: str, at: str | None) -> None:
    """Pauses it, if it runs, and lets it go on after that, whatever became of it."""
    runs = state.employees[employee].state == "running"
    if runs:
        changes.pause(obj.store, obj.author(), state.id, employee)
        notify(obj.instance.socket)
        with console.status(f"{employee} is being paused"):
            until = time.monotonic() + _DOWN_S
            while (row := obj.status.employee(employee)) and row.health_status not in (
                    "Suspended", "Missing"):
                if time.monotonic() > until:
                    raise click.ClickException(f"{employee} did not stop; it is left paused. See "
                                               "iw status, and try again")
                time.sleep(_LOOK_S)
    try:
        _put_back(obj, state.id, employee, at)
    finally:
        if runs:
            changes.resume(obj.store, obj.author(), state.id, employee)
            notify(obj.instance.socket)


def _put_back(obj: Context, customer: str, employee: str | None, at: str | None) -> None:
    with console.status(f"restoring {employee or 'the knowledge of ' + customer}"):
        done = obj.ask("POST", "/v1/backups/restore", {
            "customer": customer, "employee": employee, "at": at}, timeout_s=_HOURS)["done"]
    console.print(plain(done), soft_wrap=True)


def _done(obj: Context, what: str, of: str, as_machine: bool) -> None:
    before = {r["began"] for r in obj.ask("GET", "/v1/backups")[of]}
    obj.ask("POST", "/v1/backups", {"what": what})
    begins = time.monotonic() + _BEGINS_S
    with console.status("it begins") as shown:
        while True:
            found = obj.ask("GET", "/v1/backups")
            if fresh := [r for r in found[of] if r["began"] not in before]:
                break
            if found["doing"]:
                begins = time.monotonic() + _BEGINS_S
            elif time.monotonic() > begins:
                raise click.ClickException(f"nothing began within {_BEGINS_S:.0f} s; see iw status "
                                           "and the reconciler's log")
            shown.update(plain(found["doing"] or "it begins"))
            time.sleep(_LOOK_S)
    run: dict[str, Any] = fresh[-1]
    if as_machine:
        show_json(run)
    else:
        console.print(("[green]Whole:[/] " if run["whole"] else "[red]Not whole:[/] ")
                      + plain(_says("backup" if what == "run" else "drill", run)), soft_wrap=True)
    if not run["whole"]:
        sys.exit(1)


def _says(what: str, run: dict[str, Any]) -> str:
    if run["problems"]:
        return "; ".join(f"{name}: {why}" for name, why in run["problems"].items())
    if what == "drill":
        return (f"{run['compared']} files of {run['sample'] or 'nobody'} are what they were, "
                f"{run['changed']} changed since")
    return (f"{run['volumes']} volumes, {_size(run['bytes'])} in all, {_size(run['added'])} of it "
            f"new; nobody stood still for longer than {run['still_s']:g} s")


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB" if count else "-"


def _lines() -> str:
    if not sys.stdin.isatty():
        text = sys.stdin.read()
    else:
        lines = []
        while line := click.prompt("NAME=value", default="", show_default=False, hide_input=True):
            lines.append(line)
        text = "\n".join(lines)
    if not text.strip():
        raise click.ClickException("nothing was given; write a line NAME=value each")
    return text.strip() + "\n"
