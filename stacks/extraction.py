"""The text of a document, for an employee to read and to search.

Documents come from outside, and parsers of PDF, Word and HTML are large: each document is read in a
process of its own that can open nothing, start nothing, and has little memory and time.

    python -m stacks.extraction KIND UID      the document on stdin, its text on stdout
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import encodings
import enum
import importlib
import io
import logging
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stacks import StackError

MAX_INPUT = 50 << 20  # bytes
MAX_OUTPUT = 5 << 20  # bytes of UTF-8
MAX_UNPACKED = 50 << 20  # bytes of a Word document's text parts
MEMORY = 1 << 30  # bytes of address space
CPU_SECONDS = 30
WALL_SECONDS = 60.0

KINDS = {"pdf": "pdf", "docx": "docx", "html": "html", "htm": "html", "csv": "csv",
         "md": "markdown", "markdown": "markdown", "txt": "text", "text": "text"}

# A file encrypted by Office, or one of its old formats: not a .zip.
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
HIDDEN = ["script", "style", "template", "noscript", "svg", "iframe", "object", "head"]
ROOT = Path(__file__).resolve().parent.parent

# Control characters but for \n and \t. Those that break a line become \n before.
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {9, 10})
_BREAKS = dict.fromkeys((0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029), "\n")

Reader = Callable[[bytes], Iterable[str]]


class ExtractionError(StackError):
    """The document gives no text. The message is a sentence for who uploaded it."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """`text`: lines ended by \\n, no control character but \\n and \\t, up to MAX_OUTPUT bytes.

    `kind`: a value of KINDS. `truncated`: the document has more text than this.
    """

    text: str
    kind: str
    truncated: bool


class Refusal(enum.IntEnum):
    """Why there is no text: the child's exit code.

    A number, not a sentence: a document may have taken the child over.
    """

    ENCRYPTED = 10
    OLD_OFFICE = 11
    DAMAGED = 12
    UNPACKS = 13
    MEMORY = 14
    NESTED = 15
    NOT_TEXT = 16


WORDS = {
    Refusal.ENCRYPTED: "It is encrypted, or has a password; upload a copy without either.",
    Refusal.OLD_OFFICE: "It is protected by a password, or in Word's old format; "
                        "save it as .docx without a password.",
    Refusal.DAMAGED: "It is damaged, or not what its name says; open it, save it anew, and upload "
                     "that.",
    Refusal.UNPACKS: "It unpacks to far more than its size; upload a smaller document.",
    Refusal.MEMORY: "Reading it needs too much memory; upload it in parts.",
    Refusal.NESTED: "Its parts are nested too deeply; save it in a simpler form.",
    Refusal.NOT_TEXT: "It is not text, or in an unknown encoding; save it as UTF-8.",
}


class Refused(Exception):
    """In the child: why it ends."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


def kind_of(filename: str) -> str | None:
    """A value of KINDS, by the name's ending."""
    return KINDS.get(filename.rpartition(".")[2].lower()) if "." in filename else None


def extract(document: Path | BinaryIO, filename: str, as_uid: int = 65534) -> Extracted:
    """The text of a document; `filename` tells its kind.

    `document`: a path, or an open file with a descriptor, read from its start. `as_uid`: who the
    parser runs as, if we are root. Raises ExtractionError. Takes up to WALL_SECONDS.
    """
    kind = kind_of(filename)
    if kind is None:
        raise ExtractionError("Its type is unknown; the known ones are "
                              + ", ".join(f".{ending}" for ending in KINDS) + ".")
    with contextlib.ExitStack() as stack:
        file = (stack.enter_context(document.open("rb")) if isinstance(document, Path)
                else document)
        if os.fstat(file.fileno()).st_size > MAX_INPUT:
            raise ExtractionError(f"It is too large to read; up to {MAX_INPUT >> 20} MB.")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        # Started in ROOT to find this module; it leaves for / by itself. -B: writes no caches.
        child = stack.enter_context(subprocess.Popen(
            [sys.executable, "-s", "-B", "-m", "stacks.extraction", kind, str(as_uid)],
            stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}))
        assert child.stdout is not None
        timer = threading.Timer(WALL_SECONDS, child.kill)
        timer.start()
        try:
            raw = child.stdout.read(MAX_OUTPUT + 1)
            truncated = len(raw) > MAX_OUTPUT
            if truncated:
                child.kill()
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
    text = _clean(raw[:MAX_OUTPUT].decode(errors="ignore"))
    if not truncated and code in (-signal.SIGXCPU, -signal.SIGKILL):
        if not text:
            raise ExtractionError("Reading it takes too long; upload it in parts.")
        truncated = True  # the first pages of a long document
    if not truncated and code:
        raise ExtractionError(WORDS.get(code, WORDS[Refusal.DAMAGED]))  # type: ignore[call-overload]
    if not text:
        raise ExtractionError("There is no text in it; if it is a scan, upload one with "
                              "recognised text.")
    return Extracted(text, kind, truncated)


def _clean(text: str) -> str:
    """Done here, not by the parser. Every step is linear: the text is as long as they wish."""
    text = text.replace("\r\n", "\n").translate(_BREAKS).translate(_CONTROLS)
    lines: list[str] = []
    for line in map(str.rstrip, text.split("\n")):
        if line or (lines and lines[-1]):  # one empty line at most, none at the start
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n" if lines else ""


# ------------------------------------------------------------------------------------ in the child


