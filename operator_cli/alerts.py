"""`iw alert`: who is told when something breaks, and whether it arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from dataclasses import replace

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, console, plain, show_json, table
from operator_cli.reach import notify
from policies.documents import check_platform
from state_repo import changes
from state_repo.documents import AlertReceiver, Alerts, MailServer, Platform
from state_repo.files import write_secret


@iw.group()
def alert() -> None:
    """Who is told when something breaks, and what is broken now."""


@alert.command("list")
@json_option
@click.pass_obj
def listed(obj: Context, as_machine: bool) -> None:
    """What fires now, and who is told. Exit code 1 when nobody is."""
    found = obj.ask("GET", "/v1/alerts")
    if as_machine:
        show_json(found)
    else:
        if found["problem"]:
            console.print(f"[red]What fires is not known:[/] {plain(found['problem'])}",
                          soft_wrap=True)
        elif found["firing"]:
            console.print(table(("ALERT", "SINCE", "SUMMARY", "RUNBOOK"), (
                (a["name"], ago(a["since"]), a["summary"], a["runbook"])
                for a in found["firing"])))
        else:
            console.print("Nothing fires.")
        if found["receivers"]:
            console.print(table(("TOLD BY", "WHERE"), (
                (r["kind"], r["target"] if r["kind"] == "email" else f"secret {r['target']}")
                for r in found["receivers"])))
        else:
            console.print("[yellow]Nobody is told.[/] iw alert add email ADDRESS, or slack, or "
                          "webhook; then iw alert test", soft_wrap=True)
        console.print("Heartbeat: " + ("each minute" if found["heartbeat"] else
                                       "none; when this machine dies, nothing says so "
                                       "(iw alert heartbeat)"), soft_wrap=True)
    if not found["receivers"]:
        sys.exit(1)


@alert.command()
@click.argument("kind", type=click.Choice(["email", "slack", "webhook"]))
@click.argument("address", required=False)
@click.pass_obj
def add(obj: Context, kind: str, address: str | None) -> None:
    """Tell one more of every alert. An e-mail's ADDRESS is given here; a URL is asked for, or read
    from standard input, since whoever knows it can post."""
    platform = obj.store.platform()
    if kind == "email":
        if address is None:
            raise click.UsageError("name the address: iw alert add email night@example.com")
        if platform.alerts.mail is None:
            raise click.ClickException("there is no mail server yet: iw alert mail "
                                       "smtp.example.com:587 --from alerts@example.com")
        receiver = AlertReceiver(email=address)
    else:
        if address is not None:
            raise click.UsageError("the URL is asked for, and not given here, where a shell's "
                                   "history keeps it")
        secret = _free(f"alert-{kind}", {r.target for r in platform.alerts.receivers})
        _keep_url(obj, secret)
        receiver = AlertReceiver(**{kind: secret})
    _change(obj, f"Tell alerts by {kind}", lambda a: replace(
        a, receivers=(*a.receivers, receiver)))
    console.print("Added. See that it arrives: iw alert test")


@alert.command()
@click.argument("target")
@click.pass_obj
def remove(obj: Context, target: str) -> None:
    """Tell one less: TARGET as `iw alert list` shows it (without the word secret)."""
    left = tuple(r for r in obj.store.platform().alerts.receivers if r.target != target)
    if len(left) == len(obj.store.platform().alerts.receivers):
        raise click.ClickException(f"nobody is told at {target}; see iw alert list")
    if not left and sys.stdin.isatty():
        click.confirm("Then nobody is told of anything. Go on?", abort=True)
    _change(obj, "Tell alerts to one less", lambda a: replace(a, receivers=tuple(
        r for r in a.receivers if r.target != target)))
    console.print("Removed." if left else "Removed. [yellow]Nobody is told any more.[/]")


@alert.command()
@click.argument("server")
@click.option("--from", "sender", required=True, help="The sender's address.")
@click.option("--user", help="Who signs in there; the password is asked for, or read from standard "
              "input.")
@click.option("--tls/--no-tls", default=True, help="Insist on TLS (default).")
@click.pass_obj
def mail(obj: Context, server: str, sender: str, user: str | None, tls: bool) -> None:
    """The mail SERVER (host:port) that alerts are sent by."""
    secret = "alert-mail" if user else None
    if secret:
        write_secret(obj.instance.secrets_path / secret, _asked("Password"))
    _change(obj, "Send alerts by another mail server", lambda a: replace(
        a, mail=MailServer(server, sender, user, secret, tls)))
    console.print("Set. Add an address: iw alert add email ADDRESS")


@alert.command()
@click.option("--off", is_flag=True, help="Call nobody.")
@click.pass_obj
def heartbeat(obj: Context, off: bool) -> None:
    """Call a URL each minute while alerts work: a service outside (Dead Man's Snitch,
    healthchecks.io and alike) notices when it stops. The URL is asked for, or read from standard
    input."""
    secret = None if off else "alert-heartbeat"
    if secret:
        _keep_url(obj, secret)
    _change(obj, "Change the heartbeat", lambda a: replace(a, heartbeat=secret))
    console.print("No heartbeat any more." if off else "Set; the first call comes within a minute "
                  "or two.")


@alert.command()
@json_option
@click.pass_obj
def test(obj: Context, as_machine: bool) -> None:
    """Send everybody a test alert. Exit code 1 unless every server took it."""
    with console.status("sending"):
        told = obj.ask("POST", "/v1/alerts/test", timeout_s=90.0)
    if as_machine:
        show_json(told)
    elif not told:
        console.print("[yellow]Nobody is told.[/] iw alert add email ADDRESS")
    for one in () if as_machine else told:
        if one["problem"]:
            console.print(f"[red]{one['kind']} {plain(one['target'])}:[/] {plain(one['problem'])}",
                          soft_wrap=True)
        else:
            console.print(f"[green]{one['kind']} {plain(one['target'])}:[/] taken by its server",
                          soft_wrap=True)
    if not told or any(one["problem"] for one in told):
        sys.exit(1)


def _free(name: str, taken: Container[str]) -> str:
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 100))) if n not in taken)


def _asked(what: str) -> str:
    text = (click.prompt(what, hide_input=True) if sys.stdin.isatty() else sys.stdin.read()).strip()
    if not text:
        raise click.ClickException(f"{what}: nothing was given")
    return text


def _keep_url(obj: Context, secret: str) -> None:
    url = _asked("URL")
    if not url.startswith(("http://", "https://")) or len(url.split()) != 1 or "'" in url:
        raise click.ClickException("URL: write one that begins with https:// (or http://), without "
                                   "spaces; ' is written %27")
    write_secret(obj.instance.secrets_path / secret, url)


def _change(obj: Context, message: str, change: Callable[[Alerts], Alerts]) -> None:
    def apply(platform: Platform) -> Platform:
        changed = replace(platform, alerts=change(platform.alerts))
        if wrong := [v for v in check_platform(changed) if v.field.startswith("spec.alerts")]:
            raise click.ClickException("\n".join(map(str, wrong)))
        return changed
    changes.set_platform(obj.store, obj.author(), message, apply)
    notify(obj.instance.socket)
