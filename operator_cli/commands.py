"""iw's commands. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no instance."""

from __future__ import annotations

import contextlib
import os
import platform as host
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from rich.live import Live

from operator_cli import doctor as examination
from operator_cli.output import ago, brief, console, plain, show_json, table, word
from operator_cli.reach import ReachError, ask, notify
from policies.documents import check_customer
from state_repo import StateRepoError, changes, journal
from state_repo.documents import Employee, Resources
from state_repo.instance import Instance, InstanceError, door_for
from state_repo.parsing import DocumentError
from state_repo.status import StatusStore, as_json
from state_repo.store import Author, Store

_WAIT_S = 120.0


class Context:
    """What every command needs, opened when it does."""

    def __init__(self, data: Path | None) -> None:
        self._data = data

    @cached_property
    def instance(self) -> Instance:
        return Instance.load(self._data)

    @cached_property
    def store(self) -> Store:
        return Store.open_or_create(self.instance, check_customer)

    @cached_property
    def status(self) -> StatusStore:
        return StatusStore(self.instance.database_url)

    def ask(self, method: str, url: str, body: Any = None, timeout_s: float = 120.0) -> Any:
        return ask(door_for(self.instance.socket, url), method, url, body, timeout_s)

    def author(self) -> Author:
        """The engineer, as git knows them."""
        def configured(key: str) -> str:
            try:
                return subprocess.run(["git", "config", key], capture_output=True, text=True,
                                      check=False).stdout.strip()
            except FileNotFoundError:
                return ""
        user = os.environ.get("USER") or "engineer"
        return Author(configured("user.name") or user,
                      configured("user.email") or f"{user}@{socket.gethostname()}")

    def customer_of(self, employee: str) -> str:
        """Whose employee it is, by the documents."""
        row = self.status.employee(employee)  # a hint, so that not everybody's is read
        head = self.store.head() or ""
        if row is not None and employee in self.store.read_customer(head, row.customer).employees:
            return row.customer
        for state in self.store.snapshot(head).customers.values():
            if employee in state.employees:
                return state.id
        raise click.ClickException(f"there is no employee {employee}; see `iw status`")


class Group(click.Group):
    """Turns the rooms' errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with journal.about(trace=journal.new_trace()):
                return super().invoke(ctx)
        except InstanceError as error:
            click.echo(f"iw: {error}", err=True)
            sys.exit(3)
        except (StateRepoError, ReachError) as error:
            click.echo(f"iw: {error}", err=True)
            sys.exit(1)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_machine", is_flag=True, help="JSON for machines.")(command)


@click.group(cls=Group)
@click.option("--data", type=click.Path(path_type=Path), help="The instance's data folder "
              "(default: IW_DATA, or .data beside the code).")
@click.pass_context
def iw(ctx: click.Context, data: Path | None) -> None:
    """InstantWorker's command line for engineers."""
    ctx.obj = Context(data)


# ---- changes ---------------------------------------------------------------------------------

