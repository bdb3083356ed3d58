"""What a customer's employees all know: documents, and their text for reading and searching.

One volume per customer, which the employees' containers mount read-only at /shared:

    INDEX.md            for the employees: what there is, and how to search it
    index.json          the same for us: who uploaded what when, and whether it could be read
    files/NAME          the originals
    text/NAME.md        the text of each, beneath a short header
    search.db           every line of the texts, to be found again: see `knowledge_index`
    .earlier/           what documents were before they were replaced: see `knowledge_history`
    .lock               held while anything here is changed

Files are the truth. `index.json` is written last; where it does not agree with `files`, an upload
was cut short, and the next call that holds the lock makes it good.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from stacks.extraction import ExtractionError, extract, known_encoding
from stacks.knowledge_history import History, Version
from stacks.knowledge_index import Index, Match
from stacks.readers import kinds
from stacks.workspace import (
    TEMPORARY,
    Entry,
    NotFound,
    PathRefused,
    Workspace,
    checked,
    etag_of,
)

log = logging.getLogger(__name__)
LOCK = ".lock"
MOUNT = "/shared"  # in the employees' containers
HEADER_ENDS = "\n---\n\n"  # of a text
MAX_NAME = 200  # bytes; leaves room for an ending
MAX_BEGINS = 120  # characters of a text that the index shows


@dataclass(frozen=True, slots=True)
class Document:
    """`size`: bytes. `uploaded`: UTC. `by`: "" if an upload was cut short before it was noted.

    `state`: "reading" while its text is taken out. `why`: a sentence, if that failed. `truncated`:
    the text is not the whole. `left_out`: what is not in it, a sentence each. `encoding`: of a
    text, and whether that is a guess; `said_encoding`: what a person said that it is. `address`:
    of a web page, where it was fetched.
    """

    name: str
    kind: str
    size: int
    etag: str
    uploaded: datetime
    by: str
    state: Literal["reading", "extracted", "failed"] = "reading"
    why: str = ""
    begins: str = ""
    truncated: bool = False
    left_out: tuple[str, ...] = ()
    encoding: str = ""
    guessed: bool = False
    said_encoding: str = ""
    address: str = ""


_FIELDS = tuple(field.name for field in fields(Document))
# Inside the class below, `list` is the method.
Documents = dict[str, Document]
DocumentList = list[Document]
Matches = list[Match]
Versions = list[Version]


class Knowledge:
    """A customer's documents in `root`, which nobody else writes to. Make one per request."""

    def __init__(self, root: Path,
                 progress: Callable[[str, int, int], None] = lambda *_: None,
                 languages: Iterable[str] = ("eng",)) -> None:
        """`progress(name, page, of)`: called now and then while a document is read. `languages`:
        of what is written in pictures, by Tesseract's names."""
        self._root, self._progress, self._languages = root, progress, tuple(languages)
        self._texts = root / "text"
        self._index, self._history = Index(root), History(root)
        self._files = self._workspace(0, 0)  # to read and to remove

    def put(self, name: str, chunks: Iterable[bytes], by: str, now: datetime, max_bytes: int,
            max_total_bytes: int, address: str = "") -> Document:
        """Adds or replaces a document, and waits for its text (up to a minute, and for what is a
        picture a minute and a half more).

        `address`: where a web page was fetched. What it replaces becomes an earlier version, if
        that is another one. A document that gives no text is kept; `why` says what is wrong with
        it. PathRefused, TooLarge, NoSpace (the originals together have up to `max_total_bytes`), or
        what `chunks` raises leave everything as it was. One at a time: have the bytes at hand.
        """
        name = _checked_name(name)
        with self._lock():
            documents = self._mended()
            old = documents.get(name)
            kept = self._history.keep(name, old.uploaded, old.by, now) if old else None
            try:
                entry = self._workspace(max_bytes, max_total_bytes).write(name, chunks)
            except BaseException:
                if kept is not None:
                    self._history.forget(kept)
                raise
            documents[name] = replace(_new(entry, now, by), address=address)
            if kept is not None and self._history.is_same(name, kept):
                self._history.forget(kept)
            self._history.fit(name, max_total_bytes - sum(d.size for d in documents.values()))
            self._save(documents)  # who uploaded it survives should we be cut short while reading
            documents[name] = self._read(documents[name])
            self._keep_index()
            self._save(documents)
            return documents[name]

    def list(self) -> DocumentList:
        """By name. Never waits for an upload; mends what one left behind."""
        with self._lock(wait=False) as held:
            documents = self._mended() if held else self._load()
        return [documents[name] for name in sorted(documents, key=str.casefold)]

    def open(self, name: str) -> tuple[Entry, BinaryIO]:
        """The original. NotFound."""
        return self._files.open(_checked_name(name))

    def versions(self, name: str) -> Versions:
        """What it was before it was replaced, the newest first. NotFound."""
        name = _checked_name(name)
        self._files.open(name)[1].close()
        with self._lock(wait=False):
            return self._history.of(name)

    def version_counts(self) -> dict[str, int]:
        """By name, how many earlier versions there are."""
        return self._history.counts()

    def open_version(self, name: str, version: int) -> tuple[int, BinaryIO]:
        """An earlier version's size and bytes. NotFound."""
        file = self._history.open(_checked_name(name), version)
        return os.fstat(file.fileno()).st_size, file

    def restore(self, name: str, version: int, by: str, now: datetime, max_bytes: int,
                max_total_bytes: int) -> Document:
        """Makes a document again what it was; what it is now becomes an earlier version. As `put`,
        and NotFound."""
        size, file = self.open_version(name, version)
        with file:
            pieces = iter(lambda: file.read(1 << 20), b"")
            return self.put(name, pieces, by, now, max(max_bytes, size), max_total_bytes)

    def text(self, name: str) -> str:
        """What employees read of a document, without the header above it. NotFound."""
        name = _checked_name(name)
        try:
            return self._text(name).read_text(encoding="utf-8").partition(HEADER_ENDS)[2]
        except FileNotFoundError:
            raise NotFound(f"there is no text of {name!r}") from None

    def read_again(self, name: str, encoding: str | None) -> Document:
        """Takes the text out anew, in the encoding that a person names (None: find it out).
        NotFound; ExtractionError: no such encoding is known."""
        name = _checked_name(name)
        said = known_encoding(encoding) if encoding else ""
        with self._lock():
            documents = self._mended()
            if name not in documents:
                raise NotFound(f"there is no document {name!r}")
            documents[name] = self._read(replace(documents[name], said_encoding=said))
            self._keep_index()
            self._save(documents)
            return documents[name]

    def remove(self, name: str) -> None:
        """Removes the original, its text and its earlier versions. NotFound."""
        name = _checked_name(name)
        with self._lock():
            documents = self._mended()
            self._files.delete(name)
            self._text(name).unlink(missing_ok=True)
            self._history.remove(name)
            del documents[name]
            self._keep_index()
            self._save(documents)

    def search(self, query: str) -> Matches:
        """See `knowledge_index.Index.search`; an index that is damaged is made anew."""
        with self._lock(wait=False) as held:
            if held:
                self._mended()
                self._keep_index()
        try:
            return self._index.search(query)
        except sqlite3.Error as error:
            log.warning("the index in %s can't be read, and is made anew: %s", self._root, error)
            with self._lock():
                self._index.drop()
                self._keep_index()
            return self._index.search(query)

    def _workspace(self, max_bytes: int, max_total_bytes: int) -> Workspace:
        return Workspace(self._root / "files", os.geteuid(), os.getegid(), max_bytes,
                         max_total_bytes)

    def _text(self, name: str) -> Path:
        return self._texts / f"{name}.md"

    @contextlib.contextmanager
    def _lock(self, wait: bool = True) -> Iterator[bool]:
        """Whether it is held; between threads and between processes."""
        with locked(self._root, None if wait else 0.0) as held:
            yield held

    def _load(self) -> Documents:
        try:
            found = json.loads((self._root / "index.json").read_text(encoding="utf-8"))
            return {one["name"]: Document(**one | {
                "uploaded": datetime.fromisoformat(one["uploaded"]),
                "left_out": tuple(one.get("left_out", ()))}) for one in found}
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return {}  # none yet, or torn by a power cut: made anew from the files

    def _mended(self) -> Documents:
        """The index, agreeing with the files. Only with the lock."""
        for folder in (self._root / "files", self._texts):
            if not folder.is_dir():
                folder.mkdir()
                folder.chmod(0o755)
        known = self._load()
        documents: Documents = {}
        for path in (self._root / "files").iterdir():
            if path.name.startswith(TEMPORARY):
                path.unlink()
                continue
            old = known.get(path.name)
            with contextlib.suppress(PathRefused, NotFound):  # not ours
                if old and old.etag == etag_of(path.lstat()):
                    documents[old.name] = old
                    continue
                entry, file = self.open(path.name)
                file.close()
                documents[entry.name] = _new(entry, entry.modified, "")
        for one in [*documents.values()]:
            if one.state == "reading":
                documents[one.name] = self._read(one)
        texts = {f"{name}.md" for name in documents}
        for path in self._texts.iterdir():
            if path.name not in texts:
                path.unlink()
        if documents != known:
            self._save(documents)
        return documents

    def _keep_index(self) -> None:
        """The index, agreeing with the texts. Only with the lock."""
        try:
            try:
                self._fill_index()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                log.warning("the index in %s is damaged, and is made anew: %s", self._root, error)
                self._index.drop()
                self._fill_index()
        except sqlite3.Error as error:  # no room, for one: it is tried again
            log.warning("the index in %s is not kept: %s", self._root, error)

    def _fill_index(self) -> None:
        texts = {path.name.removesuffix(".md"): path for path in self._texts.iterdir()
                 if not path.name.startswith(TEMPORARY)}
        known = self._index.etags()
        for name in known.keys() - texts.keys():
            self._index.remove(name)
        for name, path in texts.items():
            found = path.stat()
            if known.get(name) != (etag := f"{found.st_mtime_ns}-{found.st_size}"):
                self._index.put(name, etag, path.read_text(encoding="utf-8"))

    def _read(self, document: Document) -> Document:
        """Takes its text out, or notes why not."""
        try:
            _, file = self.open(document.name)
            with file:
                found = extract(file, document.name, encoding=document.said_encoding or None,
                                progress=partial(self._progress, document.name),
                                languages=self._languages)
        except ExtractionError as error:
            self._text(document.name).unlink(missing_ok=True)
            return replace(document, state="failed", why=str(error), begins="", truncated=False,
                           left_out=(), encoding="", guessed=False)
        header = (f"Source: {document.name} ({MOUNT}/files/{document.name})\n"
                  f"Uploaded: {document.uploaded:%Y-%m-%d %H:%M} UTC"
                  + (f" by {document.by}" if document.by else "") + "\n"
                  + (f"Fetched from: {document.address}\n" if document.address else "")
                  + ("Cut off: the document has more text than this.\n" if found.truncated else "")
                  + "".join(f"Left out: {what}\n" for what in found.left_out)
                  + (f"Its encoding was guessed: {found.encoding}. Words may be wrong.\n"
                     if found.guessed else "") + HEADER_ENDS)
        _replace(self._text(document.name), header + found.text)
        return replace(document, state="extracted", why="", truncated=found.truncated,
                       left_out=found.left_out, encoding=found.encoding, guessed=found.guessed,
                       begins=_one_line(found.text[:4 * MAX_BEGINS])[:MAX_BEGINS])

    def _save(self, documents: Documents) -> None:
        sorted_ones = [documents[name] for name in sorted(documents, key=str.casefold)]
        _replace(self._root / "INDEX.md", _index(sorted_ones))
        rows = (json.dumps({field: getattr(one, field) for field in _FIELDS}
                           | {"uploaded": one.uploaded.isoformat()}, ensure_ascii=False)
                for one in sorted_ones)
        _replace(self._root / "index.json", "[" + ",\n ".join(rows) + "]\n")


