"""Word: what a reader of the printed document sees, as Markdown.

Mammoth turns paragraphs, lists and tables into HTML, and leaves out in silence what it does not
know. So the document is made simpler first: headers and footers stand at its ends, text boxes
behind their paragraph, fields and formulas are plain runs; what is hidden or deleted goes. It is
read block by block, so that of a very long document there is a first part when the time runs out.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from stacks.readers import Note, Notes, Reader, Refusal, Refused, html, packages

# A file encrypted by Office, or one of its old formats: not a .zip.
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
MAX_UNPACKED = 50 << 20  # bytes of all parts but the text itself and pictures
MAX_TEXT = 150 << 20  # bytes of the text's part
_CHUNK = 400  # blocks (paragraphs, tables) that are converted at once

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_GONE = tuple(_W + name for name in ("del", "moveFrom", "instrText", "delInstrText"))
_WRAPPERS = tuple(_W + name for name in ("ins", "moveTo", "fldSimple", "smartTag", "customXml",
                                         "dir", "bdo", "sdt", "sdtContent"))
_ASIDE = tuple(_W + name for name in ("sdtPr", "sdtEndPr", "smartTagPr", "customXmlPr", "fldData"))


def load() -> Reader:
    import xml.dom.expatbuilder  # noqa: F401  # minidom imports it when it first parses
    from xml.parsers.expat import ExpatError

    import mammoth  # type: ignore[import-untyped]
    from lxml import etree  # type: ignore[import-untyped]
    read_html, convert = html.load(), html.converter()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        if data.startswith(OLE):
            raise Refused(Refusal.OLD_OFFICE)
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            document = _Document(packed, notes, etree)
            try:
                for blocks in document.chunks():
                    if isinstance(blocks, bytes):  # a page of HTML within the document
                        yield from read_html(blocks, Notes())
                        continue
                    made = mammoth.convert_to_html(document.with_body(blocks),
                                                   convert_image=lambda _: []).value
                    yield convert(made) + "\n\n"
            except etree.XMLSyntaxError as error:
                if "depth" in str(error):
                    raise Refused(Refusal.NESTED)
                raise
            except ExpatError as error:
                if error.code == 1:  # out of memory
                    raise MemoryError
                raise
    return read


class _Document:
    """The parts of a .docx. One that unpacks to more than it says is an error of zipfile's own."""

    def __init__(self, packed: zipfile.ZipFile, notes: Notes, etree: Any) -> None:
        self._packed, self._notes, self._etree = packed, notes, etree
        self._parse = packages.parser()
        root = packages.relations(packed, self._parse, "")
        self._main = next((target for kind, target in root.values() if kind == "officeDocument"),
                          "word/document.xml")
        sizes = {part.filename: part.file_size for part in packed.infolist()}
        others = sum(size for name, size in sizes.items()
                     if name != self._main and "/media/" not in name and "/embeddings/" not in name)
        if others > MAX_UNPACKED or sizes.get(self._main, 0) > MAX_TEXT:
            raise Refused(Refusal.UNPACKS)
        self._related = packages.relations(packed, self._parse, self._main)
        # What Mammoth reads beside the text (styles, numbers, notes), for each chunk anew.
        self._rest = {name: packed.read(name) for name in sizes if name != self._main
                      and name.endswith((".xml", ".rels")) and "/embeddings/" not in name}
        self._hidden = self._hidden_styles()

    def chunks(self) -> Iterator[list[Any] | bytes]:
        """Blocks that can be converted by themselves, in the document's order."""
        yield from self._at_the_edge("header")
        waiting: list[Any] = []
        for block in self._blocks():
            if block.tag == _W + "altChunk":
                if waiting:
                    yield waiting
                    waiting = []
                yield from self._embedded(block)
                continue
            waiting += self._simple(block)
            is_listed = block.find(f".//{_W}numPr") is not None  # its number goes on
            if len(waiting) >= _CHUNK and (not is_listed or len(waiting) >= 10 * _CHUNK):
                yield waiting
                waiting = []
        if waiting:
            yield waiting
        yield from self._at_the_edge("footer")
        if "word/comments.xml" in self._rest:
            many = len(self._parse(self._rest["word/comments.xml"]).findall(_W + "comment"))
            if many:
                self._notes.add(Note.COMMENTS, many)

    def with_body(self, blocks: list[Any]) -> io.BytesIO:
        """The document with these blocks alone."""
        root = self._etree.Element(_W + "document", nsmap={"w": _W[1:-1], "r": _R[1:-1]})
        self._etree.SubElement(root, _W + "body").extend(blocks)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
            for name, data in self._rest.items():
                made.writestr(name, data)
            made.writestr(self._main, self._etree.tostring(root, encoding="utf-8"))
        out.seek(0)
        return out

    def _blocks(self) -> Iterator[Any]:
        """The children of the body, one at a time."""
        with self._packed.open(self._main) as stream:
            depth, body = 0, 0
            for event, element in self._etree.iterparse(
                    stream, events=("start", "end"), resolve_entities=False, no_network=True,
                    load_dtd=False):
                if event == "start":
                    depth += 1
                    if not body and element.tag == _W + "body":
                        body = depth
                    continue
                if body and depth == body + 1 and element.tag != _W + "sectPr":
                    yield deepcopy(element)
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
                depth -= 1

    def _at_the_edge(self, which: str) -> Iterator[list[Any]]:
        """What the headers, or the footers, of all sections say, each once."""
        seen: set[str] = set()
        for kind, target in self._related.values():
            if kind != which or target not in self._rest:
                continue
            root = self._parse(self._rest[target])
            text = "".join(root.itertext()).strip()
            if text and text not in seen:
                seen.add(text)
                blocks = [made for block in root for made in self._simple(block)]
                for block in blocks:  # a link's address is the header's own
                    for link in block.iter(_W + "hyperlink"):
                        for name in link.attrib:
                            del link.attrib[name]
                yield blocks

    def _embedded(self, block: Any) -> Iterator[bytes]:
        _, target = self._related.get(block.get(_R + "id"), ("", ""))
        kind = target.rpartition(".")[2].lower()
        if kind in ("html", "htm", "xhtml", "mht", "txt") and target in self._packed.namelist():
            yield self._packed.read(target)
        else:
            self._notes.add(Note.ATTACHMENTS, 1)

    def _simple(self, block: Any) -> list[Any]:
        """The block in words that Mammoth knows, and what stands in its text boxes behind it."""
        for gone in [*block.iter(*_GONE)]:
            _remove(gone)
        self._remove_hidden(block)
        for formula in [*block.iter(_M + "oMath")]:
            _replace(formula, self._run(_formula(formula)))
        for wrapper in [*block.iter(_M + "oMathPara")]:
            _unwrap(wrapper)
        for ruby in [*block.iter(_W + "ruby")]:
            self._ruby(ruby)
        behind = self._boxes(block)
        for kind, note in (("pict", Note.PICTURES), ("drawing", Note.PICTURES),
                           ("object", Note.ATTACHMENTS)):
            if many := sum(1 for one in block.iter(_W + kind)
                           if one.find(f".//{_W}txbxContent") is None):
                is_chart = kind == "drawing" and any(
                    "chart" in str(x.tag) or "diagram" in str(x.tag) for x in block.iter())
                self._notes.add(Note.CHARTS if is_chart else note, many)
        for aside in [*block.iter(*_ASIDE)]:
            _remove(aside)
        for wrapper in [*block.iter(*_WRAPPERS)]:
            if wrapper is not block:
                _unwrap(wrapper)
        own = [*block] if block.tag in _WRAPPERS else [block]
        return [one for one in (*own, *behind) if one.tag in (_W + "p", _W + "tbl")]

    def _boxes(self, block: Any) -> list[Any]:
        """Takes text boxes out; returns their blocks. A box has its text twice, in a new and in an
        old way of drawing: the new one counts."""
        found: list[Any] = []
        for both in [*block.iter(_MC + "AlternateContent")]:
            content = both.find(f"{_MC}Choice//{_W}txbxContent")
            if content is None:
                content = both.find(f"{_MC}Fallback//{_W}txbxContent")
            if content is not None:
                found += [made for one in [*content] for made in self._simple(one)]
                _remove(both)
        for drawing in [*block.iter(_W + "drawing")]:
            for content in [*drawing.iter(_W + "txbxContent")]:
                found += [made for one in [*content] for made in self._simple(one)]
            if found and drawing.find(f".//{_W}txbxContent") is not None:
                _remove(drawing)
        return found

    def _ruby(self, ruby: Any) -> None:
        """Annotated characters: the base, and how it is read in parentheses."""
        base = "".join(ruby.itertext(_W + "t")) if ruby.find(_W + "rubyBase") is None else "".join(
            ruby.find(_W + "rubyBase").itertext(_W + "t"))
        said = "" if ruby.find(_W + "rt") is None else "".join(
            ruby.find(_W + "rt").itertext(_W + "t"))
        text = self._etree.Element(_W + "t")
        text.text = f"{base}({said})" if said else base
        _replace(ruby, text)  # it stands within a run

    def _remove_hidden(self, block: Any) -> None:
        for paragraph in [*block.iter(_W + "p")]:
            style = paragraph.find(f"{_W}pPr/{_W}pStyle")
            is_hidden = style is not None and style.get(_W + "val") in self._hidden
            for run in [*paragraph.iter(_W + "r")]:
                own = run.find(f"{_W}rPr/{_W}vanish")
                kind = run.find(f"{_W}rPr/{_W}rStyle")
                by_style = is_hidden or (kind is not None and kind.get(_W + "val") in self._hidden)
                if _is_on(own) if own is not None else by_style:
                    _remove(run)

    def _hidden_styles(self) -> frozenset[str]:
        """Styles whose text is hidden, by themselves or by what they are based on."""
        path = f"{posixpath.dirname(self._main)}/styles.xml"
        if path not in self._rest:
            return frozenset()
        root = self._parse(self._rest[path])
        own: dict[str, bool] = {}
        based: dict[str, str] = {}
        for style in root.iter(_W + "style"):
            name = style.get(_W + "styleId", "")
            found = style.find(f"{_W}rPr/{_W}vanish")
            if found is not None:
                own[name] = _is_on(found)
            if (parent := style.find(_W + "basedOn")) is not None:
                based[name] = parent.get(_W + "val", "")
        hidden = set()
        for name in own.keys() | based.keys():
            at, seen = name, set[str]()
            while at not in own and at in based and at not in seen:
                seen.add(at)
                at = based[at]
            if own.get(at):
                hidden.add(name)
        return frozenset(hidden)

    def _run(self, text: str) -> Any:
        run = self._etree.Element(_W + "r")
        inner = self._etree.SubElement(run, _W + "t")
        inner.text = text
        return run