@iw.command()
@click.option("--customer", required=True)
@click.option("--name", required=True)
@click.option("--role", required=True)
@click.option("--instructions", default="", help="Text, or @FILE.")
@click.option("--skill", "skills", multiple=True)
@click.option("--cpus", type=float)
@click.option("--memory-mb", type=int)
@click.option("--wait/--no-wait", default=True, help="Wait until it is healthy (default).")
@json_option
@click.pass_obj
def hire(obj: Context, customer: str, name: str, role: str, instructions: str,
         skills: tuple[str, ...], cpus: float | None, memory_mb: int | None, wait: bool,
         as_machine: bool) -> None:
    """Hire an employee: one commit, then watch it come up."""
    if instructions.startswith("@"):
        try:
            instructions = Path(instructions[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{instructions[1:]} can't be read ({error}); name a text "
                                     "file after the @") from error
    size = None
    if cpus or memory_mb:
        usual = obj.store.platform().defaults
        size = Resources(cpus or usual.cpus, memory_mb or usual.memory_mb, usual.pids)
    made, sha = changes.hire(obj.store, obj.author(), customer, name, role, skills=skills,
                             instructions=instructions, resources=size)
    _committed(obj, made, sha, "Hired", wait, as_machine, {"Healthy"})


def _verb(name: str, done: str, text: str, until: set[str]) -> None:
    @click.argument("employee")
    @click.option("--wait/--no-wait", default=True)
    @json_option
    @click.pass_obj
    def command(obj: Context, employee: str, wait: bool, as_machine: bool) -> None:
        act = getattr(changes, name)
        made, sha = act(obj.store, obj.author(), obj.customer_of(employee), employee)
        _committed(obj, made, sha, done, wait, as_machine, until)
    command.__doc__ = text
    iw.command(name)(command)


_verb("pause", "Paused", "Stop an employee; everything is kept.", {"Suspended"})
_verb("resume", "Resumed", "Start a paused employee.", {"Healthy"})
_verb("retry", "Replaced", "Replace an employee's container; its files are kept.", {"Healthy"})


@iw.command()
@click.argument("employee")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True)
@json_option
@click.pass_obj
def retire(obj: Context, employee: str, yes: bool, wait: bool, as_machine: bool) -> None:
    """End an employment. Files are kept for the grace period, then backed up and removed."""
    customer = obj.customer_of(employee)
    if not yes:
        days = obj.store.platform().grace_days
        console.print(f"{employee} stops now. Its files are kept for {days} days, then a last "
                      "backup is made and they are removed.")
        if click.prompt("Type its id to retire it", default="", show_default=False) != employee:
            raise click.ClickException("nothing was changed")
    made, sha = changes.retire(obj.store, obj.author(), customer, employee)
    _committed(obj, made, sha, "Retired", wait, as_machine, {"Suspended"})


@iw.group()
def customer() -> None:
    """Customers: create them, and change their seats."""


@customer.command("create")
@click.option("--id", "customer_id", required=True)
@click.option("--name", required=True)
@click.option("--seats", type=int, required=True)
@json_option
@click.pass_obj
def create_customer(obj: Context, customer_id: str, name: str, seats: int,
                    as_machine: bool) -> None:
    """Create a customer."""
    made, sha = changes.create_customer(obj.store, obj.author(), customer_id, name, seats)
    notify(obj.instance.socket)
    if as_machine:
        show_json({"customer": made.id, "subnet": made.subnet, "commit": sha})
    else:
        console.print(f"Created {made.id} with {seats} seats ({made.subnet}), commit {sha[:10]}")


@customer.command("seats")
@click.argument("customer_id")
@click.argument("seats", type=int)
@json_option
@click.pass_obj
def set_seats(obj: Context, customer_id: str, seats: int, as_machine: bool) -> None:
    """Change how many seats a customer has."""
    made, sha = changes.set_seats(obj.store, obj.author(), customer_id, max_employees=seats)
    notify(obj.instance.socket)
    if as_machine:
        show_json({"customer": customer_id, "seats": seats, "commit": sha})
    else:
        console.print(f"{customer_id} has {seats} seats, commit {sha[:10]}")
        if made.plan is not None:
            console.print("[yellow]It has a plan:[/] if it pays for one, the next comparison sets "
                          "its seats back to what is paid for.")


def _committed(obj: Context, employee: Employee, sha: str, done: str, wait: bool,
               as_machine: bool, until: set[str]) -> None:
    """Tells the reconciler, waits for the employee's health, and shows the receipt."""
    notify(obj.instance.socket)
    where = obj.instance
    result: dict[str, Any] = {
        "employee": employee.id, "customer": employee.customer, "commit": sha,
        "chat_url": where.url(where.chat_host(employee.id)),
        "browser_url": where.url(where.browser_host(employee.id))}
    if not as_machine:
        console.print(f"{done} [bold]{plain(employee.name)}[/] ({employee.id}), commit {sha[:10]}")
    ended = _wait(obj, employee.id, sha, until, quiet=as_machine) if wait else None
    receipts = obj.status.receipts(employee.customer, 5, sha) if wait else []
    if ended is not None:
        result |= {"status": ended, "receipt": as_json(receipts[0]) if receipts else None}
    if as_machine:
        show_json(result)
    elif ended is not None:
        console.print(f"{word(ended['sync_status'])} {word(ended['health_status'])} "
                      f"{plain(ended['reason'])}")
        for receipt in receipts[:1]:
            console.print(f"[dim]{plain(_stages(as_json(receipt)))}[/]")
        if "Healthy" in until:
            console.print(f"Chat     {result['chat_url']}\nBrowser  {result['browser_url']}")
    if ended is not None and ended["health_status"] not in until:
        sys.exit(1)


