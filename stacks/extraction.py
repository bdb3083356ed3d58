"""The text of a document, for an employee to read and to search.

Documents come from outside, and parsers of PDF, Word and HTML are large: each document is read in a
process of its own that can open nothing, start nothing, and has little memory and time (see
`reader_server`). What kind it is, its content says before its name.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from stacks import StackError
from stacks.reader_server import Order, ReaderServer
from stacks.readers import Note, Refusal, kinds, scan, word

MAX_INPUT = 50 << 20  # bytes
MAX_OUTPUT = 5 << 20  # bytes of UTF-8
WALL_SECONDS = 60.0  # recognising what is a picture may take scan.SECONDS more

SERVER = ReaderServer()

# Control characters but for \n and \t. Those that break a line become \n before.
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {9, 10})
_BREAKS = dict.fromkeys((0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029), "\n")
_MAX_NOTES = 64 << 10  # bytes
_AT = re.compile(r"at (\d{1,7}) (\d{1,7})")
_NOTE = re.compile(r"(\d{1,2}) (\d{1,9})")
_ENCODING = re.compile(r"encoding ([a-z0-9_-]{2,30}) ([01])")


class ExtractionError(StackError):
    """The document gives no text. The message is a sentence for who uploaded it."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """`text`: lines ended by \\n, no control character but \\n and \\t, up to MAX_OUTPUT bytes.

    `kind`: a value of `kinds.ENDINGS`. `truncated`: the document has more text than this.
    `left_out`: what is not in it, a sentence each. `encoding`: of a text file, and whether that was
    a guess.
    """

    text: str
    kind: str
    truncated: bool
    left_out: tuple[str, ...] = ()
    encoding: str = ""
    guessed: bool = False


WORDS = {
    Refusal.ENCRYPTED: "It is encrypted, or has a password; upload a copy without either.",
    Refusal.OLD_OFFICE: "It is protected by a password, or in an old format of Office (.doc, .xls, "
                        ".ppt); save it as .docx, .xlsx or .pptx without a password.",
    Refusal.DAMAGED: "It is damaged, or not what its name says; open it, save it anew, and upload "
                     "that.",
    Refusal.UNPACKS: "It unpacks to far more than its size; upload a smaller document.",
    Refusal.MEMORY: "Reading it needs too much memory; upload it in parts.",
    Refusal.NESTED: "Its parts are nested too deeply; save it in a simpler form.",
    Refusal.NOT_TEXT: "It is not text, or in an unknown encoding; save it as UTF-8.",
}


NO_RECOGNITION = ("It is a picture, and what is written in pictures is not recognised here; upload "
                  "a document with recognised text.")

# What a note means; {} is its number, or numbers.
LEFT_OUT: dict[int, tuple[str, str]] = {
    Note.SCAN: ("Page {} has no text; it may be a scan.",
                "Pages {} have no text; they may be scans."),
    Note.PAGE: ("Page {} could not be read.", "Pages {} could not be read."),
    Note.CELL: ("A cell of row {} is very long and was cut.",
                "Cells of rows {} are very long and were cut."),
    Note.QUOTE: ("Row {} has a quotation mark that never ends; it was read without.",
                 "Rows {} have quotation marks that never end; they were read without."),
    Note.BYTES: ("{} byte is no text and stands as \ufffd.",
                 "{} bytes are no text and stand as \ufffd."),
    Note.PICTURES: ("{} picture: what is written in it is not read.",
                    "{} pictures: what is written in them is not read."),
    Note.ATTACHMENTS: ("{} embedded file is not read; upload it by itself.",
                       "{} embedded files are not read; upload them by themselves."),
    Note.COMMENTS: ("{} comment is not read.", "{} comments are not read."),
    Note.CHARTS: ("{} chart or diagram is not read.", "{} charts or diagrams are not read."),
    Note.HIDDEN: ("{} hidden sheet or slide is not read.",
                  "{} hidden sheets or slides are not read."),
    Note.WITHIN: ("{} document in it was not read whole; by itself it says what is missing.",
                  "{} documents in it were not read whole; by themselves they say what is "
                  "missing."),
    Note.RECOGNISED: ("The text of page {} was recognised in a picture, and may hold mistakes.",
                      "The text of pages {} was recognised in pictures, and may hold mistakes."),
    Note.LATE: ("Page {} is a scan, and there was no time left to recognise it; upload the "
                "document in parts.",
                "Pages {} are scans, and there was no time left to recognise them; upload the "
                "document in parts."),
    Note.SEEN: ("The text of {} picture or scan in it was recognised, and may hold mistakes.",
                "The text of {} pictures or scans in it was recognised, and may hold mistakes."),
    Note.FORM: ("Its form is of an old kind (XFA), and may hold more.",) * 2,
}
# The others are counted.
_BY_PLACE = frozenset({Note.SCAN, Note.PAGE, Note.CELL, Note.QUOTE, Note.RECOGNISED, Note.LATE})
_MOST_PLACES = 12


def extract(document: Path | BinaryIO, filename: str, as_uid: int = 65534,
            encoding: str | None = None,
            progress: Callable[[int, int], None] = lambda *_: None,
            languages: Iterable[str] = ("eng",)) -> Extracted:
    """The text of a document; its content, and then `filename`, tell its kind.

    `document`: a path, or an open file with a descriptor, read from its start. `as_uid`: who the
    parser runs as, if we are root. `encoding`: of a text, as a person says. `progress(page, of)`:
    called from another thread now and then. `languages`: of what is written in pictures, by
    Tesseract's names. Raises ExtractionError. Takes up to WALL_SECONDS, and scan.SECONDS more where
    pictures are recognised.
    """
    recognised = scan.known(languages)
    kind = kinds.by_name(filename)
    if kind is None:
        raise ExtractionError("Its type is unknown; the known ones are "
                              + ", ".join(f".{ending}" for ending in kinds.ENDINGS) + ".")
    if encoding is not None:
        encoding = known_encoding(encoding)
    with contextlib.ExitStack() as stack:
        file = (stack.enter_context(document.open("rb")) if isinstance(document, Path)
                else document)
        size = os.fstat(file.fileno()).st_size
        if size > MAX_INPUT:
            raise ExtractionError(f"It is too large to read; up to {MAX_INPUT >> 20} MB.")
        kind = _by_content(file.fileno(), size, kind, filename)
        if kind == "picture" and not recognised:
            raise ExtractionError(NO_RECOGNITION)

        def run(*languages: str) -> _Seen:
            return _run(file, kind, as_uid, encoding or "", languages, progress)
        # What is written in pictures is looked at where there are some, and then with more time.
        seen = run(*recognised) if kind == "picture" else run()
        if recognised and seen.has_pictures and kind in kinds.RECOGNISED:
            again = run(*recognised)
            seen = again if again.text or not seen.text else seen
    if not seen.truncated and seen.code in (-signal.SIGXCPU, -signal.SIGKILL):
        if not seen.text:
            raise ExtractionError("Reading it takes too long; upload it in parts.")
        seen = replace(seen, truncated=True)  # the first pages of a long document
    elif not seen.truncated and seen.code:
        raise ExtractionError(WORDS.get(
            seen.code, WORDS[Refusal.DAMAGED]))  # type: ignore[call-overload]
    if not seen.text:
        raise ExtractionError("There is no text in it." if recognised else
                              f"There is no text in it; if it is a scan: {NO_RECOGNITION}")
    left_out, found, guessed = _understood(seen.notes)
    return Extracted(seen.text, kind, seen.truncated, left_out, found, guessed)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read, and how that ended."""

    text: str
    truncated: bool
    code: int
    notes: tuple[str, ...]

    @property
    def has_pictures(self) -> bool:
        marks = tuple(f"{int(note)} " for note in (Note.SCAN, Note.PICTURES, Note.WITHIN))
        return any(note.startswith(marks) for note in self.notes)


