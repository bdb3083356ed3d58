"""Plain text: which characters the bytes are.

What the bytes themselves say is a fact (a byte-order mark, NULs, valid UTF-8, ISO-2022's escapes).
What is left is a code page of some region, and stays a guess: chardet weighs languages, and what it
finds is held against what people write, since it is often a few words.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from stacks.readers import Note, Notes, Reader, Refusal, Refused, load_modules

if TYPE_CHECKING:
    from chardet import EncodingEra

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
          (codecs.BOM_UTF16_BE, "utf-16"))
BYTE_ORDER_MARKS = tuple(mark for mark, _ in _MARKS)
_LOOKED_AT = 200_000  # bytes
_ESCAPES = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$", "iso2022_jp_2"), (b"\x1b(J", "iso2022_jp_2"))
_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
                       rb"|[\xf0-\xf4][\x80-\xbf]{3}")
_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC"})
_WORD = re.compile(r"[^\W\d_]+")
_SURE_ENOUGH = 0.15  # chardet's confidence in a code page that hardly anybody uses any more


@cache
def load() -> Reader:
    import chardet
    load_modules(chardet)
    for era in _eras():  # its models are files, read at first use
        chardet.detect_all("Größe".encode("latin-1"), ignore_threshold=True, encoding_era=era)

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        yield decoded(data, notes)
    return read


def decoded(data: bytes, notes: Notes) -> str:
    """The text. Raises Refused: it is none."""
    if notes.encoding is not None:
        notes.read_as(notes.encoding, guessed=False)
        return data.decode(notes.encoding, errors="replace")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            notes.read_as(encoding.removesuffix("-sig"), guessed=False)
            return data.decode(encoding, errors="replace")
    if (wide := _wide(data)) is not None:
        encoding, text = wide
        notes.read_as(encoding, guessed=False)
        return text
    for escape, encoding in _ESCAPES:
        if escape in data and (found := _tried(data, encoding)) is not None:
            notes.read_as(encoding, guessed=False)
            return found
    if (found := _tried(data, "utf-8")) is not None:
        if _is_binary(found):
            raise Refused(Refusal.NOT_TEXT)
        notes.read_as("utf-8", guessed=False)
        return found
    found = data.decode("utf-8", errors="replace")
    bad = found.count("\ufffd") - data.count("\ufffd".encode())
    if (good := len(_SEQUENCE.findall(data))) >= 4 * bad:
        notes.read_as("utf-8", guessed=False)
        notes.add(Note.BYTES, bad)
        return found
    return _guessed(data, notes, good)


def _tried(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _is_binary(text: str) -> bool:
    """More control characters than any text has."""
    head = text[:_LOOKED_AT]
    odd = sum(unicodedata.category(c) == "Cc" and c not in "\t\n\v\f\r\x1b\x85" for c in head)
    return odd * 10 > len(head)


def _wide(data: bytes) -> tuple[str, str] | None:
    """UTF-16 or UTF-32 without a mark: each second byte (or three of four) says which part of
    Unicode, and so few of them differ; in what people write, most are NUL or the same."""
    head = data[:_LOOKED_AT]
    odd, even = head[1::2], head[0::2]
    if b"\0" not in head and not _has_controls(head):
        return None
    if len(head) >= 8 and len(data) % 4 == 0:
        for encoding, top in (("utf-32-le", head[3::4]), ("utf-32-be", head[0::4])):
            if not any(top) and (found := _tried(data, encoding)) and not _is_binary(found):
                return encoding, found
    ranked = sorted((("utf-16-le", odd, even), ("utf-16-be", even, odd)),
                    key=lambda one: (-one[1].count(0), len(set(one[1]))))
    is_utf8 = _tried(data, "utf-8") is not None and _SEQUENCE.search(head) is not None
    for encoding, high, low in ranked:
        nuls = high.count(0)
        mostly_nul = nuls * 4 >= len(high) and low.count(0) * 4 <= nuls
        if not mostly_nul and (is_utf8 or len(set(high)) * 2 > len(set(low))):
            continue  # nothing tells the one half from the other
        whole = data if len(data) % 2 == 0 else data[:-1]
        found = _tried(whole, encoding)
        if found is not None and not _is_binary(found) and _is_written(found):
            return encoding, found
    return None


def _has_controls(head: bytes) -> bool:
    many = sum(head.count(n) for n in range(32) if n not in (9, 10, 11, 12, 13, 27))
    return many * 10 > len(head)


def _is_written(text: str) -> bool:
    """Hardly a character that nobody assigned, and more letters than marks upon them."""
    kinds = Counter(unicodedata.category(c) for c in text[:_LOOKED_AT])
    total = kinds.total()
    return (kinds["Cn"] + kinds["Co"] + kinds["Cs"]) * 50 <= total and sum(
        many for kind, many in kinds.items() if kind[0] in "LNPSZ") * 2 > total


def _eras() -> tuple[EncodingEra, EncodingEra]:
    from chardet import EncodingEra
    return EncodingEra.MODERN_WEB | EncodingEra.LEGACY_ISO, EncodingEra.ALL


def _guessed(data: bytes, notes: Notes, sequences: int) -> str:
    import chardet
    head, best = data[:_LOOKED_AT], list[tuple[float, str, str]]()
    if b"\0" in head:  # no code page has it
        raise Refused(Refusal.NOT_TEXT)
    for era in _eras():
        for found in chardet.detect_all(head, ignore_threshold=True, encoding_era=era):
            encoding = str(found["encoding"]).lower()
            text = _tried(data, encoding)
            if text is not None and _is_plausible(text[:_LOOKED_AT]):
                best.append((float(found["confidence"]), encoding, text))
                break
        else:
            best.append((0.0, "", ""))
    usual, rare = best
    _, encoding, text = rare if rare[0] > max(_SURE_ENOUGH, 2 * usual[0]) else usual
    if not encoding:
        if not sequences and _is_binary(data.decode("latin-1")):
            raise Refused(Refusal.NOT_TEXT)
        encoding, text = "cp1252", data.decode("cp1252", errors="replace")
        if _is_binary(text) or text.count("\ufffd") * 20 > len(text):
            raise Refused(Refusal.NOT_TEXT)
    notes.read_as(encoding, guessed=True)
    return text


def _is_plausible(text: str) -> bool:
    """Whether people write so: no word is half Latin and half Cyrillic, no single Hebrew letter
    stands in a text of Latin ones, and nothing is a control character."""
    if any(unicodedata.category(c) in ("Cc", "Co", "Cn") and c not in "\t\n\v\f\r\x1b\x85"
           for c in text):
        return False
    words = _WORD.findall(text)
    odd = [word for word in words if not word.isascii()]
    mixed = sum(len({_script(c) for c in word} & _SCRIPTS) > 1 for word in odd)
    strange = [c for word in odd for c in word if not c.isascii()]
    foreign = any(_script(c) in _SCRIPTS - {"LATIN"} for c in strange)
    plain = sum(len(word) for word in words if word.isascii())
    return mixed * 5 <= len(odd) and not (foreign and plain >= 3 * len(strange))


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]
