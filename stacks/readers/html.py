"""HTML: what a reader of the page sees, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from stacks.readers import Notes, Reader, text

HIDDEN = ["script", "style", "template", "noscript", "svg", "iframe", "object", "head"]
_MOST_SPAN = 1_000  # HTML's own limit of columns


@cache
def load() -> Reader:
    from bs4.dammit import EncodingDetector
    convert = converter()
    text.load()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        # What a page says of itself counts, if it is a name that is known.
        said = None if notes.encoding or data.startswith(text.BYTE_ORDER_MARKS) else (
            EncodingDetector.find_declared_encoding(data, is_html=True))
        try:
            page = data.decode(said, errors="replace") if said else text.decoded(data, notes)
        except LookupError:
            page = text.decoded(data, notes)
        yield convert(page)
    return read


@cache
def converter() -> Callable[[str], str]:
    """From a page of HTML to Markdown; imports what that needs."""
    import lxml.etree  # type: ignore[import-untyped]  # noqa: F401  # what bs4 calls "lxml"
    import markdownify  # type: ignore[import-untyped]
    from bs4 import BeautifulSoup

    def convert(text: str) -> str:
        # Of Python's parsers, lxml's alone closes <p> and <li> as browsers do.
        page = BeautifulSoup(text, "lxml")
        for tag in page(HIDDEN):
            tag.decompose()
        # A picture inside a link's address would be most of the text.
        for tag in page("a", href=True):
            if str(tag["href"]).split(":")[0].strip().lower() in ("data", "javascript"):
                del tag["href"]
        for tag in page("img"):
            tag.replace_with(str(tag.get("alt") or ""))
        for table in page("table"):
            _square(page, table)
        made = markdownify.MarkdownConverter(heading_style="ATX", bullets="-").convert_soup(page)
        return str(made)
    return convert


def _square(page: Any, table: Any) -> None:
    """Puts an empty cell wherever one reaches down or across, so that each value stays in its
    column: Markdown knows no spans."""
    reach: dict[int, int] = {}  # column -> how many more rows are taken there
    for row in table("tr"):
        if row.find_parent("table") is not table:
            continue
        column = 0

        def skip(row: Any, before: Any) -> None:
            nonlocal column
            while reach.get(column, 0) > 0:
                reach[column] -= 1
                empty = page.new_tag("td")
                if before is None:
                    row.append(empty)
                else:
                    before.insert_before(empty)
                column += 1
        for cell in row(["td", "th"], recursive=False):
            skip(row, cell)
            across, down = _span(cell, "colspan"), _span(cell, "rowspan")
            for n in range(across):
                if down > 1:
                    reach[column + n] = down - 1
                if n:
                    cell.insert_after(page.new_tag(cell.name))
            column += across
        skip(row, None)


def _span(cell: Any, name: str) -> int:
    value = str(cell.attrs.pop(name, "1"))
    return max(1, min(int(value), _MOST_SPAN)) if value.isascii() and value.isdigit() else 1