def _wait(obj: Context, employee: str, sha: str, until: set[str], quiet: bool) -> dict[str, Any]:
    """Until the commit was applied and the employee is as wanted, or it is clear that it won't
    be without help."""
    began = time.monotonic()
    seen: dict[str, Any] = {"sync_status": "OutOfSync", "health_status": "Progressing",
                            "reason": "the reconciler has not taken it up yet"}
    customer = employee and obj.customer_of(employee)
    with console.status("") as line:
        while time.monotonic() - began < _WAIT_S:
            row = obj.status.employee(employee)
            if row is not None:
                seen = as_json(row)
                done = any(r.result == "succeeded"
                           for r in obj.status.receipts(customer, 5, sha))
                if done and seen["sync_status"] == "Synced" and seen["health_status"] in until:
                    return seen
                stack = obj.status.stack(f"customer/{customer}")
                if stack is not None and stack.waiting_for == "policy":
                    return seen
            if not quiet:
                line.update(f"{seen['health_status']}: {plain(seen['reason'])} "
                            f"({time.monotonic() - began:.0f} s)")
            time.sleep(0.1)
    return seen | {"reason": f"{seen['reason']} (still so after {_WAIT_S:.0f} s; see `iw logs "
                             f"{employee}` and `iw doctor`)"}


# ---- looking ---------------------------------------------------------------------------------

@iw.command()
@click.option("--customer")
@click.option("--watch", is_flag=True, help="Redraw every second until Ctrl-C.")
@json_option
@click.pass_obj
def status(obj: Context, customer: str | None, watch: bool, as_machine: bool) -> None:
    """Every stack and employee: as wanted? working? why not?"""
    if as_machine:
        return show_json(_status(obj, customer))
    if not watch:
        return _print_status(_status(obj, customer))
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_employees_table(_status(obj, customer)), refresh=True)
            time.sleep(1)


def _status(obj: Context, customer: str | None) -> dict[str, Any]:
    wanted = f"customer/{customer}" if customer else None
    newest = obj.status.receipts(customer, 1)
    stacks = [as_json(s) for s in obj.status.stacks() if wanted in (None, s.id)]
    employees = [as_json(e) for e in obj.status.employees(customer)]
    try:
        ask(obj.instance.socket, "GET", "/healthz", timeout_s=5.0)
        observed = True
    except ReachError:
        observed = False
        # What nobody checks is Unknown, never Synced.
        for row in (*stacks, *employees):
            row["sync_status"] = row["health_status"] = "Unknown"
    lacking = {}
    with contextlib.suppress(DocumentError):  # then the loop's row says so
        platform = obj.store.platform()
        lacking = {"alert_receivers": not platform.alerts.receivers,
                   "backups": platform.backups.repository is None}
    return {"lacking": [name for name, is_so in lacking.items() if is_so],
            "commit": obj.store.head(), "observed": observed, "stacks": stacks,
            "employees": employees,
            "last_receipt": as_json(newest[0]) if newest else None}


def _employees_table(found: dict[str, Any]) -> Any:
    return table(("EMPLOYEE", "CUSTOMER", "ROLE", "STATE", "SYNC", "HEALTH", "COMMIT", "REASON"), (
        (e["id"], e["customer"], e["role"], e["desired_state"], e["sync_status"],
         e["health_status"], (e["revision"] or "")[:10], brief(e["reason"]))
        for e in found["employees"]))


