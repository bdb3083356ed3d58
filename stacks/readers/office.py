"""Spreadsheets, slides and OpenDocument: tables and paragraphs in the order of the page."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

from stacks.readers import Note, Notes, Reader, Refusal, Refused, load_modules, packages

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_MOST_REPEATED = 200  # a sheet's empty end is one cell, said a thousand times


def load_xlsx() -> Reader:
    import openpyxl  # type: ignore[import-untyped]
    load_modules(openpyxl)

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        with packages.opened(data, notes):
            pass  # what it holds is not more than it may be
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for sheet in book.worksheets:
            if sheet.sheet_state != "visible":
                notes.add(Note.HIDDEN, 1)
                continue
            yield from _sheet(sheet.title, sheet.iter_rows(values_only=True))
    return read


def _sheet(title: str, rows: Iterator[Any]) -> Iterator[str]:
    yield f"## {title}\n\n"
    number = 0
    for row in rows:
        cells = [_shown(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        number += 1
        yield _row(cells)
        if number == 1:
            yield "|" + " --- |" * len(cells) + "\n"
    yield "\n"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return f"{value:%Y-%m-%d}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.12g}"
    return " ".join(str(value).split())


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def load_pptx() -> Reader:
    parse = packages.parser()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        with packages.opened(data, notes) as packed:
            names = set(packed.namelist())
            related = packages.relations(packed, parse, "ppt/presentation.xml")
            deck = parse(packed.read("ppt/presentation.xml"))
            for number, slide in enumerate(deck.iter(_P + "sldId"), 1):
                _, path = related.get(slide.get(_R + "id", ""), ("", ""))
                if path not in names:
                    continue
                root = parse(packed.read(path))
                if root.get("show") == "0":
                    notes.add(Note.HIDDEN, 1)
                    continue
                yield f"## Slide {number}\n\n"
                yield from _shapes(root)
                for _, other in packages.relations(packed, parse, path).values():
                    if "notesSlide" in other and other in names:
                        said = "".join(_shapes(parse(packed.read(other)), but="sldNum"))
                        if said.strip():
                            yield f"Notes: {said.strip()}\n\n"
    return read


def _shapes(root: Any, but: str = "") -> Iterator[str]:
    for element in root.iter(_P + "sp", _P + "graphicFrame"):
        kind = element.find(f".//{_P}ph")
        if but and kind is not None and kind.get("type") == but:
            continue
        for table in element.iter(_A + "tbl"):
            for number, row in enumerate(table.iter(_A + "tr")):
                cells = ["".join(cell.itertext(_A + "t")) for cell in row.findall(_A + "tc")]
                yield _row(cells) + ("|" + " --- |" * len(cells) + "\n" if not number else "")
            yield "\n"
        if element.tag == _P + "sp":
            for paragraph in element.iter(_A + "p"):
                text = "".join(x.text or "" if x.tag == _A + "t" else "\n"
                               for x in paragraph.iter(_A + "t", _A + "br"))
                if text.strip():
                    yield f"{text}\n\n"


def load_open_document() -> Reader:
    parse = packages.parser()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        with packages.opened(data, notes) as packed:
            if b"manifest:encryption-data" in packed.read("META-INF/manifest.xml"):
                raise Refused(Refusal.ENCRYPTED)
            body = parse(packed.read("content.xml")).find(f"{_OFFICE}body")
            if body is not None:
                yield from _open_blocks(body)
    return read


def _open_blocks(element: Any) -> Iterator[str]:
    for child in element:
        tag = str(child.tag)
        if tag == _TEXT + "h":
            level = child.get(_TEXT + "outline-level", "1")
            yield "#" * min(int(level) if level.isdigit() else 1, 6) + f" {_open_text(child)}\n\n"
        elif tag == _TEXT + "p":
            text = _open_text(child)
            yield f"{text}\n\n" if text.strip() else ""
        elif tag == _TEXT + "list":
            for item in child.iter(_TEXT + "list-item"):
                own = " ".join(_open_text(p) for p in item.findall(_TEXT + "p"))
                yield f"- {own}\n" if own.strip() else ""
            yield "\n"
        elif tag == _TABLE + "table":
            yield from _open_table(child)
        elif tag in (_TEXT + "tracked-changes", _OFFICE + "annotation", _OFFICE + "forms"):
            continue
        else:
            if tag == _DRAW + "page":
                yield f"## {child.get(_DRAW + 'name', 'Slide')}\n\n"
            yield from _open_blocks(child)


def _open_table(table: Any) -> Iterator[str]:
    if table.get(_TABLE + "display") == "false":
        return
    if name := table.get(_TABLE + "name"):
        yield f"## {name}\n\n"
    number = 0
    for row in table.iter(_TABLE + "table-row"):
        cells: list[str] = []
        for cell in row:
            if cell.tag not in (_TABLE + "table-cell", _TABLE + "covered-table-cell"):
                continue
            times = cell.get(_TABLE + "number-columns-repeated", "1")
            text = " ".join(_open_text(p) for p in cell.iter(_TEXT + "p"))
            cells += [" ".join(text.split())] * min(
                int(times) if times.isdigit() else 1, _MOST_REPEATED)
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            number += 1
            yield _row(cells) + ("|" + " --- |" * len(cells) + "\n" if number == 1 else "")
    yield "\n"


def _open_text(element: Any) -> str:
    """The text of a paragraph; notes and comments within it are left where they stand."""
    parts = [element.text or ""]
    for child in element:
        tag = str(child.tag)
        if tag == _TEXT + "s":
            times = child.get(_TEXT + "c", "1")
            parts.append(" " * min(int(times) if times.isdigit() else 1, 100))
        elif tag == _TEXT + "tab":
            parts.append("\t")
        elif tag == _TEXT + "line-break":
            parts.append("\n")
        elif tag == _OFFICE + "annotation":
            pass
        elif isinstance(child.tag, str):
            parts.append(_open_text(child))
        parts.append(child.tail or "")
    return "".join(parts)
