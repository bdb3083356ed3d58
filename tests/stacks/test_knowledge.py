"""Shared knowledge: nothing is lost, whoever uploads at once and whenever we are cut short."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stacks import knowledge, knowledge_history, knowledge_index
from stacks.extraction import ExtractionError
from stacks.knowledge import Document, Knowledge
from stacks.workspace import NoSpace, NotFound, PathRefused, TooLarge
from tests.stacks.test_extraction import pdf

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def known(tmp_path: Path) -> Knowledge:
    return Knowledge(tmp_path)


def put(known: Knowledge, name: str, data: bytes, by: str = "dana@acme.test") -> Document:
    return known.put(name, [data], by, NOW, 1 << 20, 8 << 20)


def index(root: Path) -> str:
    return (root / "INDEX.md").read_text()


def test_a_document_is_kept_read_and_listed(tmp_path: Path, known: Knowledge) -> None:
    made = put(known, "Holidays.md", b"# Holidays\n\nEverybody has 30 days | more.\n")
    assert (made.kind, made.state, made.size, made.by) == ("markdown", "extracted", 42,
                                                           "dana@acme.test")
    assert known.list() == [made]
    entry, file = known.open("Holidays.md")
    with file:
        assert file.read().startswith(b"# Holidays") and entry.size == 42
    assert (tmp_path / "text" / "Holidays.md.md").read_text() == (
        "Source: Holidays.md (/shared/files/Holidays.md)\n"
        "Uploaded: 2026-03-04 05:06 UTC by dana@acme.test\n\n---\n\n"
        "# Holidays\n\nEverybody has 30 days | more.\n")
    assert ("| Holidays.md | markdown | 42 B | # Holidays Everybody has 30 days \\| more. |\n"
            in index(tmp_path))
    assert "`knowledge WORD...`" in index(tmp_path)
    written = json.loads((tmp_path / "index.json").read_text())
    assert written[0]["uploaded"] == "2026-03-04T05:06:00+00:00" and written[0]["why"] == ""


def test_the_employees_can_read_all_of_it_and_the_lock_not(tmp_path: Path,
                                                           known: Knowledge) -> None:
    before = os.umask(0o077)
    try:
        put(known, "a.txt", b"text")
    finally:
        os.umask(before)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode)
             for p in tmp_path.rglob("*")}
    assert modes == {"files": 0o755, "text": 0o755, "files/a.txt": 0o644, "text/a.txt.md": 0o644,
                     "INDEX.md": 0o644, "index.json": 0o644, "search.db": 0o644,
                     ".lock": 0o600}


def test_the_advice_in_the_index_works(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"The Refund takes a week")
    put(known, "b.txt", b"nothing")
    found = subprocess.run(["grep", "-ril", "refund", tmp_path / "text"], capture_output=True,
                           text=True, check=True).stdout
    assert found == f"{tmp_path}/text/a.txt.md\n"


def test_what_gives_no_text_is_kept_and_says_why(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.pdf", b"text", by="x\n| evil |")
    assert known.list()[0].by == "x | evil |"
    assert known.list()[0].state == "failed" and "damaged" in known.list()[0].why
    assert "| a.pdf | pdf | 4 B | (no text: It is damaged" in index(tmp_path)
    assert put(known, "sheet.xyz", b"x").why.startswith("Its type is unknown")
    assert known.open("a.pdf")[0].size == 4 and not list((tmp_path / "text").iterdir())


def test_replacing_leaves_one_line_and_the_new_text(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"old words")
    put(known, "a.txt", b"new words", by="eve@acme.test")
    assert [(d.by, d.begins) for d in known.list()] == [("eve@acme.test", "new words")]
    assert index(tmp_path).count("a.txt") == 1 and known.search("old") == []
    put(known, "a.txt", b"\x00\xff\xfe\x01" * 99)
    assert known.list()[0].state == "failed" and known.search("new") == []


def test_remove_takes_the_text_along(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"words")
    known.remove("a.txt")
    assert known.list() == [] and known.search("words") == []
    assert not list((tmp_path / "text").iterdir()) and "none yet" in index(tmp_path)
    for attempt in (known.remove, known.open):
        with pytest.raises(NotFound):
            attempt("a.txt")


@pytest.mark.parametrize("name", [
    "", "..", "../a.txt", "/a.txt", "a/b.txt", ".hidden", ".iw-a", "a\n.txt", "a\0", "a\u202etxt",
    "a\u200b.txt", "a\u2028b.txt", "a\u2029b.txt", "x" * 201, "\udcff.txt"])
def test_a_bad_name_is_refused(tmp_path: Path, known: Knowledge, name: str) -> None:
    for attempt in (lambda: put(known, name, b"x"), lambda: known.open(name),
                    lambda: known.remove(name)):
        with pytest.raises(PathRefused):
            attempt()
    assert not list(tmp_path.iterdir())


def test_the_same_name_from_two_systems_is_one_document(known: Knowledge) -> None:
    put(known, "e\u0301.txt", b"one")
    put(known, "\u00e9.txt", b"two")
    assert [d.begins for d in known.list()] == ["two"]


def test_limits_say_what_is_left_and_change_nothing(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"x" * 4096)
    with pytest.raises(TooLarge, match="1,000 bytes"):
        known.put("b.txt", [b"x" * 1001], "d", NOW, 1000, 1 << 20)
    with pytest.raises(NoSpace, match="904 bytes are left of 5,000"):
        known.put("b.txt", [b"x" * 1000], "d", NOW, 1000, 5000)
    assert [d.name for d in known.list()] == ["a.txt"]
    assert [p.name for p in (tmp_path / "files").iterdir()] == ["a.txt"]


def test_no_volume_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Knowledge(tmp_path / "nothing").list()


def test_uploads_at_once_all_arrive(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(Knowledge(tmp_path), f"{n}.txt", b"number %d" % n), range(12)))
    assert {d.name for d in Knowledge(tmp_path).list()} == {f"{n}.txt" for n in range(12)}
    assert all(d.state == "extracted" for d in Knowledge(tmp_path).list())
    assert index(tmp_path).count(".txt |") == 12


def test_list_does_not_wait_for_an_upload(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"text")
    inside, done = threading.Event(), threading.Event()

    def slow():
        yield b"slow"
        inside.set()
        done.wait(10)
    uploading = threading.Thread(
        target=lambda: Knowledge(tmp_path).put("b.txt", slow(), "d", NOW, 100, 1 << 20))
    uploading.start()
    try:
        assert inside.wait(10)
        began = time.monotonic()
        assert [d.name for d in known.list()] == ["a.txt"] and known.search("text")
        assert time.monotonic() - began < 1
    finally:
        done.set()
        uploading.join()
    assert [d.name for d in known.list()] == ["a.txt", "b.txt"]


def test_an_upload_cut_short_while_reading_is_finished_by_the_next_call(
        tmp_path: Path, known: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_, **__):
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(knowledge, "extract", cut)
        with pytest.raises(KeyboardInterrupt):
            put(known, "a.txt", b"words")
    assert "(being read)" in index(tmp_path)
    found, = Knowledge(tmp_path).list()
    assert (found.state, found.by, found.uploaded) == ("extracted", "dana@acme.test", NOW)
    assert known.search("words") and "| words |" in index(tmp_path)


def test_the_index_is_made_anew_from_the_files(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"first")
    put(known, "gone.txt", b"gone")
    (tmp_path / "files" / "gone.txt").unlink()  # removed, but not yet from the index
    (tmp_path / "files" / "new.txt").write_text("unnoted")
    (tmp_path / "files" / ".iw-0123").write_text("half")
    assert [(d.name, d.by, d.state) for d in known.list()] == [
        ("a.txt", "dana@acme.test", "extracted"), ("new.txt", "", "extracted")]
    assert sorted(p.name for p in tmp_path.glob("*/*")) == ["a.txt", "a.txt.md", "new.txt",
                                                            "new.txt.md"]
    for torn in ("", "[{", '[{"name": 1}]', "[1]"):
        (tmp_path / "index.json").write_text(torn)
        assert [d.name for d in known.list()] == ["a.txt", "new.txt"]
    assert "| unnoted |" in index(tmp_path)


def test_search_wants_all_words_and_ignores_case(known: Knowledge) -> None:
    put(known, "a.txt", "Refunds take a week.\nAsk FINANCE (Große Straße).\n"
                        "Finance pays refunds.".encode())
    put(known, "b.txt", b"Finance only")
    found = known.search("finance REFUND")
    assert [(m.document, m.line, m.excerpt) for m in found] == [
        ("a.txt", 8, "Finance pays refunds."), ("a.txt", 7, "Ask FINANCE (Große Straße)."),
        ("a.txt", 6, "Refunds take a week.")]
    assert [m.document for m in known.search("finance")] == ["a.txt", "a.txt", "b.txt"]
    assert known.search("große (")[0].line == 7  # a word, not a pattern
    assert known.search("") == known.search("absent missing") == []
    assert [(m.document, m.all_words) for m in known.search("refund absent")] == [
        ("a.txt", False), ("a.txt", False)]


@pytest.mark.parametrize("query", ["Müller", "mueller", "muller", "MÜLLER", "MUELLER",
                                   "mu\u0308ller"])
def test_search_knows_how_people_write_umlauts(known: Knowledge, query: str) -> None:
    put(known, "a.txt", "Frau Müller, Größe 5".encode())
    put(known, "b.txt", b"Herr Mueller")
    assert "a.txt" in [m.document for m in known.search(query)]
    assert known.search("groesse")[0].excerpt == "Frau Müller, Größe 5"
    assert known.search("größe") and known.search("GROSSE") == known.search("grosse") != []


def test_what_holds_the_words_whole_and_together_comes_first(known: Knowledge) -> None:
    put(known, "a.txt", b"The priceless vase.\nAn opening.\n")
    put(known, "b.txt", b"Nothing here.\nPrice of opening: 5\n")
    put(known, "c.txt", "电话是 12345。\n苹果的价格\n".encode())
    assert [m.document for m in known.search("price opening")][:1] == ["b.txt"]
    assert [m.line for m in known.search("价格")] == [7], "a part of what has no blanks"


def test_search_is_limited(known: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_index, "MAX_MATCHES", 7)
    for name in "abc":
        put(known, f"{name}.txt", b"word\n" * 100 + b"x" * 10_000 + b" word")
    assert len(known.search("word")) == 7
    assert all(len(m.excerpt) <= knowledge_index.MAX_EXCERPT for m in known.search("word"))


def test_an_index_that_is_gone_or_damaged_is_made_anew(known: Knowledge, tmp_path: Path) -> None:
    put(known, "a.txt", b"some words")
    for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(b"x" * 9_000),
                   lambda file: file.write_bytes(file.read_bytes()[:9_000] + b"\xff" * 30_000)):
        damage(tmp_path / "search.db")
        assert [m.document for m in known.search("words")] == ["a.txt"]


def test_put_takes_a_stream(known: Knowledge) -> None:
    source = io.BytesIO(b"streamed " * 1000)
    made = known.put("a.txt", iter(lambda: source.read(100), b""), "d", NOW, 1 << 20, 1 << 20)
    assert made.size == 9000


def test_the_text_is_shown_without_its_header(known: Knowledge) -> None:
    put(known, "prices.md", b"Kraken: 49 EUR\n\n---\n\nFin: 9 EUR\n")
    assert known.text("prices.md") == "Kraken: 49 EUR\n\n---\n\nFin: 9 EUR\n"
    put(known, "scan.pdf", b"no pdf")
    for name in ("scan.pdf", "nothing.md"):
        with pytest.raises(NotFound):
            known.text(name)
    with pytest.raises(PathRefused):
        known.text("../index.json")


@pytest.mark.parametrize("name", [
    "Screenshot 2026-11-25 at 10.03.11\u202fAM.txt", "Angebot\u00a0Müller.txt", " a.txt",
    "U\u0308bersicht.txt", "हिन्\u200dदी.txt", "👩\u200d💻.txt", "مى\u200cخواهم.txt"])
def test_names_that_people_s_systems_make_are_taken(known: Knowledge, name: str) -> None:
    made = put(known, name, b"words")
    assert [d.name for d in known.list()] == [made.name]
    assert known.text(name) == known.text(made.name) == "words\n"
    entry, file = known.open(name)
    file.close()
    known.remove(name)
    assert known.list() == [] and entry.name == made.name


def test_a_refusal_names_the_character(known: Knowledge) -> None:
    with pytest.raises(PathRefused, match="U\\+202E RIGHT-TO-LEFT OVERRIDE"):
        put(known, "a\u202etxt.exe", b"x")
    with pytest.raises(PathRefused, match="U\\+0007 a control character"):
        put(known, "a\x07.txt", b"x")


def test_a_guess_is_told_to_employees_and_people_and_can_be_set_right(tmp_path: Path,
                                                                     known: Knowledge) -> None:
    data = "Prix : 100 € à l’œuvre".encode("iso8859-15", "replace")
    made = put(known, "prix.txt", data)
    assert made.guessed and made.encoding and not made.said_encoding
    assert f"its encoding was guessed: {made.encoding}" in index(tmp_path)
    assert "Its encoding was guessed" in (tmp_path / "text" / "prix.txt.md").read_text()
    again = known.read_again("prix.txt", "ISO-8859-15")
    assert (again.said_encoding, again.guessed) == ("iso8859-15", False)
    assert "100 € à l" in known.text("prix.txt") and "guessed" not in index(tmp_path)
    assert Knowledge(tmp_path).list() == [again], "it is kept"
    assert known.read_again("prix.txt", None).guessed
    with pytest.raises(ExtractionError, match="no encoding"):
        known.read_again("prix.txt", "klingon")
    with pytest.raises(NotFound):
        known.read_again("other.txt", None)


def test_what_was_left_out_is_told(tmp_path: Path, known: Knowledge) -> None:
    made = put(known, "a.pdf", pdf("One", "", "Three"))
    assert made.left_out == ("Page 2 has no text; it may be a scan.",)
    assert "left out: Page 2 has no text" in index(tmp_path)
    assert "Left out: Page 2 has no text" in (tmp_path / "text" / "a.pdf.md").read_text()


def test_an_index_of_before_is_still_read(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"words")
    old = json.loads((tmp_path / "index.json").read_text())
    for name in ("left_out", "encoding", "guessed", "said_encoding"):
        del old[0][name]
    (tmp_path / "index.json").write_text(json.dumps(old))
    assert [(d.name, d.state, d.left_out) for d in known.list()] == [("a.txt", "extracted", ())]


# ---- earlier versions ----------------------------------------------------------------------------

def contents(known: Knowledge, name: str) -> list[bytes]:
    found = []
    for version in known.versions(name):
        size, file = known.open_version(name, version.version)
        with file:
            found.append(file.read())
        assert size == len(found[-1]) == version.size
    return found


def test_what_is_replaced_is_kept_and_comes_back(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"one")
    assert known.versions("a.txt") == [] and known.version_counts() == {}
    put(known, "a.txt", b"two", by="eve@acme.test")
    put(known, "a.txt", b"two", by="bo@acme.test")
    assert contents(known, "a.txt") == [b"one"], "the same again is no other version"
    (version,) = known.versions("a.txt")
    assert (version.version, version.by, version.uploaded, version.replaced) == (
        1, "dana@acme.test", NOW, NOW)
    made = known.restore("a.txt", 1, "cy@acme.test", NOW, 1 << 20, 8 << 20)
    assert made.by == "cy@acme.test" and known.text("a.txt") == "one\n"
    assert contents(known, "a.txt") == [b"two", b"one"] and known.version_counts() == {"a.txt": 2}
    assert known.search("two") == [], "employees know what stands now"
    assert stat.S_IMODE((tmp_path / ".earlier").stat().st_mode) == 0o700


def test_versions_are_few_and_never_take_the_room_of_documents(
        known: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_history, "MOST", 2)
    for n in range(4):
        put(known, "a.txt", b"%d" % n)
    assert contents(known, "a.txt") == [b"2", b"1"]
    for name, letter, size in (("b.txt", b"x", 20_000), ("b.txt", b"y", 20_000),
                               ("c.txt", b"z", 15_000)):
        known.put(name, [letter * size], "dana", NOW, 60_000, 60_000)
    assert contents(known, "b.txt") == [b"x" * 20_000]
    known.put("b.txt", [b"w" * 20_000], "dana", NOW, 60_000, 60_000)
    assert contents(known, "b.txt") == [b"y" * 20_000], "the oldest gave way to c.txt"


def test_an_upload_that_fails_leaves_no_version(known: Knowledge) -> None:
    put(known, "a.txt", b"one")
    with pytest.raises(NoSpace):
        known.put("a.txt", [b"x" * 2000], "dana", NOW, 4000, 1000)
    with pytest.raises(TooLarge):
        known.put("a.txt", [b"x" * 2000], "dana", NOW, 1000, 4000)
    assert known.versions("a.txt") == [] and known.text("a.txt") == "one\n"


def test_removal_takes_the_versions_too(tmp_path: Path, known: Knowledge) -> None:
    put(known, "a.txt", b"one")
    put(known, "a.txt", b"two")
    known.remove("a.txt")
    assert not any((tmp_path / ".earlier").iterdir())
    for call in (lambda: known.versions("a.txt"), lambda: known.open_version("a.txt", 1),
                 lambda: known.restore("a.txt", 1, "dana", NOW, 1000, 1000)):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize("damage", [
    lambda p: (p / "1.json").write_text("{"), lambda p: (p / "1.json").write_text('{"by": 1}'),
    lambda p: (p / "1").unlink(), lambda p: (p / "1.json").unlink()])
def test_a_damaged_version_hides_no_other(tmp_path: Path, known: Knowledge, damage) -> None:
    for data in (b"one", b"two", b"three"):
        put(known, "a.txt", data)
    damage(tmp_path / ".earlier" / "a.txt")
    assert contents(known, "a.txt") == [b"two"]
    put(known, "a.txt", b"four")
    assert contents(known, "a.txt") == [b"three", b"two"]