def _print_status(found: dict[str, Any]) -> None:
    if not found["observed"]:
        console.print("[red]Nothing is observed:[/] the reconciler does not answer. Start it with "
                      "`make run`; its log is in `<data>/logs`.\n")
    halted = next((s for s in found["stacks"] if s["id"] == "loop" and s["reason"]), None)
    if halted:
        console.print(f"[red]Halted:[/] {plain(halted['reason'])}\n")
    console.print(table(("STACK", "SYNC", "HEALTH", "COMMIT", "REASON"), (
        (s["id"], s["sync_status"], s["health_status"], (s["revision"] or "")[:10],
         brief(s["reason"]))
        for s in found["stacks"] if s["id"] != "loop")))
    console.print()
    if found["employees"]:
        console.print(_employees_table(found))
    else:
        console.print("Nobody works here yet: ./iw hire --customer acme --name Pulse "
                      '--role "Marketing assistant"')
    if found["last_receipt"]:
        console.print(f"\n[dim]Last receipt: {plain(_stages(found['last_receipt']))}[/]")
    for name in found["lacking"]:
        console.print(f"\n[yellow]{_LACKING[name][0]}:[/] {_LACKING[name][1]}", soft_wrap=True)


_LACKING = {"alert_receivers": ("Nobody is told when something breaks",
                                "./iw alert add email ADDRESS"),
            "backups": ("Nothing is backed up", "./iw backup set REPOSITORY")}


def _stages(r: dict[str, Any]) -> str:
    stages = " · ".join(f"{name} {r[name + '_s']:.2f}" for name in
                        ("detect", "queue", "plan", "apply", "verify"))
    return f"{r['subject']}: {r['result']} in {r['total_s']:.2f} s ({stages})"


@iw.command()
@click.option("--customer")
@click.option("--limit", default=20)
@json_option
@click.pass_obj
def receipts(obj: Context, customer: str | None, limit: int, as_machine: bool) -> None:
    """What became of each commit and repair, with the seconds of each stage."""
    found = [as_json(r) for r in obj.status.receipts(customer, limit)]
    if as_machine:
        return show_json(found)
    console.print(table(
        ("WHEN", "STACK", "CAUSE", "RESULT", "DETECT", "QUEUE", "PLAN", "APPLY", "VERIFY", "TOTAL",
         "WHAT"),
        ((ago(r["started_at"]), r["stack"], r["cause"], r["result"],
          *(f"{r[s + '_s']:.2f}" for s in ("detect", "queue", "plan", "apply", "verify", "total")),
          brief(r["message"] or r["subject"])) for r in found)))
    return None


@iw.command()
@click.option("--customer")
@click.option("--limit", default=50)
@json_option
@click.pass_obj
def events(obj: Context, customer: str | None, limit: int, as_machine: bool) -> None:
    """What happened, the newest last."""
    found = [as_json(e) for e in obj.status.events(customer, limit=limit)]
    if as_machine:
        return show_json(found)
    console.print(table(("WHEN", "KIND", "CUSTOMER", "WHAT"), (
        (ago(e["at"]), e["kind"], e["customer"], brief(e["message"])) for e in found)))
    return None


@iw.command()
@click.option("--customer", help="Only this customer's stack.")
@click.option("--change", metavar="NAME", help="Of a change under review, instead of main.")
@json_option
@click.pass_obj
def plan(obj: Context, customer: str | None, change: str | None, as_machine: bool) -> None:
    """What the newest commit would change in reality, without changing it."""
    if customer and change:
        raise click.UsageError("name a --customer or a --change")
    asked = {"change": change} if change else {"customer": customer} if customer else {}
    with console.status("asking the engine"):
        found = obj.ask("GET", f"/v1/plan?{urlencode(asked)}", timeout_s=900.0)
    if as_machine:
        return show_json(found)
    if change:
        found |= {"commit": found["head"], "diagnostics": found["problems"] + [
            line for s in found["stacks"] for line in s["problems"] + s["notes"]],
            "changes": [c | {"stack": s["stack"]} for s in found["stacks"] for c in s["changes"]]}
    if found["changes"]:
        console.print(table(("STACK", "DO", "TYPE", "NAME", "FIELDS"), (
            (c["stack"], c["op"], c["type"].rpartition(":")[2], c["name"], ", ".join(c["fields"]))
            for c in found["changes"])))
    else:
        console.print(f"Nothing would change at {found['commit'][:10]}.")
    for line in found["diagnostics"]:
        console.print(f"[red]{plain(line)}[/]")
    return None


