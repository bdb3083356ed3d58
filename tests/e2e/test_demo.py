"""A newcomer without a provider's key: the demo model moves the real tools of a real employee."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.conftest import ROOT
from tests.e2e.house import House
from tests.e2e.work import chromium, demo_house, inside, signed_in
from tests.fake_provider import FakeProvider

CORPUS = ROOT / "tests" / "corpus"
pytestmark = [pytest.mark.e2e, pytest.mark.employee, pytest.mark.long]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    with demo_house(tmp_path_factory.mktemp("demo"), images, provider) as made:
        yield made


def test_it_acts_and_says_what_it_is(house, provider):
    put = house.upload("acme", "/customers/acme/knowledge/content?name=prices.md",
                       b"# Prices\n\nThe Kraken package costs 4711 euros a month.\n")
    assert put.status_code == 201
    pulse = house.hire("acme", "Pulse")
    with chromium() as browser:
        ann = signed_in(house, browser)
        ann.open(pulse)
        ann.say("Who are you?", "I am Pulse, Tester at Acme")
        ann.say("Write to notes/plan.md: Call the printer", "You find it under Files")
        assert inside(house, pulse, "cat /data/workspace/notes/plan.md") == "Call the printer"
        ann.say("Remember that our office closes at five", "it stands in my memory")
        assert "our office closes at five" in inside(house, pulse, "cat /data/workspace/MEMORY.md")
        ann.say("What do you know about kraken?", "4711 euros")
        ann.say("Open http://localhost:6081/workspace/notes/plan.md", "Watch it in the browser")
        ann.shot("demo")
        ann.say("Do my taxes", "Try one of these")
        ann.context.close()
    assert provider.requests == [], "no provider was asked"


def test_it_answers_a_question_from_a_document_of_every_kind(house):
    """The first of each kind of the corpus, made by real programs; see tests/corpus/make.py."""
    facts = {fact["kind"]: fact for fact in json.loads((CORPUS / "facts.json").read_text())}
    for fact in facts.values():
        name = quote(fact["name"])
        put = house.upload("acme", f"/customers/acme/knowledge/content?name={name}",
                           (CORPUS / fact["name"]).read_bytes())
        assert put.status_code == 201 and put.json()["document"]["state"] == "extracted", put.text
    reader = house.hire("acme", "Reader")
    for kind, fact in facts.items():
        said = house.ask(reader, f"What do you know about {fact['about'].split()[0]}?")
        assert fact["answer"] in said, (kind, said)
