"""Tables in text files: any delimiter, any row; one that is broken costs nothing but itself."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from stacks.readers import Note, Notes, Reader
from stacks.readers import text as plain

_DELIMITERS = ",;\t|:^~\x1f"
_QUOTE = '"'
MOST_CELL = 30_000  # characters of one cell
_MOST_LINES = 500  # of one record, with line breaks between its quotes


def load() -> Reader:
    plain.load()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        yield from _table(plain.decoded(data, notes), notes)
    return read


def _table(text: str, notes: Notes) -> Iterator[str]:
    csv.field_size_limit(1 << 30)
    lines = text.splitlines(keepends=True)
    delimiter = _delimiter(lines)
    if lines and lines[0].strip().lower() == f"sep={delimiter}":  # what Excel writes for itself
        lines = lines[1:]
    number = 0
    for row, is_broken in _rows(lines, delimiter):
        if not any(cell.strip() for cell in row):
            continue
        number += 1
        if is_broken:
            notes.add(Note.QUOTE, number)
        yield "| " + " | ".join(_cell(cell, number, notes) for cell in row) + " |\n"
        if number == 1:
            yield "|" + " --- |" * len(row) + "\n"


def _rows(lines: list[str], delimiter: str) -> Iterator[tuple[list[str], bool]]:
    """Rows, and whether the quotes of one make no sense, so that it was read without them."""
    at = 0
    while at < len(lines):
        end = _record_ends(lines, at)
        try:
            found = [] if end is None else [*csv.reader(
                io.StringIO("".join(lines[at:end]), newline=""), delimiter=delimiter, strict=True)]
        except csv.Error:
            end = None
        if end is None:  # one line is lost for its quotes, and no other
            plain_row = next(csv.reader([lines[at]], delimiter=delimiter,
                                        quoting=csv.QUOTE_NONE), [])
            yield plain_row, True
            at += 1
        else:
            yield from ((row, False) for row in found)
            at = end


def _record_ends(lines: list[str], at: int) -> int | None:
    """The line after the one at which the quotes that begin at `at` are even."""
    open_quotes = 0
    for end in range(at, min(len(lines), at + _MOST_LINES)):
        open_quotes += lines[end].count(_QUOTE)
        if open_quotes % 2 == 0:
            return end + 1
    return None


def _cell(cell: str, row: int, notes: Notes) -> str:
    if len(cell) > MOST_CELL:
        notes.add(Note.CELL, row)
        cell = f"{cell[:MOST_CELL]} … (cut)"
    return " ".join(cell.split()).replace("|", "\\|")


def _delimiter(lines: list[str]) -> str:
    """The one that cuts most of the first lines into the same number of cells."""
    first = [line for line in lines[:60] if line.strip()]
    if first and (said := first[0].strip().lower()).startswith("sep=") and len(said) == 5:
        return said[-1]
    best, chosen = (0, 0), ","
    for rank, delimiter in enumerate(_DELIMITERS):
        counts = Counter(_outside_quotes(line, delimiter) for line in first[:50])
        many, lines_with = max(((n, c) for n, c in counts.items() if n), default=(0, 0),
                               key=lambda one: (one[1], one[0]))
        if many and (score := (lines_with * 10 - rank, many)) > best:
            best, chosen = score, delimiter
    return chosen


def _outside_quotes(line: str, delimiter: str) -> int:
    return sum(part.count(delimiter) for part in line.split(_QUOTE)[::2])
