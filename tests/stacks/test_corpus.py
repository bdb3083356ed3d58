"""Three documents of each kind, made by the programs that people make them with, are read and found
again: each by the words that a question about it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stacks.knowledge import Document, Knowledge
from tests.conftest import ROOT

pytestmark = pytest.mark.long
CORPUS = ROOT / "tests" / "corpus"
FACTS = json.loads((CORPUS / "facts.json").read_text())
KINDS = sorted({fact["kind"] for fact in FACTS})


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knowledge]:
    root: Path = tmp_path_factory.mktemp("corpus")
    made = Knowledge(root)
    for fact in FACTS:
        with (CORPUS / fact["name"]).open("rb") as file:
            made.put(fact["name"], [file.read()], "ann@acme.test", datetime.now(UTC), 1 << 30,
                     1 << 30)
    yield made


@pytest.fixture(scope="module")
def documents(knowledge: Knowledge) -> dict[str, Document]:
    return {document.name: document for document in knowledge.list()}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_read(knowledge, documents, kind):
    for fact in (fact for fact in FACTS if fact["kind"] == kind):
        document = documents[fact["name"]]
        assert document.state == "extracted", document.why
        text = " ".join(knowledge.text(fact["name"]).split())
        assert fact["about"] in text and fact["answer"] in text, text
        seen = kind in ("png", "jpg", "tiff", "scan.pdf")
        assert any("recognised" in said for said in document.left_out) == seen, document.left_out
        assert seen or document.left_out == (), document.left_out


def test_each_is_found_by_the_words_of_a_question(knowledge):
    """Recall at 5, over 60 questions."""
    found = 0
    for fact in FACTS:
        names = list(dict.fromkeys(match.document for match in knowledge.search(fact["words"])))
        found += fact["name"] in names[:5]
    assert found == len(FACTS) == 60, f"{found} of {len(FACTS)}"


def test_the_corpus_is_what_its_list_says():
    there = {path.name for path in CORPUS.iterdir() if path.is_file()} - {"facts.json", "make.py"}
    assert there == {fact["name"] for fact in FACTS}
    assert all(sum(fact["kind"] == kind for fact in FACTS) == 3 for kind in KINDS)
