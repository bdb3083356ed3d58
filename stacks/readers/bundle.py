"""Documents within a document: what is attached to a mail, what a .zip packs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

from stacks.readers import Note, Notes, Reader, Refusal, Refused, packages

MOST = 200  # documents of one bundle
_MOST_BYTES = 50 << 20  # of one of them
# (name, bytes, notes of the whole) -> its text; what can't be read is noted.
Within = Callable[[str, bytes, Notes], Iterator[str]]


def headed(heading: str, pieces: Iterator[str]) -> Iterator[str]:
    """A text below its heading; nothing where there is no text."""
    begun = False
    for piece in pieces:
        if not begun and piece.strip():
            begun = True
            yield f"\n\n{heading}\n\n"
        yield piece


def load_zip(within: Within) -> Reader:
    def read(data: bytes, notes: Notes) -> Iterator[str]:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            parts = [part for part in packed.infolist() if _is_document(part)]
            if sum(part.file_size for part in parts) > packages.MAX_UNPACKED:
                raise Refused(Refusal.UNPACKS)
            closed = [part for part in parts if part.flag_bits & 1]
            if closed and len(closed) == len(parts):
                raise Refused(Refusal.ENCRYPTED)
            if left := len(closed) + max(len(parts) - len(closed) - MOST, 0):
                notes.add(Note.ATTACHMENTS, left)
            for part in [part for part in parts if part not in closed][:MOST]:
                if part.file_size > _MOST_BYTES:
                    notes.add(Note.ATTACHMENTS, 1)
                    continue
                try:
                    content = packed.read(part)
                except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError):
                    notes.add(Note.ATTACHMENTS, 1)
                    continue
                yield from headed(f"# {part.filename}", within(part.filename, content, notes))
    return read


def _is_document(part: zipfile.ZipInfo) -> bool:
    """Not a folder, nor what systems put beside files for themselves."""
    names = part.filename.split("/")
    return not part.is_dir() and "__MACOSX" not in names and not names[-1].startswith((".", "~$"))
