"""Text of documents, good and hostile; and what the process that reads them may still do."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pypdf
import pytest

from stacks import extraction, reader_server
from stacks.extraction import Extracted, ExtractionError, extract
from stacks.reader_server import Order, ReaderServer
from stacks.readers import word

ROOT = Path(__file__).resolve().parents[2]
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def pdf(*pages: str, font: str = "") -> bytes:
    """The smallest PDF with a line of text on each page. `font`: more entries of its font."""
    last = 3 + 2 * len(pages)
    objects = ["<< /Type /Catalog /Pages 2 0 R >>",
               f"<< /Type /Pages /Count {len(pages)} /Kids ["
               + " ".join(f"{3 + 2 * i} 0 R" for i in range(len(pages))) + "] >>"]
    for i, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects += [f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * i} "
                    f"0 R /Resources << /Font << /F1 {last} 0 R >> >> >>",
                    f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream"]
    cmap = "1 beginbfrange\n<41> <43> <0391>\nendbfrange\n"  # A, B, C are shown as Α, Β, Γ
    objects += [f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica {font} >>",
                f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream"]
    out, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    return (f"{out}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size "
            f"{len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n").encode()


def encrypted(password: str, algorithm: str = "RC4-128") -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Locked text")))
    writer.encrypt(password, "owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def docx(body: str, **parts: str) -> bytes:
    """`parts`: the inner XML of header1, footer1, styles, comments, …"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", (
            f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" '
            'ContentType="application/xml"/></Types>'))
        packed.writestr("_rels/.rels", (
            f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>'))
        packed.writestr("word/document.xml", (
            f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'))
        kinds = {"header": "hdr", "footer": "ftr", "styles": "styles", "comments": "comments"}
        for name, inner in parts.items():
            kind = kinds[name.rstrip("0123456789")]
            packed.writestr(f"word/{name}.xml", f'<w:{kind} xmlns:w="{WORD}">{inner}</w:{kind}>')
        if parts:
            packed.writestr("word/_rels/document.xml.rels", (
                f'<Relationships xmlns="{PACKAGE}/relationships">' + "".join(
                    f'<Relationship Id="r{name}" Type="{OFFICE}/{name.rstrip("0123456789")}" '
                    f'Target="{name}.xml"/>' for name in parts) + "</Relationships>"))
    return out.getvalue()


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


@pytest.fixture
def text_of(tmp_path: Path):
    def run(filename: str, data: bytes) -> Extracted:
        path = tmp_path / filename
        path.write_bytes(data)
        return extract(path, filename)
    return run


HTML = ("<html><head><title>t</title><style>p{}</style></head><body><h1>Title</h1><p>one<p>two"
        "<script>evil()</script><ul><li>x<li>y</ul><a href='javascript:evil()'>link</a> "
        "<a href='https://acme.test/'>site</a><img src='data:image/png;base64,AAAA' alt='a dog'>"
        "<table><tr><th>a<th>b<tr><td>1<td>2</table><!-- hidden -->")


@pytest.mark.parametrize(("filename", "data", "kind", "text"), [
    ("a.pdf", pdf("First page", "Second page"), "pdf",
     "First page\n\n[Page 2]\n\nSecond page\n"),
    ("greek.pdf", pdf("ABC", font="/ToUnicode 6 0 R"), "pdf", "ΑΒΓ\n"),
    ("open.pdf", encrypted(""), "pdf", "Locked text\n"),
    ("a.docx", docx(paragraph("Täglich") + paragraph("a &lt;b&gt; c")), "docx",
     "Täglich\n\na <b> c\n"),
    ("a.HTML", HTML.encode(), "html",
     "# Title\n\none\n\ntwo\n\n- x\n- y\n\nlink [site](https://acme.test/)a dog\n\n"
     "| a | b |\n| --- | --- |\n| 1 | 2 |\n"),
    ("a.htm", "<meta charset=windows-1252><p>Grüße €".encode("cp1252"), "html", "Grüße €\n"),
    ("a.csv", 'Name;Value\r\nMüller;"1|2"\r\n"a\nb";3\r\n'.encode(), "csv",
     "| Name | Value |\n| --- | --- |\n| Müller | 1\\|2 |\n| a b | 3 |\n"),
    ("one.csv", b"just one column\n", "csv", "| just one column |\n| --- |\n"),
    ("a.md", "\ufeff# Häding\r\n\r\n\r\n\r\ntext  \r\n".encode(), "markdown", "# Häding\n\ntext\n"),
    ("latin.txt", "Grüße aus München, schöne Übung für alle Gäste".encode("latin-1"), "text",
     "Grüße aus München, schöne Übung für alle Gäste\n"),
    ("u16.txt", "Grüße".encode("utf-16"), "text", "Grüße\n"),
    ("controls.txt", "a\x00\x1b[31mb\tc\x0cd\x85e\x9bf\u2028g\rh".encode(), "text",
     "a[31mb\tc\nd\nef\ng\nh\n")])
def test_text_of_every_kind(text_of, filename: str, data: bytes, kind: str, text: str) -> None:
    found = text_of(filename, data)
    assert (found.kind, found.truncated) == (kind, False)
    assert found.text == text


def lying_docx() -> bytes:
    """200 MB of zeros in a part whose entry says 100 bytes."""
    data = bytearray(docx(" " * (200 << 20)))
    entry = data.index(b"PK\x01\x02", data.index(b"word/document.xml"))
    while data[entry + 46:entry + 63] != b"word/document.xml":
        entry = data.index(b"PK\x01\x02", entry + 4)
    data[entry + 24:entry + 28] = (100).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(("filename", "data", "says"), [
    ("a.pdf", encrypted("secret"), "has a password"),
    ("a.pdf", b"%PDF-1.4 rubbish", "damaged"),
    ("a.pdf", pdf("text").replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]"), "damaged|no text"),
    ("a.pdf", pdf(""), "no text in it"),
    ("a.docx", word.OLE + b"...", "old format"),
    ("a.docx", b"PK rubbish", "damaged"),
    ("a.docx", docx(" " * (200 << 20)), "unpacks to far more"),
    ("a.docx", lying_docx(), "damaged"),
    ("a.docx", docx("<w:p>" * 50_000 + "</w:p>" * 50_000), "nested too deeply"),
    ("a.html", b"<div>" * 50_000 + b"x", "nested too deeply"),
    ("a.txt", bytes(range(256)) * 50, "not text"),
    ("a.txt", b" \n ", "no text in it"),
    ("a.xlsx", b"x", "damaged"), ("a.pptx", b"PK\x03\x04", "damaged"), ("a.rtf", b"x", "damaged"),
    ("a.xyz", b"x", r"unknown; the known ones are \.pdf, \.docx, .*\.txt"),
    ("noending", b"x", "unknown"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_gives_no_text_says_why(text_of, filename: str, data: bytes, says: str) -> None:
    with pytest.raises(ExtractionError, match=says):
        text_of(filename, data)


def test_a_long_text_is_cut_off(text_of) -> None:
    found = text_of("a.txt", "é".encode() * (6 << 20))
    assert found.truncated and len(found.text.encode()) in range(
        extraction.MAX_OUTPUT - 2, extraction.MAX_OUTPUT + 2)  # a whole é, and the last \n


def test_too_large_a_document_is_not_even_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(extraction.MAX_INPUT + 1)
    with pytest.raises(ExtractionError, match="too large"):
        extract(tmp_path / "a.txt", "a.txt")


def test_an_open_file_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("whole text")
    with open(tmp_path / "x", "rb") as file:
        file.read(3)
        assert extract(file, "a.txt").text == "whole text\n"


def test_a_parser_that_hangs_is_ended(text_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "WALL_SECONDS", 0.01)
    began = time.monotonic()
    with pytest.raises(ExtractionError, match="too long"):
        text_of("a.html", b"<p>text</p>" * 200_000)  # seconds of work, and nothing until its end
    assert time.monotonic() - began < 5


def confined(statement: str) -> subprocess.CompletedProcess[str]:
    """Runs a statement with the parser's rights."""
    program = (f"import os, socket, sys\nfrom stacks import reader_server\n"
               f"reader_server.confine(65534)\n{statement}")
    return subprocess.run([sys.executable, "-B", "-c", program], cwd=ROOT, check=False,
                          capture_output=True, text=True)


@pytest.mark.parametrize(("statement", "error"), [
    ("open('/etc/passwd')", "Too many open files"), ("socket.socket()", "Too many open files"),
    ("os.pipe()", "Too many open files"), ("os.fork()", "temporarily unavailable"),
    ("bytearray(2 << 30)", "MemoryError"),
    ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (99, 99))", "not allowed"),
    ("import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1))", "not allowed")])
def test_the_parser_can_do_nothing_but_read(statement: str, error: str) -> None:
    if os.getuid() != 0 and ("fork" in statement or "setrlimit" in statement):
        pytest.skip("only root has rights to drop")
    ended = confined(statement)
    assert ended.returncode != 0 and error in ended.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to drop")
def test_the_parser_is_nobody() -> None:
    ended = confined("print(os.getresuid(), os.getresgid(), os.getgroups(), os.getcwd())")
    assert ended.stdout == "(65534, 65534, 65534) (65534, 65534, 65534) [] /\n", ended.stderr


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ReaderServer:
    """One that nobody has asked yet."""
    made = ReaderServer()
    monkeypatch.setattr(extraction, "SERVER", made)
    return made


def test_the_parser_sees_nothing_of_our_environment(text_of, server,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hidden")
    assert text_of("a.txt", b"x").text == "x\n"
    seen = Path(f"/proc/{server.pid}/environ").read_text()
    assert {line.split("=")[0] for line in seen.split("\0")} == {
        "PATH", "LANG", "OMP_THREAD_LIMIT", ""}


def test_one_process_gives_each_document_its_own(text_of, server) -> None:
    assert text_of("a.txt", b"one").text == "one\n"
    first = server.pid
    with ThreadPoolExecutor(8) as many:
        found = list(many.map(lambda n: text_of(f"{n}.md", b"%d" % n).text, range(40)))
    assert found == [f"{n}\n" for n in range(40)] and server.pid == first
    until = time.monotonic() + 5  # it tells the end before it closes what it had open for it
    while (left := len([*Path(f"/proc/{first}/fd").iterdir()])) > 5 and time.monotonic() < until:
        time.sleep(0.01)
    assert left == 5, "descriptors of what was read are left open"


def test_a_server_that_was_killed_is_started_again(text_of, server) -> None:
    text_of("a.txt", b"x")
    first = server.pid
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 5
    while Path(f"/proc/{first}/stat").read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.01)
    assert text_of("a.txt", b"y").text == "y\n" and server.pid != first


def test_an_idle_server_goes(text_of, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_server, "IDLE_S", 0.05)
    text_of("a.txt", b"x")
    first, until = server.pid or 0, time.monotonic() + 5
    while Path(f"/proc/{first}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{first}").exists() and server.pid is None
    assert text_of("a.txt", b"y").text == "y\n"


def test_what_is_read_goes_to_its_end_when_the_server_is_asked_no_more(server) -> None:
    with socket.socket() as unused, server.begin(Order("text", 65534, ""), unused.fileno()):
        pass  # ended at once: what hangs on it must not hold up the rest
    ours, its = os.pipe()
    with (open(ours, "rb") as document, open(its, "wb") as writer,
          server.begin(Order("text", 65534, ""), document.fileno()) as reading):
        server._part()
        writer.write(b"late")
        writer.close()
        assert reading.text.read() == b"late" and reading.code() == 0


def test_how_far_it_is_is_told_while_it_reads(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(*[f"Page {n}" for n in range(40)]))
    seen: list[tuple[int, int]] = []
    extract(path, "a.pdf", progress=lambda page, of: seen.append((page, of)))
    assert seen and seen[0] == (1, 40) and seen == sorted(seen)
