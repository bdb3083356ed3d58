"""`iw skill`: what employees can be taught, and who was."""

from __future__ import annotations

from typing import Any

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import console, show_json, table


@iw.group()
def skill() -> None:
    """What employees can be taught: the state repo's skills/ folder."""


@skill.command("list")
@json_option
@click.pass_obj
def listed(obj: Context, as_machine: bool) -> None:
    """The catalogue, and how many employees were given each."""
    snapshot = obj.store.snapshot()
    given = [name for state in snapshot.customers.values() for e in state.employees.values()
             if e.state != "retired" for name in e.skills]
    found: list[dict[str, Any]] = [
        {"name": s.name, "version": s.version, "description": s.description,
         "uses": list(s.uses), "example": s.example, "employees": given.count(s.name)}
        for s in snapshot.platform.skills.values()]
    if as_machine:
        return show_json(found)
    if not found:
        console.print("The catalogue is empty: `make run` writes a first one, or add "
                      "skills/<name>/SKILL.md to the state repo (docs/employee.md, Skills).",
                      soft_wrap=True)
        return None
    console.print(table(("NAME", "VERSION", "GIVEN TO", "USES", "WHAT IT DOES"), (
        (s["name"], s["version"], s["employees"], " ".join(s["uses"]), s["description"])
        for s in found)))
    return None
