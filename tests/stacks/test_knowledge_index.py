"""The index over a company's documents, and the employees' command that reads it."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from stacks import knowledge_index
from stacks.knowledge_index import FILE, Index, Match, folded


@pytest.fixture
def index(tmp_path):
    return Index(tmp_path)


def names(found: list[Match]) -> list[str]:
    return [match.document for match in found]


@pytest.mark.parametrize(("query", "line"), [
    ("茶叶", 1), ("龙井", 1), ("叶", 1), ("quarter", 2), ("uarte", 2), ("Ма", 3), ("счёт", 3),
    ("СЧЕТ", 3), ("ß", 4), ("STRASSE", 4), ("c++", 5), ('"quoted"', 6), ("50%", 6), ("a_b", 6)])
def test_words_and_parts_of_them_in_any_script(index, query, line):
    index.put("a", "1", "我们的茶叶来自杭州,龙井\nHeadquarters\nСчёт за Март\nHauptstraße 5\n"
                        'C++ and C#\nHe said "quoted" 50% a_b\n')
    assert [m.line for m in index.search(query)] == [line]


def test_a_document_has_all_words_and_its_best_lines_come_first(index):
    index.put("one", "1", "price of tea\ntea\nprice\n")
    index.put("two", "1", "tea, and no more\n")
    index.put("three", "1", "The teapot is priceless\n")
    found = index.search("tea price")
    assert names(found) == ["one", "one", "one", "three"]
    assert [m.line for m in found] == [1, 2, 3, 1]
    assert names(index.search("tea of")) == ["one", "one"], "with a word of two letters"
    assert index.search("absent missing") == [] == index.search("of xy") == index.search("  ")


def test_where_no_document_has_all_words_those_with_the_rarest_come_first(index):
    for number in range(20):
        index.put(f"d{number}", "1", "How much does it cost?\nMuch, and more\n")
    index.put("kestrel", "1", "We sell lamps.\nThe Kestrel lamp: 1000 euros\n")
    index.put("walnut", "1", "The walnut lamp is out of stock\n")
    found = index.search("How much is the Kestrel lamp?")
    assert names(found) == ["kestrel", "kestrel", "walnut"], "what most documents hold is no sign"
    assert [m.line for m in found] == [2, 1, 1] and not any(m.all_words for m in found)
    assert index.search("kestrel lamp")[0].all_words
    assert set(names(index.search("how much zzzz"))) >= {"d0"}, "unless there is nothing else"
    assert index.search("zzzz yyyy xxxx?") == []


def test_a_line_says_its_page(index):
    index.put("a.pdf", "1", "Tea\n\n[Page 2]\n\nCoffee\nand tea\n[Page 12]\nCocoa\n")
    index.put("b.txt", "1", "Tea\n")
    assert [(m.document, m.line, m.page) for m in index.search("tea")] == [
        ("a.pdf", 1, 1), ("a.pdf", 6, 2), ("b.txt", 1, None)]
    assert index.search("cocoa")[0].page == 12


def test_what_is_replaced_or_removed_is_found_no_more(index):
    index.put("a", "1", "old words\nÄrger\n")
    index.put("a", "2", "new words\n")
    index.put("b", "1", "other words\n")
    assert index.search("old") == [] == index.search("ärger")
    assert index.etags() == {"a": "2", "b": "1"}
    index.remove("a")
    index.remove("nobody")
    assert names(index.search("words")) == ["b"]


def test_another_version_is_made_anew(index, tmp_path, monkeypatch):
    index.put("a", "1", "words\n")
    monkeypatch.setattr(knowledge_index, "_VERSION", 99)
    assert Index(tmp_path).etags() == {}


def test_it_finds_what_a_look_through_every_line_finds(index):
    """Against the plain way, over made-up texts with words of every length."""
    pick = random.Random(5)
    letters = ["a", "b", "ä", "ß", "é", "茶", "Я", " ", " ", "x1"]
    texts = {f"d{n}": ["".join(pick.choices(letters, k=pick.randrange(1, 14)))
                       for _ in range(pick.randrange(1, 8))] for n in range(60)}
    for name, lines in texts.items():
        index.put(name, "1", "\n".join(lines))
    for _ in range(300):
        query = " ".join("".join(pick.choices([c for c in letters if c != " "],
                                              k=pick.randrange(1, 5)))
                         for _ in range(pick.randrange(1, 3)))
        words = [folded(word) for word in query.split()]
        wanted = {name for name, lines in texts.items() if all(
            any(w in form for line in lines for w in word for form in folded(line))
            for word in words)}
        found = [match for match in index.search(query) if match.all_words]
        assert set(names(found)) <= wanted, query
        if len(wanted) <= 10:  # or there are more than are shown
            assert set(names(found)) == wanted, query


def test_the_employee_s_command_reads_it_and_writes_nothing(tmp_path, index):
    index.put("prices.pdf", "1", "Tea\n[Page 2]\nThe Kraken costs 4711 euros\n")
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "import sys, pathlib\nfrom stacks import knowledge_index as k\n"
             f"k._SHARED = pathlib.Path({str(tmp_path)!r})\nsys.exit(k.main(sys.argv[1:]))",
             *words],
            capture_output=True, text=True, check=False)
    assert run("kraken", "cost").stdout == (
        "prices.pdf, page 2, line 3: The Kraken costs 4711 euros\n")
    assert run("where", "is", "tea?").stdout.splitlines() == [
        "No document holds all of these words. Those that hold the rarest of them:",
        "prices.pdf, page 1, line 1: Tea"]
    assert "Try others" in run("absent").stdout
    assert run().returncode == 2 and "knowledge WORD" in run().stderr
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    broken = run("tea")
    assert broken.returncode == 1 and "rg -i" in broken.stderr
