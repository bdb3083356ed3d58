"""Of the questions that people ask about the test corpus, how many find their document among the
first five: by its words, in a sentence, and in words that it does not hold.

    python -m bench.finding

Beside it, embeddings by a small model, where wordllama is installed (which nothing here needs).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from stacks.knowledge import Knowledge

CORPUS = Path(__file__).parent.parent / "tests" / "corpus"
FIRST = 5
PARAPHRASES = {
    "kestrel lamp": "price of the falcon light",
    "walnut shelf": "what does the nut-wood board cost",
    "copper kettle": "how expensive is the red metal water boiler",
    "linen curtain": "cost of the flax drapes",
    "garden bench": "price of the outdoor seat",
    "marble vase": "cost of the stone flower pot",
    "willow basket": "price of the wicker hamper",
    "brass mirror": "how much for the yellow metal looking glass",
    "velvet cushion": "price of the soft pillow",
    "granite sink": "cost of the rock washbasin",
    "bamboo ladder": "how much are the cane steps",
    "oak cradle": "price of the wooden baby bed",
    "silver candlestick": "cost of the candle holder",
    "wool carpet": "price of the rug made of sheep's hair",
    "cedar chest": "how much is the wooden trunk",
    "porcelain teapot": "cost of the china pot for tea",
    "leather stool": "price of the hide seat",
    "crystal bowl": "how much is the glass dish",
    "cotton hammock": "cost of the hanging bed",
    "maple desk": "price of the wooden writing table"}
Search = Callable[[str], list[str]]


def questions() -> dict[str, list[tuple[str, str]]]:
    """By kind: each question, and the document that answers it."""
    facts = json.loads((CORPUS / "facts.json").read_text())
    by_subject = {fact["about"]: fact["name"] for fact in facts}
    return {"words": [(fact["words"], fact["name"]) for fact in facts],
            "sentences": [(fact["question"], fact["name"]) for fact in facts],
            "other words": [(said, by_subject[about]) for about, said in PARAPHRASES.items()]}


def told(how: str, search: Search) -> None:
    for kind, asked in questions().items():
        began = time.perf_counter()
        found = sum(document in search(question)[:FIRST] for question, document in asked)
        print(f"{how}, {kind}: {found} of {len(asked)} "
              f"({(time.perf_counter() - began) / len(asked) * 1e3:.1f} ms each)", flush=True)


def embedded(texts: dict[str, str]) -> Search:
    """By the nearest document of a static embedding. Raises ImportError: it is not installed."""
    import numpy  # type: ignore[import-not-found, unused-ignore]
    import wordllama  # type: ignore[import-not-found, unused-ignore]
    package = Path(wordllama.__file__).parent
    with tempfile.TemporaryDirectory() as folder:  # its loader looks for the tokenizer elsewhere
        (Path(folder) / "tokenizers").symlink_to(package / "tokenizers")
        model = wordllama.WordLlama.load(cache_dir=Path(folder), disable_download=True)
    names = [*texts]
    documents = model.embed([*texts.values()], norm=True)

    def search(question: str) -> list[str]:
        scores = documents @ model.embed([question], norm=True)[0]
        return [names[place] for place in numpy.argsort(-scores)[:FIRST]]
    return search


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        knowledge = Knowledge(Path(folder))
        for path in sorted(CORPUS.iterdir()):
            if path.suffix not in (".json", ".py"):
                knowledge.put(path.name, [path.read_bytes()], "", datetime.now(UTC), 1 << 30,
                              1 << 30)
        told("search", lambda asked: list(dict.fromkeys(
            match.document for match in knowledge.search(asked))))
        texts = {one.name: knowledge.text(one.name) for one in knowledge.list()}
    try:
        told("embeddings", embedded(texts))
    except ImportError:
        print("embeddings: wordllama is not installed")


if __name__ == "__main__":
    main()