@contextlib.contextmanager
def locked(root: Path, patience_s: float | None = None) -> Iterator[bool]:
    """Whether nobody else changes what is in there meanwhile, threads and processes alike; waited
    for no longer than `patience_s` (None: for as long as it takes). Raises NotFound."""
    try:
        handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFound("there is no shared folder yet; it is made with the customer") from None
    try:
        yield _taken(handle, patience_s)
    finally:
        os.close(handle)


def _taken(handle: int, patience_s: float | None) -> bool:
    if patience_s is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)


def _checked_name(name: str) -> str:
    """The name of one file, in Unicode's composed form: every system's é is the same one, and so is
    every blank (macOS puts a narrow one into its screenshots' names)."""
    name = "".join(" " if unicodedata.category(c) == "Zs" else c
                   for c in unicodedata.normalize("NFC", name)).strip(" ")
    parts = checked(name)
    if len(parts) != 1:
        raise PathRefused(f"{name!r} is no file name; leave / away")
    if name.startswith("."):
        raise PathRefused(f"{name!r} is hidden; leave the leading . away")
    for character in name:
        # Of what is no plain character: controls and the like, and ends of lines and paragraphs.
        if unicodedata.category(character)[0] in "CZ" and character not in _KEPT:
            raise PathRefused(f"{name!r} has a character that can't be seen "
                              f"({_described(character)}); leave it away")
    if len(parts[0]) > MAX_NAME:
        raise PathRefused(f"the name is too long: {name[:40]!r}…; up to {MAX_NAME} bytes")
    return name


