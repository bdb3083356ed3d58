"""Search over a company's documents: how long a question takes, and what the index costs.

    python -m bench.knowledge [DOCUMENTS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stacks.knowledge_index import FILE, Index

QUESTIONS = 200
LINES = 40


def main(documents: int) -> None:
    pick = random.Random(7)
    letters = "aeiourstlnmdkpgbcvh"
    known = ["".join(pick.choices(letters, k=pick.randrange(3, 11))) for _ in range(20_000)]
    # Words are not all as frequent: a few make up most of a text.
    weights = [1 / (n + 1) for n in range(len(known))]
    with tempfile.TemporaryDirectory() as folder:
        index, size = Index(Path(folder)), 0
        began = time.perf_counter()
        for number in range(documents):
            lines = [" ".join(pick.choices(known, weights, k=12)) for _ in range(LINES)]
            size += len("\n".join(lines))
            index.put(f"document {number}.txt", "1", "\n".join(lines))
        made = time.perf_counter() - began
        print(f"{documents} documents, {size / 1e6:.0f} MB of text: made in {made:.1f} s "
              f"({made / documents * 1e3:.1f} ms each), "
              f"{Path(folder, FILE).stat().st_size / 1e6:.0f} MB", flush=True)
        asked(index, "1 to 3 words", lambda: pick.choices(known, weights, k=pick.randrange(1, 4)))
        # Of which no document has all: usual ones, and two that tell documents apart.
        asked(index, "a sentence of 8 words", lambda: [
            *pick.choices(known, weights, k=6), *pick.sample(known, 2)])


def asked(index: Index, what: str, question: Callable[[], list[str]]) -> None:
    taken = []
    for _ in range(QUESTIONS):
        words = " ".join(question())
        began = time.perf_counter()
        index.search(words)
        taken.append(time.perf_counter() - began)
    taken.sort()
    print(f"  {QUESTIONS} times {what}: p50 {taken[len(taken) // 2] * 1e3:.0f} ms, p95 "
          f"{taken[int(len(taken) * 0.95)] * 1e3:.0f} ms, most {taken[-1] * 1e3:.0f} ms",
          flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
