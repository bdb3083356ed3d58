"""`iw upgrade`: a newer image for the employees, and how far its roll-out is."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import ago, brief, console, plain, show_json, table
from operator_cli.reach import notify
from state_repo import changes
from state_repo.documents import Platform

_BEGINS_S = 60.0  # the loop takes the commit, and looks at it
_LOOK_S = 1.0


@iw.command()
@click.option("--image", help="name@sha256:<64 hex> (default: the image that `make run` built "
              "last).")
@click.option("--status", "only_status", is_flag=True, help="Show the last roll-out, and change "
              "nothing.")
@click.option("--wait/--no-wait", default=True, help="Stay until it ended (default).")
@json_option
@click.pass_obj
def upgrade(obj: Context, image: str | None, only_status: bool, wait: bool, as_machine: bool
            ) -> None:
    """Take every employee to a newer image: a canary first, then in waves, with a way back.

    To go back, name the image of before. Who is behind after a roll-out that left somebody out is
    taken along when this is run again.
    """
    if only_status:
        return _show(obj.ask("GET", "/v1/rollout"), as_machine)
    image = image or obj.instance.last_set("images").get("employee")
    if image is None:
        raise click.ClickException("no image was built here; name one: iw upgrade --image "
                                   "name@sha256:<64 hex>")
    wanted = image

    def named(platform: Platform) -> Platform:
        return replace(platform, images=platform.images | {"employee": wanted})
    obj.ask("GET", "/v1/rollout")  # says that nobody would do it, before anything is changed
    if obj.store.platform().images.get("employee") != image:
        changes.set_platform(obj.store, obj.author(), "Give employees another image", named)
    notify(obj.instance.socket)
    asked = time.time()
    behind = obj.ask("POST", "/v1/rollout")["behind"]
    if not behind:
        return show_json(None) if as_machine else console.print(
            f"Everybody has {plain(image)} already.", soft_wrap=True)
    if not wait:
        return show_json({"behind": behind}) if as_machine else console.print(
            f"{behind} are to get it; follow with: ./iw upgrade --status")
    found = _follow(obj, image, asked, shown=not as_machine)
    _show(found, as_machine)
    if found["state"] != "done":
        sys.exit(1)
    return None


def _follow(obj: Context, image: str, asked: float, *, shown: bool) -> dict[str, Any]:
    """The roll-out of `image`, once it ended."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            found = obj.ask("GET", "/v1/rollout")
            is_ours = found is not None and found["image"] == image
            if is_ours and _after(found["ended"], asked):
                return found
            if is_ours and found["state"] in ("running", "failing"):
                if shown:
                    live.update(_drawn(found), refresh=True)
            elif time.time() - asked > _BEGINS_S:
                raise click.ClickException("the roll-out did not begin within a minute; "
                                           "`iw status` says whether the loop is halted")
            time.sleep(_LOOK_S)


def _after(ended: str | None, asked: float) -> bool:
    return ended is not None and datetime.fromisoformat(ended).timestamp() >= asked - 1.0


def _show(found: dict[str, Any] | None, as_machine: bool) -> None:
    if as_machine:
        return show_json(found)
    if found is None:
        return console.print("There was no roll-out yet: ./iw upgrade begins one.")
    return console.print(_drawn(found))


def _drawn(found: dict[str, Any]) -> Group:
    began, ended = ago(found["began"]), ago(found["ended"])
    what = {"running": f"began {began}: {found['stage'] or 'it begins'}", "done": f"done {ended}",
            "failing": f"fails, and is taken back: {found['reason']}",
            "failed": f"failed {ended}: {found['reason']}",
            "superseded": f"ended {ended}: {found['reason']}"}[found["state"]]
    canary = "works" if found["proven"] else "is being tried" if found["ended"] is None else (
        "did not pass")
    rows = [(m["employee"], m["customer"], m["step"], brief(m["why"])) for m in found["members"]]
    return Group(Text(f"{found['image']}\n{what}. The canary {canary}.\n"),
                 table(("EMPLOYEE", "CUSTOMER", "STEP", "WHY"), rows))
