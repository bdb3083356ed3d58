"""`iw tls`: who signs the edge's certificate, and until when it holds."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, console, plain, show_json
from operator_cli.reach import notify
from state_repo import changes
from state_repo.documents import Tls
from state_repo.files import write_secret

_LOOK_S, _PATIENCE_S = 1.0, 600.0


@iw.group()
def tls() -> None:
    """The certificate of the dashboard, the chats and the browsers."""


@tls.command()
@json_option
@click.pass_obj
def show(obj: Context, as_machine: bool) -> None:
    """Who signs it, until when it holds, and what was wrong. Exit code 1 when it is not signed."""
    found = obj.ask("GET", "/v1/certificate")
    if as_machine:
        show_json(found)
    elif found["issuer"] is None:
        console.print(f"{obj.instance.domain} is this machine's own name: the edge speaks http.")
    elif found["issuer"] == "internal":
        console.print("Signed by the edge's own authority, which no browser knows. Where the "
                      "domain is a public one: iw tls set acme", soft_wrap=True)
    else:
        console.print(f"For {plain(', '.join(found['names'] or ['nobody yet']))}", soft_wrap=True)
        console.print(f"[green]Signed[/] by {plain(found['signed_by'])}, until {found['ends'][:16]}"
                      if found["ends"] else "[yellow]Not signed yet.[/]", soft_wrap=True)
        if found["problem"]:
            console.print(f"[red]The last attempt failed[/] ({ago(found['tried'])}): "
                          f"{plain(found['problem'])}", soft_wrap=True)
    if found["issuer"] == "acme" and (not found["ends"] or found["problem"]):
        sys.exit(1)


@tls.command("set")
@click.argument("issuer", type=click.Choice(["acme", "internal"]))
@click.option("--email", help="Whom the authority warns.")
@click.option("--directory", help="production (default), staging, or another authority's URL.")
@click.option("--trusted", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The certificate (PEM) by which that URL is trusted, where it is one's own.")
@click.pass_obj
def set_(obj: Context, issuer: str, email: str | None, directory: str | None,
         trusted: Path | None) -> None:
    """Have it signed by a public authority (acme), or by the edge's own (internal)."""
    if issuer == "acme" and obj.instance.domain.endswith(".localhost"):
        raise click.ClickException(f"{obj.instance.domain} is no public name: start a new instance "
                                   "with IW_DOMAIN=workers.example.com make run")
    secret = None
    if trusted is not None:
        secret = "acme-trusted"
        write_secret(obj.instance.secrets_path / secret, trusted.read_text())
    wanted = Tls("acme", directory or "production", email, secret) if issuer == "acme" else Tls()
    changes.set_platform(obj.store, obj.author(), f"Have the certificate signed: {issuer}",
                         lambda platform: replace(platform, tls=wanted))
    notify(obj.instance.socket)
    console.print("Set. It is asked for within a minute: iw tls show" if issuer == "acme"
                  else "Set.")


@tls.command()
@click.pass_obj
def renew(obj: Context) -> None:
    """Have it signed anew, now. Exit code 1 when it was not."""
    before = obj.ask("GET", "/v1/certificate")
    obj.ask("POST", "/v1/certificate")
    until = time.monotonic() + _PATIENCE_S
    with console.status("the authority is asked"):
        while (found := obj.ask("GET", "/v1/certificate"))["tried"] == before["tried"]:
            if time.monotonic() > until:
                raise click.ClickException("nothing was heard; see iw tls show")
            time.sleep(_LOOK_S)
    if found["problem"]:
        raise click.ClickException(found["problem"])
    console.print(f"Signed by {plain(found['signed_by'])}, until {found['ends'][:16]}",
                  soft_wrap=True)
