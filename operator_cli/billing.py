"""`iw billing`. The web app's room owns money and knows Stripe; this one may import neither, and
works while the web app is down: so it runs `python -m webapp.billing_admin`, which prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, brief, console, plain, show_json, table

_TIMEOUT_S = 300


@iw.group()
def billing() -> None:
    """Plans, subscriptions, and whether Stripe is set up rightly."""


@billing.command("doctor")
@json_option
@click.pass_obj
def doctor(obj: Context, as_machine: bool) -> None:
    """Keys, webhook, prices, portal, versions and clock. Exit code 1 when something is wrong."""
    found, code = _run(obj, "doctor")
    if as_machine:
        show_json(found)
    else:
        console.print(table(("", "WHAT", "FOUND", "DO"), (
            (f["result"], f["name"], f["found"], f["fix"]) for f in found)))
    sys.exit(code)


@billing.command("reconcile")
@json_option
@click.pass_obj
def reconcile(obj: Context, as_machine: bool) -> None:
    """Compare all subscriptions with ours and with git, and repair what differs."""
    found, code = _run(obj, "reconcile")
    if as_machine:
        show_json(found)
    else:
        for line in found["found"]:
            console.print(plain(line))
        console.print(f"{found['subscriptions']} subscriptions compared in {found['seconds']} s: "
                      f"{len(found['found'])} differences, {found['lost_events']} messages from "
                      "Stripe that never arrived")
    sys.exit(code)


@billing.command("list")
@json_option
@click.pass_obj
def listing(obj: Context, as_machine: bool) -> None:
    """Every company's subscription, as Stripe said last."""
    rows, code = _run(obj, "list")
    if as_machine:
        show_json(rows)
    else:
        console.print(table(
            ("CUSTOMER", "PLAN", "SEATS", "PHASE", "STRIPE", "LOOKED UP", "PROBLEM"),
            ((r["customer"], r["plan"], str(r["seats"]), r["phase"], r["id"] or r["mode"],
              ago(r["synced_at"]) if r["synced_at"] else "never",
              brief(r["problem"] or ("git does not follow yet" if r["version"] != r["applied"]
                                     else ""))) for r in rows)))
    sys.exit(code)


def _run(obj: Context, verb: str) -> tuple[Any, int]:
    done = subprocess.run(
        [sys.executable, "-m", "webapp.billing_admin", verb, "--data", str(obj.instance.data)],
        cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True, check=False,
        timeout=_TIMEOUT_S)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise click.ClickException(f"billing could not be asked: {last[0]}") from error
    if isinstance(found, dict) and "error" in found:
        raise click.ClickException(found["error"])
    return found, done.returncode
