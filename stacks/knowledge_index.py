"""Finds again what stands in a company's documents: words and parts of words, in any script.

One SQLite file beside the texts (FTS5 with trigrams: sqlite.org/fts5.html, 4.3.4), which employees
read too: this module is also their command `knowledge`, so it needs nothing but Python.

    knowledge WORD...        lines of documents that hold all of the words, the best first; or,
                             if none does, of those that hold the rarest of them
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = "search.db"
MAX_MATCHES = 50
MAX_MATCHES_EACH = 5  # of one document
MAX_WORDS = 10
MAX_EXCERPT = 200  # characters
_VERSION = 2
_SHARED = Path("/shared")  # in an employee's container
_LINES = 1 << 24  # of one document: a line's row is its document's number and its own
_MOST_DOCUMENTS = 60  # that are compared
_MOST_LINES = 300  # of one of them
_MOST_ASKED = 30  # words of a question
_MARKS = ".,;:!?¿¡…\"'()[]«»„“”‚‘’。、，？！"  # around a word, and not of it
_PAGE = re.compile(r"\[Page (\d{1,7})\]")
_SCHEMA = """
create table documents (id integer primary key, name text unique not null, etag text not null);
create table lines (id integer primary key, line text not null, folded text not null, page integer);
create virtual table in_documents using fts5(folded, tokenize='trigram', content='');
"""
Words = list[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Match:
    """`line`: of the document's text file, from 1. `page`: of the document, if it has any.
    `all_words`: the document has all that was asked for."""

    document: str
    line: int
    excerpt: str
    page: int | None = None
    all_words: bool = True


class Index:
    """The index in `folder`; made when it is not there, or of another version. Writers hold the
    folder's lock; readers need none."""

    def __init__(self, folder: Path, *, only_reads: bool = False) -> None:
        self._path, self._only_reads = folder / FILE, only_reads

    def etags(self) -> dict[str, str]:
        """By document: of which content its lines are."""
        with self._open() as db:
            return dict(db.execute("select name, etag from documents"))

    def put(self, name: str, etag: str, text: str) -> None:
        """Takes the place of what was there of this document."""
        with self._open() as db:
            _remove(db, name)
            made = db.execute("insert into documents (name, etag) values (?, ?)", (name, etag))
            first, page, lines = (made.lastrowid or 0) * _LINES, None, []
            for number, line in enumerate(text.split("\n")[:_LINES - 1], 1):
                if found := _PAGE.fullmatch(line):
                    page = int(found[1])
                elif line.strip():
                    lines.append((first + number, line, "\n".join(sorted(folded(line))), page))
            if any(one[3] for one in lines):  # before the first mark stands the first page
                lines = [(*one[:3], one[3] or 1) for one in lines]
            db.executemany("insert into lines values (?, ?, ?, ?)", lines)
            db.execute("insert into in_documents (rowid, folded) values (?, ?)", (
                made.lastrowid, "\n".join(forms for _, _, forms, _ in lines)))

    def remove(self, name: str) -> None:
        with self._open() as db:
            _remove(db, name)

    def drop(self) -> None:
        """It is damaged: it is made anew from the texts."""
        self._path.unlink(missing_ok=True)

    def search(self, query: str) -> list[Match]:
        """Lines with a word of the query, of documents whose text has all of them.

        What holds more of the words, and holds them whole, comes first: of documents, and of the
        lines of each. Upper and lower case are the same, and so are accents: Müller is found by
        muller, mueller and MÜLLER; 茶叶 within a line of Chinese, and "price" in "priceless".

        When no document has all words, those that have the rarer ones come, the best first: a
        question in a sentence finds what its words are about.
        """
        words: Words = [folded(word) for word in query.split()[:MAX_WORDS]]
        if not words or not self._path.exists():
            return []
        with self._open() as db:
            found = [_Found(db, document, words) for document in _documents_with_all(db, words)]
            found.sort(key=lambda one: (one.score, one.name.casefold()))
            all_words = bool(found)
            if not found and (words := _telling(db, query)):
                found = [_Found(db, document, words)
                         for document in _documents_with_some(db, words)]
        return [Match(one.name, number, _excerpt(line, place), page, all_words)
                for one in found for _, number, line, page, place in one.lines[:MAX_MATCHES_EACH]
                ][:MAX_MATCHES]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        mode = "ro" if self._only_reads else "rwc"
        db = sqlite3.connect(f"{self._path.as_uri()}?mode={mode}", uri=True, timeout=10)
        try:
            if not self._only_reads:
                _make(db, self._path)
            with db:
                yield db
        finally:
            db.close()


