"""The kinds of documents: by what name or content each is known, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from stacks.readers import (
    Note,
    Notes,
    Reader,
    bundle,
    html,
    letter,
    office,
    pdf,
    scan,
    table,
    text,
    word,
)

ENDINGS = {"pdf": "pdf", "docx": "docx", "xlsx": "xlsx", "pptx": "pptx", "odt": "odt", "ods": "ods",
           "odp": "odp", "rtf": "rtf", "epub": "epub", "eml": "mail", "html": "html", "htm": "html",
           "csv": "csv", "tsv": "csv", "md": "markdown", "markdown": "markdown", "txt": "text",
           "text": "text", "log": "text", "json": "text", "xml": "text", "yaml": "text",
           "yml": "text", "zip": "zip", "msg": "msg",
           **dict.fromkeys(("png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "webp"), "picture")}

# Documents that may stand within another one; bundles don't, for they would nest without end.
_SINGLE: dict[str, Callable[[], Reader]] = {
    "docx": word.load, "xlsx": office.load_xlsx, "pptx": office.load_pptx,
    **dict.fromkeys(("odt", "ods", "odp"), office.load_open_document), "rtf": letter.load_rtf,
    "epub": letter.load_book, "html": html.load, "csv": table.load, "markdown": text.load,
    "text": text.load}
# Of these, what is a picture can be recognised.
_SEEN: dict[str, Callable[[scan.Recogniser | None], Reader]] = {
    "pdf": pdf.load, "picture": scan.load}
_HOLDING: dict[str, Callable[[bundle.Within], Reader]] = {
    "mail": letter.load_mail, "msg": letter.load_msg, "zip": bundle.load_zip}
RECOGNISED = frozenset({*_SEEN, *_HOLDING})

# What a packed document holds, and so is: a name among its last bytes, or a line at its start.
_PACKED = {b"word/document.xml": "docx", b"xl/workbook.xml": "xlsx",
           b"ppt/presentation.xml": "pptx"}
_SAID = {b"application/vnd.oasis.opendocument.text": "odt",
         b"application/vnd.oasis.opendocument.spreadsheet": "ods",
         b"application/vnd.oasis.opendocument.presentation": "odp",
         b"application/epub+zip": "epub"}
PACKED = frozenset({*_PACKED.values(), *_SAID.values(), "zip"})
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
HEAD, TAIL = 1024, 1 << 16  # bytes at the start and at the end that tell a kind


def by_name(filename: str) -> str | None:
    """A value of ENDINGS."""
    return ENDINGS.get(filename.rpartition(".")[2].lower()) if "." in filename else None


def is_packed(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def by_content(head: bytes, tail: bytes) -> str | None:
    """The kind that the first and last bytes tell for certain, which no name overrules."""
    if b"%PDF-" in head:
        return "pdf"
    if head.lstrip().startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(_PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or (
            head.startswith(b"BM") and head[6:10] == bytes(4)):  # a text may begin so as well
        return "picture"
    if is_packed(head):
        for mark, kind in _SAID.items():
            if mark in head[:120]:
                return kind
        for mark, kind in _PACKED.items():
            if mark in tail:
                return kind
    return None


def load(kind: str, languages: Collection[str] = ()) -> Reader:
    """Imports all that reading this kind needs, while that is still allowed. `languages`: of what
    is written in pictures, those that are known here; none: it is not read."""
    recogniser = scan.Recogniser(languages) if languages and kind in RECOGNISED else None
    if kind in _HOLDING:
        return _HOLDING[kind](_load_within(recogniser))
    return _SEEN[kind](recogniser) if kind in _SEEN else _SINGLE[kind]()


class _Within(Notes):
    """Notes of a document within: whether there were any, and whether text was recognised."""

    def __init__(self) -> None:
        super().__init__()
        self.any = self.recognised = False

    def add(self, note: Note, number: int) -> None:
        if note == Note.RECOGNISED:
            self.recognised = True
        else:
            self.any = True

    def read_as(self, encoding: str, *, guessed: bool) -> None:
        self.any |= guessed


def _load_within(recogniser: scan.Recogniser | None) -> bundle.Within:
    readers = {kind: load_one() for kind, load_one in _SINGLE.items()} | {
        kind: load_one(recogniser) for kind, load_one in _SEEN.items()}

    def read(name: str, data: bytes, notes: Notes) -> Iterator[str]:
        reader = readers.get(by_content(data[:HEAD], data[-TAIL:]) or by_name(name) or "")
        if reader is None:
            notes.add(Note.ATTACHMENTS, 1)
            return
        own = _Within()
        try:
            yield from reader(data, own)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # a damaged one hides no other
            notes.add(Note.ATTACHMENTS, 1)
            return
        if own.any:
            notes.add(Note.WITHIN, 1)
        if own.recognised:
            notes.add(Note.SEEN, 1)
    return read
