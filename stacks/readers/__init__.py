"""Readers: a document's bytes to pieces of its text, in `stacks.extraction`'s confined process.

Each module has a `load()`, which imports all that it needs while that is still allowed, and returns
its Reader. A reader yields text as it goes, so that what was read counts when the time runs out,
and notes what it leaves out.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import os
import pkgutil
import time
from collections.abc import Callable, Iterator
from types import ModuleType


class Refusal(enum.IntEnum):
    """Why there is no text: the child's exit code.

    A number, not a sentence: a document may have taken the child over.
    """

    ENCRYPTED = 10
    OLD_OFFICE = 11
    DAMAGED = 12
    UNPACKS = 13
    MEMORY = 14
    NESTED = 15
    NOT_TEXT = 16


class Note(enum.IntEnum):
    """What was left out or is not certain, each with a number (a page, a row, how many)."""

    SCAN = 1  # a page without text
    PAGE = 2  # a page that could not be read
    CELL = 3  # a row with a cell that was cut
    QUOTE = 4  # a row whose quotes do not end
    BYTES = 5  # how many bytes were no text
    PICTURES = 6  # how many
    ATTACHMENTS = 7
    COMMENTS = 8
    CHARTS = 9
    FORM = 10  # a form of the old XFA kind
    HIDDEN = 11  # how many sheets or slides are hidden
    WITHIN = 12  # how many documents within it were not read whole
    RECOGNISED = 13  # a page whose text was recognised in a picture
    LATE = 14  # a page that there was no time to recognise
    SEEN = 15  # how many documents within it had text recognised in a picture


class Refused(Exception):
    """In the child: why it ends."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class Notes:
    """Written at once to `handle`, for a reader may be ended at any time. `most`: the pipe to the
    parent must never fill."""

    def __init__(self, handle: int | None = None, encoding: str | None = None,
                 most: int = 1_000) -> None:
        self._handle, self._left, self._told = handle, most, 0.0
        self.encoding = encoding  # what a person said that it is

    def add(self, note: Note, number: int) -> None:
        self._write(f"{int(note)} {number}")

    def read_as(self, encoding: str, *, guessed: bool) -> None:
        self._write(f"encoding {encoding} {int(guessed)}")

    def at(self, number: int, of: int) -> None:
        """How far it is: at the page, or the document, of this number. Told now and then."""
        if self._handle is not None and (now := time.monotonic()) - self._told >= 0.2:
            self._told = now
            os.write(self._handle, f"at {number} {of}\n".encode())

    def _write(self, line: str) -> None:
        if self._handle is not None and self._left > 0:
            self._left -= 1
            os.write(self._handle, f"{line}\n".encode())


Reader = Callable[[bytes, Notes], Iterator[str]]


def load_modules(package: ModuleType) -> None:
    """Imports all of a package now: it does so by and by, when there is no more importing."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # Another system's, or one for a library that is not there.
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