def main(kind: str, uid: int) -> int:
    """Reads the document on stdin. The exit code is 0 or a Refusal."""
    # The order matters. The libraries may lie where only root may look (a virtual environment in
    # root's home), so everything is imported while we still may; then the rights go; and only then
    # is the first byte of the document read. Nothing can be imported after `_confine`.
    read = LOADERS[kind]()
    _load_modules(encodings)  # a codec is a module, imported when it is first named
    _confine(uid)
    try:
        for piece in read(sys.stdin.buffer.read()):
            sys.stdout.buffer.write(piece.encode(errors="replace"))
            sys.stdout.buffer.flush()  # what is read counts, should the time run out
    except Refused as refused:
        return refused.why
    except MemoryError:
        return Refusal.MEMORY
    except RecursionError:
        return Refusal.NESTED
    except Exception:  # a parser may raise anything over a damaged document
        return Refusal.DAMAGED
    return 0


def _confine(uid: int) -> None:
    """Gives up every right that reading does not need; there is no way back."""
    os.chdir("/")
    # A library that tries whether another one is there shall hear no, not that it may not look.
    sys.meta_path.clear()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),  # files; stdout is a pipe
        (resource.RLIMIT_NOFILE, 3),  # the three that are open: no file, no socket
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # The processor's hard limit sends SIGKILL; the soft one, a second earlier, SIGXCPU.
        hard = value + 1 if limit == resource.RLIMIT_CPU else value
        resource.setrlimit(limit, (value, hard))


def _load_pdf() -> Reader:
    import pypdf
    from pypdf.errors import DependencyError, LimitReachedError
    _load_modules(pypdf)

    def read(data: bytes) -> Iterator[str]:
        try:
            pdf = pypdf.PdfReader(io.BytesIO(data))
            # Many are encrypted with no password, only to forbid changes.
            if pdf.is_encrypted and not pdf.decrypt(""):
                raise Refused(Refusal.ENCRYPTED)
            pages = len(pdf.pages)
        except DependencyError:  # a cipher that pypdf does not have by itself
            raise Refused(Refusal.ENCRYPTED)
        unreadable = 0
        for number in range(pages):
            try:
                yield pdf.pages[number].extract_text() + "\n\n"
            except (MemoryError, LimitReachedError):
                raise Refused(Refusal.UNPACKS)
            except Exception:  # one page out of many
                unreadable += 1
                if unreadable == pages:
                    raise
                yield f"(Page {number + 1} could not be read.)\n\n"
    return read


def _load_docx() -> Reader:
    import xml.dom.expatbuilder  # noqa: F401  # minidom imports it when it first parses
    from xml.parsers.expat import ExpatError

    import mammoth  # type: ignore[import-untyped]
    read_html = _load_html()

    def read(data: bytes) -> Iterable[str]:
        if data.startswith(OLE):
            raise Refused(Refusal.OLD_OFFICE)
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            # A part that unpacks to more than it says is an error of zipfile's own.
            if sum(part.file_size for part in packed.infolist()
                   if not part.filename.startswith("word/media/")) > MAX_UNPACKED:
                raise Refused(Refusal.UNPACKS)
        try:
            html = mammoth.convert_to_html(
                io.BytesIO(data), convert_image=lambda _: []).value
        except ExpatError as error:
            if error.code == 1:  # out of memory
                raise MemoryError
            raise
        return read_html(f'<meta charset="utf-8">{html}'.encode())
    return read


def _load_html() -> Reader:
    import lxml.etree  # type: ignore[import-untyped]  # noqa: F401  # what bs4 calls "lxml"
    import markdownify  # type: ignore[import-untyped]
    from bs4 import BeautifulSoup

    def read(data: bytes) -> Iterator[str]:
        # Of Python's parsers, lxml's alone closes <p> and <li> as browsers do.
        page = BeautifulSoup(data, "lxml")
        for tag in page(HIDDEN):
            tag.decompose()
        # A picture inside a link's address would be most of the text.
        for tag in page("a", href=True):
            if str(tag["href"]).split(":")[0].strip().lower() in ("data", "javascript"):
                del tag["href"]
        for tag in page("img"):
            tag.replace_with(str(tag.get("alt") or ""))
        yield markdownify.MarkdownConverter(heading_style="ATX", bullets="-").convert_soup(page)
    return read


def _load_csv() -> Reader:
    read_text = _load_text()

    def read(data: bytes) -> Iterator[str]:
        text = "".join(read_text(data))
        try:
            dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:4096], delimiters=",;\t|")
        except csv.Error:
            dialect = csv.excel
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), dialect)):
            if row:
                yield "| " + " | ".join(
                    " ".join(cell.split()).replace("|", "\\|") for cell in row) + " |\n"
            if number == 0:
                yield "|" + " --- |" * len(row) + "\n"
    return read


def _load_text() -> Reader:
    import charset_normalizer

    def read(data: bytes) -> Iterator[str]:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield data.decode("utf-16", errors="replace")
            return
        try:
            yield data.decode("utf-8-sig")
        except UnicodeDecodeError:
            best = charset_normalizer.from_bytes(data).best()
            if best is None:
                raise Refused(Refusal.NOT_TEXT)
            yield str(best)
    return read


def _load_modules(package) -> None:  # type: ignore[no-untyped-def]  # a module
    """Imports all of a package now: it does so by and by, when there is no more importing."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # Another system's, or one for a library that is not there.
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)


LOADERS: dict[str, Callable[[], Reader]] = {
    "pdf": _load_pdf, "docx": _load_docx, "html": _load_html, "csv": _load_csv,
    "markdown": _load_text, "text": _load_text}


if __name__ == "__main__":
    # Nobody reads them, and a full pipe would stop us.
    logging.disable()
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