def _is_on(found: Any) -> bool:
    return found.get(_W + "val", "1").lower() not in ("0", "false", "off", "none")


def _remove(element: Any) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _replace(element: Any, other: Any) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.replace(element, other)


def _unwrap(element: Any) -> None:
    parent = element.getparent()
    if parent is not None:
        at = parent.index(element)
        parent[at:at + 1] = [*element]


def _formula(element: Any) -> str:
    """A formula in one line, as people type it."""
    name = str(element.tag).removeprefix(_M)

    def part(of: str) -> str:
        found = element.find(_M + of)
        return "" if found is None else "".join(_formula(x) for x in found)

    def grouped(text: str) -> str:
        return text if len(text) < 2 or text.isalnum() else f"({text})"
    match name:
        case "t":
            return str(element.text or "")
        case "f":
            return f"{grouped(part('num'))}/{grouped(part('den'))}"
        case "sSup":
            return f"{part('e')}^{grouped(part('sup'))}"
        case "sSub":
            return f"{part('e')}_{grouped(part('sub'))}"
        case "sSubSup":
            return f"{part('e')}_{grouped(part('sub'))}^{grouped(part('sup'))}"
        case "rad":
            return f"{part('deg')}√{grouped(part('e'))}"
        case "d":
            inner = ", ".join("".join(_formula(x) for x in one)
                              for one in element.findall(_M + "e"))
            return f"({inner})"
        case "nary":
            sign = element.find(f"{_M}naryPr/{_M}chr")
            sign = "∫" if sign is None else sign.get(_M + "val", "∫")
            low, high = part("sub"), part("sup")
            bounds = (f"_{grouped(low)}" if low else "") + (f"^{grouped(high)}" if high else "")
            return f"{sign}{bounds} {part('e')}"
        case _ if name.endswith("Pr"):
            return ""
    return "".join(_formula(x) for x in element)