def _make(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("pragma user_version").fetchone()
    if version == _VERSION:
        return
    gone = "".join(f"drop table if exists {name}; " for name in (
        "in_lines", "in_documents", "lines", "documents"))  # in_lines: of version 1
    db.executescript(f"begin; {gone}{_SCHEMA}pragma user_version = {_VERSION}; commit;")
    path.chmod(0o644)


def _remove(db: sqlite3.Connection, name: str) -> None:
    found = db.execute("select id from documents where name = ?", (name,)).fetchone()
    if found is None:
        return
    lines = db.execute("select id, folded from lines where id >= ? and id < ? order by id",
                       _rows_of(found[0])).fetchall()
    # An index without content forgets a row when it is told what stood there.
    db.execute("insert into in_documents (in_documents, rowid, folded) values ('delete', ?, ?)",
               (found[0], "\n".join(forms for _, forms in lines)))
    db.execute("delete from lines where id >= ? and id < ?", _rows_of(found[0]))
    db.execute("delete from documents where id = ?", found)


def _rows_of(document: int) -> tuple[int, int]:
    return document * _LINES, (document + 1) * _LINES


def _documents_with_all(db: sqlite3.Connection, words: Words) -> list[int]:
    """Their numbers, the best _MOST_DOCUMENTS. Words that are shorter than the index's pieces are
    looked for in every line of what the others leave."""
    long = [word for word in words if not _is_short(word)]
    short = [word for word in words if _is_short(word)]
    if long:
        found = [row for (row,) in db.execute(
            "select rowid from in_documents where in_documents match ? order by rank limit ?",
            (" AND ".join(f"({_any_of([word])})" for word in long),
             -1 if short else _MOST_DOCUMENTS))]
    else:
        found = [row for (row,) in db.execute("select id from documents order by id")]
    for word in short:
        condition, forms = _holds(word)
        found = [document for document in found if db.execute(
            f"select 1 from lines where id >= ? and id < ? and {condition} limit 1",
            (*_rows_of(document), *forms)).fetchone()]
    return found[:_MOST_DOCUMENTS]


def _telling(db: sqlite3.Connection, question: str) -> Words:
    """The words of a question that tell documents apart: neither short ones (a question's "is" is
    part of too many words) nor what most documents hold, unless there are no others."""
    (every,) = db.execute("select count(*) from documents").fetchone()
    held: list[tuple[int, frozenset[str]]] = []
    for said in question.split()[:_MOST_ASKED]:
        word = folded(said.strip(_MARKS))
        if not _is_short(word):
            (count,) = db.execute("select count(*) from in_documents where in_documents match ?",
                                  (_any_of([word]),)).fetchone()
            if count:
                held.append((count, word))
    rare = [one for one in held if one[0] <= every / 2] or held
    return [word for _, word in sorted(rare, key=lambda one: one[0])[:MAX_WORDS]]


def _documents_with_some(db: sqlite3.Connection, words: Words) -> list[int]:
    """Their numbers, the best _MOST_DOCUMENTS: rarer words count more (BM25)."""
    return [row for (row,) in db.execute(
        "select rowid from in_documents where in_documents match ? order by rank limit ?",
        (_any_of(words), _MOST_DOCUMENTS))]


class _Found:
    """A document and its best lines: score, number, line, page, and where in it the first word
    is."""

    def __init__(self, db: sqlite3.Connection, document: int, words: Words) -> None:
        (self.name,) = db.execute("select name from documents where id = ?", (document,)
                                  ).fetchone()
        self.lines = []
        for row, line, page, _ in _lines_with_any(db, words, document):
            score, place = _score(line, words)
            self.lines.append((score, row % _LINES, line, page, place))
        self.lines.sort(key=lambda one: one[:2])
        self.score = self.lines[0][0] if self.lines else (0, 0)


def _lines_with_any(db: sqlite3.Connection, words: Words, document: int
                    ) -> Iterator[tuple[int, str, int | None, int]]:
    """A document's lines to compare: those with the most of the words, at most _MOST_LINES."""
    conditions = [_holds(word) for word in words]
    held = " + ".join(condition for condition, _ in conditions)
    yield from db.execute(
        f"select id, line, page, {held} as held from lines where id >= ? and id < ? and held "
        "order by held desc, id limit ?",
        (*(form for _, forms in conditions for form in forms), *_rows_of(document), _MOST_LINES))


def _holds(word: frozenset[str]) -> tuple[str, list[str]]:
    """A condition on a line, and its values."""
    return "(" + " or ".join("instr(folded, ?) > 0" for _ in word) + ")", sorted(word)


def _is_short(word: frozenset[str]) -> bool:
    return any(len(form) < 3 for form in word)


def _any_of(words: Words) -> str:
    """FTS5's question for a line with any of the words, in any of its forms."""
    return " OR ".join('"' + form.replace('"', '""') + '"' for word in words for form in word)


def _score(line: str, words: Words) -> tuple[tuple[int, int], int]:
    """How good a line is (less is better): how many of the words it has, how many of them whole;
    and where the first one is."""
    forms = folded(line)
    places = [place for word in words if (place := _place(word, forms)) >= 0]
    whole = sum(any(re.search(rf"\b{re.escape(w)}\b", form) for w in word for form in forms)
                for word in words)
    return (-len(places), -whole), min(places, default=0)


def _excerpt(line: str, place: int) -> str:
    start = max(0, place - MAX_EXCERPT // 4)
    return line[start:start + MAX_EXCERPT].strip()


_ACCENTS = re.compile("[\u0300-\u036f]")
# How people write what their keyboard has no key for.
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "ae", "Ö": "oe", "Ü": "ue",
                            "ø": "oe", "Ø": "oe", "æ": "ae", "Æ": "ae", "å": "aa", "Å": "aa",
                            "œ": "oe", "Œ": "oe"})