def _run(file: BinaryIO, kind: str, as_uid: int, encoding: str, languages: Iterable[str],
         progress: Callable[[int, int], None]) -> _Seen:
    """Reads it elsewhere. `languages`: of what is written in pictures; none: that is not read."""
    order = Order(kind, as_uid, encoding, tuple(languages))
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    with SERVER.begin(order, file.fileno()) as reading:
        timer = threading.Timer(WALL_SECONDS + (scan.SECONDS if order.languages else 0.0),
                                reading.end)
        notes = _Listener(reading.notes, progress)
        timer.start()
        notes.start()
        try:
            raw = reading.text.read(MAX_OUTPUT + 1)
            truncated = len(raw) > MAX_OUTPUT
            if truncated:
                reading.end()
            code = reading.code()
            notes.join()
        finally:
            timer.cancel()
    return _Seen(_clean(raw[:MAX_OUTPUT].decode(errors="ignore")), truncated, code,
                 tuple(notes.kept))


class _Listener(threading.Thread):
    """Hears what is noted while it is read. `kept`: the lines that are more than progress, as
    far as they are few."""

    def __init__(self, pipe: BinaryIO, progress: Callable[[int, int], None]) -> None:
        super().__init__(daemon=True, name="extraction-notes")
        self._pipe, self._progress = pipe, progress
        self.kept, self._room = list[str](), _MAX_NOTES

    def run(self) -> None:
        rest = b""
        while piece := os.read(self._pipe.fileno(), 4096):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-100:]  # no line of ours is longer
            for line in lines:
                text = line[-100:].decode(errors="replace")
                if found := _AT.fullmatch(text):
                    self._progress(int(found[1]), int(found[2]))
                elif self._room > 0:
                    self._room -= len(line) + 1
                    self.kept.append(text)


