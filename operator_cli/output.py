"""How results are shown: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
_COLOURS = {"Synced": "green", "Healthy": "green", "succeeded": "green", "ok": "green",
            "OutOfSync": "yellow", "Progressing": "yellow", "warn": "yellow",
            "Degraded": "red", "Missing": "red", "failed": "red", "fail": "red",
            "Unknown": "magenta", "Suspended": "dim"}


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def word(text: str) -> str:
    colour = _COLOURS.get(text)
    return f"[{colour}]{escape(text)}[/]" if colour else escape(text)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(word("" if cell is None else str(cell)) for cell in row))
    return made


def ago(text: str | None) -> str:
    if not text:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