def folded(text: str) -> frozenset[str]:
    """The text without case and accents; and with umlauts spelt out, if that differs."""
    if text.isascii():
        return frozenset({text.lower()})
    text = unicodedata.normalize("NFC", text)
    return frozenset({_bare(text), _bare(text.translate(_SPELT_OUT))})


def _bare(text: str) -> str:
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))


def _place(word: frozenset[str], forms: frozenset[str]) -> int:
    """Where a word is in a text, in one form or another; -1 if it is not."""
    return max((form.find(w) for w in word for form in forms), default=-1)


def main(arguments: list[str]) -> int:
    """The employee's command."""
    query = " ".join(arguments)
    if not query.strip():
        print(__doc__.partition("\n\n    ")[2].strip(), file=sys.stderr)
        return 2
    try:
        found = Index(_SHARED, only_reads=True).search(query)
    except sqlite3.Error as error:  # it is being written, for one
        print(f"The index can't be read just now ({error}); use: rg -i WORD /shared/text",
              file=sys.stderr)
        return 1
    if found and not found[0].all_words:
        print("No document holds all of these words. Those that hold the rarest of them:")
    for match in found:
        page = f"page {match.page}, " if match.page else ""
        print(f"{match.document}, {page}line {match.line}: {match.excerpt}")
    if not found:
        print("No document holds any of these words. Try others, or parts of them; "
              "/shared/INDEX.md lists all documents.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
