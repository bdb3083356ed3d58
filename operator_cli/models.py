"""`iw model`: what employees may ask, and whether it answers."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import console, plain, show_json, table


@iw.group()
def model() -> None:
    """The models that employees may use."""


@model.command("list")
@json_option
@click.pass_obj
def listed(obj: Context, as_machine: bool) -> None:
    """What platform.yaml offers, with prices in USD per million tokens."""
    found = [{"name": name, "model": m.model, "secret": m.secret, "apiBase": m.api_base,
              "input": m.input_usd_per_million, "output": m.output_usd_per_million}
             for name, m in sorted(obj.store.platform().models.items())]
    if as_machine:
        return show_json(found)
    console.print(table(("NAME", "MODEL", "KEY", "SERVER", "IN", "OUT"), (
        (m["name"], m["model"], m["secret"] or "-", m["apiBase"] or "the provider's",
         f"{m['input']:g}", f"{m['output']:g}") for m in found)))
    return None


@model.command("test")
@click.argument("name", default="default")
@click.option("--question", help="Ask this instead.")
@json_option
@click.pass_obj
def test(obj: Context, name: str, question: str | None, as_machine: bool) -> None:
    """Ask a model one question, as an employee would. Exit code 1 when it does not answer."""
    with console.status(f"asking {name}"):
        said = obj.ask("POST", f"/v1/models/{quote(name, safe='')}/ask", {"question": question})
    if as_machine:
        show_json(said)
    elif "problem" in said:
        console.print(f"[red]{plain(said['name'])}[/] ({plain(said['model'])}) does not answer: "
                      f"{plain(said['problem'])}", soft_wrap=True)
    else:
        console.print(plain(said["answer"]), soft_wrap=True)
        console.print(f"[dim]{plain(said['model'])}: {said['seconds']} s, {said['tokens_in']} + "
                      f"{said['tokens_out']} tokens, {said['usd']:.6f} USD[/]")
    if "problem" in said:
        sys.exit(1)
