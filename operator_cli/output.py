"""How results are shown: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# A pipe has no width of its own: wide enough that a row stays a row.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
_SHORT = {"WHEN", "STACK", "CAUSE", "RESULT", "DETECT", "QUEUE", "PLAN", "APPLY", "VERIFY", "TOTAL",
          "SYNC", "HEALTH", "COMMIT", "STATE", "EMPLOYEE", "CUSTOMER", "KIND", ""}
_COLOURS = {"Synced": "green", "Healthy": "green", "succeeded": "green", "ok": "green",
            "OutOfSync": "yellow", "Progressing": "yellow", "warn": "yellow",
            "Degraded": "red", "Missing": "red", "failed": "red", "fail": "red",
            "Unknown": "magenta", "Suspended": "dim"}


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def plain(text: object) -> str:
    """Text from outside, for a line with markup: it neither styles nor steers the terminal."""
    return escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(text)))


def word(text: str) -> str:
    colour = _COLOURS.get(text)
    return f"[{colour}]{plain(text)}[/]" if colour else plain(text)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in _SHORT)
    for row in rows:
        made.add_row(*(word("" if cell is None else str(cell)) for cell in row))
    return made


def brief(text: str, most: int = 90) -> str:
    """The first line, shortened: `--json` has all of it."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= most else first[:most - 1] + "…"


def ago(text: str | None) -> str:
    if not text:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
