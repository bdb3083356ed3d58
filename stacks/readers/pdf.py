"""PDF: the text of each page, filled-in fields, and what is no text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from stacks.readers import Note, Notes, Reader, Refusal, Refused, load_modules, scan


def load(recogniser: scan.Recogniser | None = None) -> Reader:
    """`recogniser`: of what is written on scanned pages."""
    import cryptography.hazmat.primitives.ciphers.algorithms
    import cryptography.hazmat.primitives.padding  # noqa: F401
    import pypdf
    from pypdf.errors import DependencyError, LimitReachedError
    load_modules(pypdf)

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        try:
            pdf = pypdf.PdfReader(io.BytesIO(data))
            # Many are encrypted with no password, only to forbid changes.
            if pdf.is_encrypted and not pdf.decrypt(""):
                raise Refused(Refusal.ENCRYPTED)
            pages = len(pdf.pages)
        except DependencyError:  # a cipher that pypdf does not know
            raise Refused(Refusal.ENCRYPTED)
        unreadable, waiting, any_text = 0, list[str](), False
        for number in range(pages):
            notes.at(number + 1, pages)
            try:
                page = pdf.pages[number]
                text = page.extract_text()
                if text.strip():
                    # The index says by this mark on which page a line stands.
                    mark = f"[Page {number + 1}]\n\n" if number else ""
                    yield "".join(waiting) + mark + text + "\n\n"
                    waiting, any_text = [], True
                elif said := _recognised(recogniser, data, number, notes):
                    yield "".join(waiting) + said
                    waiting, any_text = [], True
                else:
                    # Told once there is any text: a scan as a whole has none.
                    waiting.append(f"(Page {number + 1} has no text; it may be a scan.)\n\n")
                for said in _annotations(page):
                    yield "".join(waiting) + said
                    waiting, any_text = [], True
            except (MemoryError, LimitReachedError):
                raise Refused(Refusal.UNPACKS)
            except Exception:  # one page out of many
                unreadable += 1
                if unreadable == pages:
                    raise
                notes.add(Note.PAGE, number + 1)
                waiting.append(f"(Page {number + 1} could not be read.)\n\n")
        fields = "".join(_fields(pdf))
        if fields:
            yield "".join(waiting) + "Form fields:\n\n" + fields
        elif any_text or unreadable:
            yield "".join(waiting)
        _note_the_rest(pdf, notes)
    return read


def _recognised(recogniser: scan.Recogniser | None, data: bytes, number: int, notes: Notes) -> str:
    if recogniser is None:
        notes.add(Note.SCAN, number + 1)
        return ""
    return "".join(scan.recognised(lambda: recogniser.page(data, number), number + 1, notes))


def _annotations(page: Any) -> Iterator[str]:
    """Text that was typed onto a page, and comments."""
    try:
        found = [one.get_object() for one in page.get("/Annots") or ()]
    except Exception:  # damaged ones are not worth a page
        return
    for one in found:
        said = one.get("/Contents") if hasattr(one, "get") else None
        kind = one.get("/Subtype") if said else None
        if kind == "/FreeText":
            yield f"{said}\n\n"
        elif kind in ("/Text", "/Highlight", "/Underline", "/StrikeOut", "/Caret", "/Stamp"):
            yield f"(Comment: {said})\n\n"


def _fields(pdf: Any) -> Iterator[str]:
    try:
        fields = pdf.get_fields() or {}
    except Exception:
        return
    for name, field in fields.items():
        value = field.get("/V")
        if value is None or hasattr(value, "keys"):  # a signature, for one
            continue
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        words = {"/Off": "no", "/Yes": "yes", "/On": "yes"}.get(words, words.removeprefix("/"))
        if words.strip():
            yield f"- {field.get('/TU') or name}: {words}\n"


def _note_the_rest(pdf: Any, notes: Notes) -> None:
    try:
        if many := len(pdf.attachments):
            notes.add(Note.ATTACHMENTS, many)
        if "/XFA" in (pdf.trailer["/Root"].get("/AcroForm") or {}):
            notes.add(Note.FORM, 1)
    except Exception:
        return
