"""`iw changes`, `iw rollback` and `iw review`: what is reviewed, and how. To approve and to merge
is the dashboard's, which knows who somebody is."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, brief, console, plain, show_json, table
from state_repo import changes as documents
from state_repo.documents import Freeze, Review
from state_repo.forge import WEBHOOK_SECRET
from state_repo.parsing import DocumentError
from state_repo.review import Changes


@iw.command()
@json_option
@click.pass_obj
def changes(obj: Context, as_machine: bool) -> None:
    """The branches that wait for a review."""
    made = Changes(obj.store)
    found = [made.find(name) for name in made.names()]
    if as_machine:
        return show_json([{"change": c.name, "head": c.head, "commits": [
            {"sha": x.sha, "subject": x.subject, "author": x.author_email} for x in c.commits]}
            for c in found])
    if not found:
        console.print("Nothing waits for a review. Push a branch: git push origin HEAD:<name>")
        return None
    console.print(table(("CHANGE", "SUBJECT", "COMMITS", "BY", "WHEN"), (
        (c.name, brief(c.subject), str(len(c.commits)),
         c.commits[0].author_name if c.commits else "-",
         ago(c.commits[0].time.isoformat()) if c.commits else "-") for c in found)))
    console.print(f"See what one would do: iw plan --change NAME. Review: {obj.instance.app_url}"
                  "/changes")
    return None


@iw.command()
@json_option
@click.pass_obj
def forge(obj: Context, as_machine: bool) -> None:
    """The forge that holds the state repo: how it is reached, and what waits there."""
    address = obj.instance.state_forge
    if address is None:
        if as_machine:
            return show_json(None)
        console.print("The state repo is on this machine, and reviewed here. To have it at a "
                      "forge: docs/review.md, “On a forge”.")
        return None
    found = obj.ask("GET", "/v1/forge")
    if found is None:
        raise click.ClickException("the reconciler runs without it: start it again (make run)")
    message = {"webhook": f"{obj.instance.app_url}/webhooks/forge",
               "webhook_secret_file": str(obj.instance.secrets_path / WEBHOOK_SECRET)}
    if as_machine:
        return show_json(found | message)
    if found["problem"]:
        console.print(f"[red]{plain(found['page'])} can't be followed:[/] "
                      f"{plain(found['problem'])}")
    else:
        console.print(f"{plain(found['page'])} ({found['kind']}), looked at "
                      f"{ago(found['looked_at'])}")
    console.print(f"Webhook: {message['webhook']} with the secret in "
                  f"{message['webhook_secret_file']}", soft_wrap=True)
    if found["requests"]:
        console.print(table(("NUMBER", "BRANCH", "TITLE", "BY", "PLAN", "SAYS"), (
            (str(r["number"]), r["branch"], brief(r["title"]), r["author"], r["plan"] or "-",
             brief(r["problem"] or r["says"])) for r in found["requests"])))
    elif not found["problem"]:
        console.print(f"No {found['noun']} waits there.")
    return None


@iw.command()
@click.argument("commit")
@json_option
@click.pass_obj
def rollback(obj: Context, commit: str, as_machine: bool) -> None:
    """Make a change that takes one commit of main back; it is reviewed like any other."""
    whole = obj.store.resolve(commit)
    author = obj.author()
    made = Changes(obj.store).roll_back(whole, author)
    obj.status.add_event("Review", f"{author.name} ({author.email}) made, to take commit "
                         f"{whole[:10]} back, the change {made.name} at {made.head[:10]}")
    if as_machine:
        return show_json({"change": made.name, "head": made.head})
    if (address := obj.instance.state_forge) is not None:
        console.print(f"The branch {made.name} takes {whole[:10]} back. Open a {address.noun} for "
                      f"it: {address.new_request(made.name)}", soft_wrap=True)
        return None
    console.print(f"The change {made.name} takes {whole[:10]} back. See what it would do: iw plan "
                  f"--change {made.name}. Review: {obj.instance.app_url}/changes/{made.name}")
    return None


def _end(_: click.Context, __: click.Parameter, value: str) -> str:
    """RFC 3339 of a time like 2h, 30m or 2d from now, or of one that is written out."""
    if span := re.fullmatch(r"(\d{1,4})([mhd])", value):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[span[2]]
        return (datetime.now(UTC) + timedelta(**{unit: int(span[1])})).isoformat("T", "seconds")
    try:
        given = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter("write 30m, 2h or 3d, or a time such as 2026-12-01T08:00Z"
                                 ) from error
    return given.astimezone(UTC).isoformat("T", "seconds")


@iw.command()
@click.option("--customer", help="Only this one; without it, everybody and the platform.")
@click.option("--reason", required=True, help="Shown to everybody who looks.")
@click.option("--until", required=True, callback=_end, help="30m, 2h, 3d, or a time.")
@json_option
@click.pass_obj
def freeze(obj: Context, customer: str | None, reason: str, until: str, as_machine: bool) -> None:
    """Change and repair nothing until a time."""
    made = Freeze(reason, until)
    sha = documents.set_freeze(obj.store, obj.author(), customer, made)
    if as_machine:
        return show_json({"commit": sha, "until": until})
    console.print(f"{plain(customer or 'Everything')} is {plain(str(made))}. To end it before: "
                  f"iw thaw{f' --customer {customer}' if customer else ''}")
    return None


@iw.command()
@click.option("--customer", help="Only this one; without it, what was frozen for everybody.")
@json_option
@click.pass_obj
def thaw(obj: Context, customer: str | None, as_machine: bool) -> None:
    """End a freeze now."""
    sha = documents.set_freeze(obj.store, obj.author(), customer, None)
    if as_machine:
        return show_json({"commit": sha})
    console.print(f"{plain(customer or 'Everything')} goes on.")
    return None


@iw.command()
@click.argument("email")
@json_option
@click.pass_obj
def engineer(obj: Context, email: str, as_machine: bool) -> None:
    """Give an engineer a login for the dashboard; prints its first password."""
    password = secrets.token_urlsafe(12)
    done = subprocess.run(
        [sys.executable, "-m", "webapp.accounts", "create", "--data", str(obj.instance.data),
         "--email", email, "--role", "engineer"], cwd=Path(__file__).resolve().parent.parent,
        input=f"{password}\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(done.stderr.strip().splitlines()[-1])
    if as_machine:
        return show_json({"email": email, "password": password})
    console.print(f"{email} signs in at {obj.instance.app_url}/sign-in with the password "
                  f"{password}", soft_wrap=True)
    return None


@iw.command()
@click.option("--direct-pushes", type=click.Choice(["on", "off"]), help="Whether main itself takes "
              "pushes.")
@click.option("--approvals", type=click.IntRange(0, 5), help="How many engineers must agree.")
@json_option
@click.pass_obj
def review(obj: Context, direct_pushes: str | None, approvals: int | None, as_machine: bool
           ) -> None:
    """How changes by git reach main; without an option, how they do now."""
    if direct_pushes is not None or approvals is not None:
        documents.set_platform(
            obj.store, obj.author(), "Set how changes are reviewed", lambda p: replace(
                p, review=Review(
                    p.review.direct_pushes if direct_pushes is None else direct_pushes == "on",
                    p.review.approvals if approvals is None else approvals)))
    try:
        rule = obj.store.platform().review
    except DocumentError as error:
        raise click.ClickException(str(error)) from error
    if as_machine:
        return show_json({"directPushes": rule.direct_pushes, "approvals": rule.approvals})
    console.print(f"main {'takes pushes' if rule.direct_pushes else 'takes no pushes'}; a change "
                  f"needs {rule.approvals} approval(s) by engineers who did not write it.")
    return None
