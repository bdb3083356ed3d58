"""What documents of Office, OpenDocument and EPUB have in common: parts of XML in a .zip."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stacks.readers import Note, Notes, Refusal, Refused

MAX_UNPACKED = 150 << 20  # bytes of all parts but pictures
Parse = Callable[[bytes], Any]


@contextmanager
def opened(data: bytes, notes: Notes) -> Iterator[zipfile.ZipFile]:
    """The package, not larger than it may be; notes the pictures and charts in it. A part that
    unpacks to more than it says is an error of zipfile's own."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        names = [part.filename for part in packed.infolist()]
        if sum(part.file_size for part in packed.infolist()
               if not _is_picture(part.filename)) > MAX_UNPACKED:
            raise Refused(Refusal.UNPACKS)
        if many := sum(map(_is_picture, names)):
            notes.add(Note.PICTURES, many)
        if many := sum("/charts/chart" in name and name.endswith(".xml") for name in names):
            notes.add(Note.CHARTS, many)
        yield packed


def parser(*, recover: bool = False) -> Parse:
    """Parses a part: no entity is resolved, nothing is fetched. Raises Refused: it nests too
    deeply."""
    from lxml import etree  # type: ignore[import-untyped]

    def parse(data: bytes) -> Any:
        try:
            return etree.fromstring(data, etree.XMLParser(
                resolve_entities=False, no_network=True, load_dtd=False, recover=recover))
        except etree.XMLSyntaxError as error:
            if "depth" in str(error):
                raise Refused(Refusal.NESTED)
            raise
    return parse


def relations(packed: zipfile.ZipFile, parse: Parse, part: str) -> dict[str, tuple[str, str]]:
    """What a part ("" for the package itself) refers to. By id: (kind, the other part's path)."""
    folder, name = posixpath.split(part)
    try:
        root = parse(packed.read(posixpath.join(folder, "_rels", f"{name}.rels")))
    except KeyError:
        return {}
    found = {}
    for one in root:
        target = one.get("Target", "")
        if one.get("TargetMode") != "External":
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(
                posixpath.join(folder, target))
            found[one.get("Id", "")] = (one.get("Type", "").rpartition("/")[2], path)
    return found


def _is_picture(name: str) -> bool:
    return "/media/" in name or name.startswith("Pictures/")
