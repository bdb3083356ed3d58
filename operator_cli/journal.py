"""`iw log`: what the processes logged, in the order of time, for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from operator_cli.commands import Context, iw, json_option
from operator_cli.output import console, plain, show_json
from state_repo import logbook
from state_repo.journal import FIELDS

_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Span(click.ParamType):
    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None
                ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdigit() or unit not in _UNITS:
            self.fail(f"{value!r} is no span of time; say 90s, 10m, 2h or 7d", param, ctx)
        return timedelta(seconds=int(number) * _UNITS[unit])


@iw.command()
@click.argument("about", required=False)
@click.option("--since", type=_Span(), default="1h", show_default=True, help="How far back: 90s, "
              "10m, 2h, 7d. With ABOUT: all that is kept, unless it is given.")
@click.option("--level", type=click.Choice(logbook.LEVELS, case_sensitive=False), default="INFO",
              show_default=True, help="The least that is shown.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@json_option
@click.pass_obj
@click.pass_context
def log(ctx: click.Context, obj: Context, about: str | None, since: timedelta, level: str,
        follow: bool, as_machine: bool) -> None:
    """What the web app and the reconciler logged.

    ABOUT: a customer, an employee, a commit, or a trace (an answer's X-Trace-Id): with a commit or
    a trace, the whole way from the click to the container.
    """
    given = ctx.get_parameter_source("since") is not click.core.ParameterSource.DEFAULT
    oldest = None if about and not given else datetime.now(UTC) - since
    wanted = logbook.names(obj.store, about) if about else None

    def is_wanted(line: dict[str, Any]) -> bool:
        return logbook.is_at_least(line, level.upper()) and (
            oldest is None or datetime.fromisoformat(line["time"]) >= oldest)
    files = logbook.logs(obj.instance)
    ends = {path: _size(path) for path in files}
    found = list(filter(is_wanted, logbook.lines_of(obj.instance, wanted)))
    if as_machine:
        return show_json(found)
    for line in found:
        _print(line)
    if not found and not follow:
        console.print("Nothing was logged about it." if about else
                      "Nothing was logged in that time; --since looks further back.")
    while follow:
        time.sleep(0.5)
        came = []
        for path in files:
            size = _size(path)
            came += logbook.read(path, ends[path] if size >= ends[path] else 0, wanted)
            ends[path] = size
        for line in sorted(filter(is_wanted, came), key=lambda line: line["time"]):
            _print(line)
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _print(line: dict[str, Any]) -> None:
    when = datetime.fromisoformat(line["time"]).astimezone().strftime("%m-%d %H:%M:%S.%f")[:-3]
    colour = _COLOURS.get(line["level"])
    level = f"[{colour}]{line['level'].lower():7}[/]" if colour else f"{line['level'].lower():7}"
    named = " ".join(f"{name}={plain(str(line[name])[:10] if name == 'commit' else line[name])}"
                     for name in FIELDS if line.get(name))
    console.print(f"[dim]{when}[/] {level} {line['process']:10} {plain(line['message'])}"
                  f"{f'  [dim]{named}[/]' if named else ''}", soft_wrap=True)
    if line.get("exception"):
        console.print(f"[dim]{plain(line['exception'])}[/]", soft_wrap=True)