def known_encoding(name: str) -> str:
    """An encoding's own name. Raises ExtractionError: Python has none of this name for text."""
    try:
        found = codecs.lookup(name.strip())
    except (LookupError, ValueError):
        found = None
    if found is None or not found._is_text_encoding:  # type: ignore[attr-defined]
        raise ExtractionError(f"{name[:40]!r} is no encoding that is known; usual ones are utf-8, "
                              "windows-1252, iso-8859-15, koi8-r, gb18030, shift_jis.")
    return found.name


def _by_content(handle: int, size: int, kind: str, filename: str) -> str:
    """The kind that the first and last bytes tell, which no name overrules."""
    head = os.pread(handle, kinds.HEAD, 0)
    if found := kinds.by_content(head, os.pread(handle, kinds.TAIL, max(0, size - kinds.TAIL))):
        return found
    if kinds.is_packed(head):
        if kind in kinds.PACKED:
            return kind
        raise ExtractionError(f"It is a packed file (a .zip, for one) and no "
                              f".{filename.rpartition('.')[2]}; upload what is in it.")
    if head.startswith(word.OLE) and kind != "msg":
        raise ExtractionError(WORDS[Refusal.OLD_OFFICE])
    return kind


def _understood(notes: Iterable[str]) -> tuple[tuple[str, ...], str, bool]:
    """What was noted, in sentences of ours: who reads may have been taken over."""
    numbers: dict[Note, list[int]] = {}
    encoding, guessed = "", False
    for line in notes:
        if (found := _NOTE.fullmatch(line)) and int(found[1]) in LEFT_OUT:
            numbers.setdefault(Note(int(found[1])), []).append(int(found[2]))
        elif found := _ENCODING.fullmatch(line):
            encoding, guessed = found[1], found[2] == "1"
    sentences = []
    for note, found_numbers in sorted(numbers.items()):
        one, many = LEFT_OUT[note]
        if note in _BY_PLACE:
            places = sorted(set(found_numbers))
            shown = ", ".join(map(str, places[:_MOST_PLACES])) + (
                f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else "")
            sentences.append((many if len(places) > 1 else one).format(shown))
        else:
            total = sum(found_numbers)
            sentences.append((many if total > 1 else one).format(f"{total:,}"))
    return tuple(sentences), encoding, guessed


def _clean(text: str) -> str:
    """Done here, not by the parser. Every step is linear: the text is as long as they wish."""
    text = text.replace("\r\n", "\n").translate(_BREAKS).translate(_CONTROLS)
    lines: list[str] = []
    for line in map(str.rstrip, text.split("\n")):
        if line or (lines and lines[-1]):  # one empty line at most, none at the start
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n" if lines else ""