@iw.command()
@json_option
@click.pass_obj
def drift(obj: Context, as_machine: bool) -> None:
    """How reality differs from what was last applied, right now."""
    found = obj.ask("GET", "/v1/drift")
    if as_machine:
        return show_json(found)
    for part, why in found["unknown"].items():
        console.print(f"[magenta]Unknown[/] {part}: {plain(why)}")
    for ignored in found["ignored"]:
        console.print(f"[yellow]Left alone:[/] {plain(ignored)}")
    if found["items"]:
        console.print(table(("STACK", "KIND", "NAME", "PROBLEM"), (
            (i["stack"], i["kind"], i["name"], i["problem"]) for i in found["items"])))
    elif not found["unknown"]:
        console.print("[green]None:[/] reality is what was applied.")
    return None


@iw.command()
@click.argument("employee")
@click.option("--tail", default=200, help="Lines.")
@json_option
@click.pass_obj
def logs(obj: Context, employee: str, tail: int, as_machine: bool) -> None:
    """What an employee's container printed."""
    text = obj.ask("GET", f"/v1/employees/{employee}/logs?tail={tail}")
    if as_machine:
        return show_json({"employee": employee, "lines": text.splitlines()})
    click.echo(text, nl=False)
    return None


@iw.command()
@click.argument("commit")
@json_option
@click.pass_obj
def confirm(obj: Context, commit: str, as_machine: bool) -> None:
    """Let a held commit, or a rewritten history, be applied."""
    found = obj.ask("POST", "/v1/confirm", {"commit": commit})
    if as_machine:
        return show_json(found)
    console.print(f"Confirmed {found['confirmed'][:10]}; it is applied now.")
    return None


@iw.command()
@click.argument("employee", required=False)
@click.option("--knowledge", metavar="CUSTOMER", help="A company's shared knowledge, instead of an "
              "employee's files.")
@click.option("--from-backup", "source", flag_value="backup", help="Put the last backup in place.")
@click.option("--as-it-is", "source", flag_value="disk", help="Take its disk, which is still "
              "there.")
@click.option("--empty", "source", flag_value="nothing", help="Begin with nothing; a disk that is "
              "still there is set aside beside the backups.")
@json_option
@click.pass_obj
def restore(obj: Context, employee: str | None, knowledge: str | None, source: str | None,
            as_machine: bool) -> None:
    """Decide about files whose volume is gone (`iw status` names them)."""
    if (employee is None) == (knowledge is None) or source is None:
        raise click.UsageError("name an employee or --knowledge CUSTOMER, and say --from-backup, "
                               "--as-it-is or --empty")
    found = obj.ask("POST", "/v1/restore", {"employee": employee, "customer": knowledge,
                                            "from": source})
    if as_machine:
        return show_json(found)
    console.print(f"Done: {plain(found['done'])}.")
    return None


@iw.command()
@json_option
@click.pass_obj
def info(obj: Context, as_machine: bool) -> None:
    """URL, domain, ports, data folder, versions."""
    where = obj.instance
    found = {
        "url": where.app_url, "domain": where.domain, "data": str(where.data), "id": where.id,
        "prefix": where.prefix, "ports": where.ports, "state_repo": str(where.state_repo_path),
        "remote": where.state_remote, "database": where.database_url.partition("://")[0],
        "network_pool": where.network_pool, "socket": str(where.socket),
        "logs": str(where.logs_path),
        "versions": {"python": host.python_version(), "pulumi": version("pulumi"),
                     "pulumi-docker": version("pulumi-docker")}}
    if as_machine:
        return show_json(found)
    for name, value in found.items():
        shown = value
        if isinstance(value, dict):
            shown = "  ".join(f"{k} {v}" for k, v in value.items())
        console.print(f"[bold]{name:13}[/] {shown}", soft_wrap=True)
    return None


@iw.command()
@json_option
@click.pass_obj
def doctor(obj: Context, as_machine: bool) -> None:
    """What is wrong with this installation, and what to do. Exit code 1 when something is."""
    findings = examination.examine(obj.instance, obj.status)
    if as_machine:
        show_json([f.as_json() for f in findings])
    else:
        console.print(table(("", "WHAT", "FOUND", "DO"), (
            (f.result, f.name, f.found, f.fix) for f in findings)))
    if any(f.result == "fail" for f in findings):
        sys.exit(1)