# A blank; and what scripts of India, Persian and emoji join their characters by.
_KEPT = frozenset(" \u200c\u200d")


def _described(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'a control character')}".strip()


def _new(entry: Entry, now: datetime, by: str) -> Document:
    assert entry.etag is not None  # a regular file has one
    kind = kinds.by_name(entry.name) or entry.name.rpartition(".")[2].lower()
    return Document(entry.name, kind, entry.size, entry.etag, now.astimezone(UTC), _one_line(by))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _index(documents: Iterable[Document]) -> str:
    rows = "".join(
        f"| {_cell(one.name)} | {_cell(one.kind)} | {_size(one.size)} | {_cell(_shown(one))} |\n"
        for one in documents)
    return ("# Shared knowledge\n\n"
            "Documents that the company gave to all of its employees. The originals are in "
            f"`{MOUNT}/files`, the text of each in `{MOUNT}/text/NAME.md`. To find the documents "
            f"with some words, the best lines first, with page and line: `knowledge WORD...`; a "
            f"pattern: `rg -i PATTERN {MOUNT}/text`. They are for reading only.\n\n"
            + ("| document | kind | size | begins with |\n| --- | --- | --- | --- |\n" + rows
               if rows else "There are none yet.\n"))


def _shown(document: Document) -> str:
    match document.state:
        case "extracted":
            aside = [*(["cut off"] if document.truncated else []),
                     *([f"its encoding was guessed: {document.encoding}"] if document.guessed
                       else []),
                     *(f"left out: {what}" for what in document.left_out)]
            return document.begins + (f" ({'; '.join(aside)})" if aside else "")
        case "failed":
            return f"(no text: {document.why})"
        case _:
            return "(being read)"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _size(count: int) -> str:
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _replace(path: Path, text: str) -> None:
    """Readable by all, and never half-written for who reads it meanwhile."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
