"""What people give an employee, until it is text that is found: many small documents, a large one,
a long one, and scans.

    python -m bench.reading [SMALL DOCUMENTS]
"""

from __future__ import annotations

import io
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stacks import extraction
from stacks.extraction import MAX_INPUT
from stacks.knowledge import Document, Knowledge

WORDS = ("price", "order", "invoice", "march", "delivery", "tea", "shelf", "lamp", "garden",
         "copper", "walnut", "linen", "bench", "kettle", "customer", "week", "total", "net",
         "gross", "weight", "colour", "green", "blue", "due", "paid")


def page(pick: random.Random, lines: int = 40) -> list[str]:
    return [" ".join(pick.choices(WORDS, k=9)) for _ in range(lines)]


def pdf(pages: list[list[str]]) -> bytes:
    """Pages of text, by PDF 32000-1."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>",
               "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    for number, lines in enumerate(pages):
        shown = "BT /F 10 Tf 50 780 Td 12 TL " + " ".join(f"({line}) '" for line in lines) + " ET"
        objects += [f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {5 + 2 * number} 0 R"
                    "/Resources<</Font<</F 3 0 R>>>>>>",
                    f"<</Length {len(shown)}>>stream\n{shown}\nendstream"]
    made, places = io.BytesIO(b"%PDF-1.4\n"), []
    made.seek(0, io.SEEK_END)
    for number, text in enumerate(objects, 1):
        places.append(made.tell())
        made.write(f"{number} 0 obj\n{text}\nendobj\n".encode())
    table = made.tell()
    made.write(f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n".encode()
               + b"".join(f"{place:010} 00000 n \n".encode() for place in places)
               + f"trailer<</Size {len(places) + 1}/Root 1 0 R>>\nstartxref\n{table}\n"
                 "%%EOF".encode())
    return made.getvalue()


def scanned(pick: random.Random, pages: int) -> bytes:
    drawn, font = [], ImageFont.load_default(size=40)
    for _ in range(pages):
        image = Image.new("L", (1654, 2339), 255)
        draw = ImageDraw.Draw(image)
        for number, line in enumerate(page(pick, 35)):
            draw.text((120, 120 + 60 * number), line, fill=0, font=font)
        drawn.append(image)
    made = io.BytesIO()
    drawn[0].save(made, "PDF", save_all=True, append_images=drawn[1:], resolution=200)
    return made.getvalue()


def small(pick: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        lines = page(pick)
        yield ((f"{number}.md", "\n".join(lines).encode()),
               (f"{number}.html", ("<p>" + "</p><p>".join(lines) + "</p>").encode()),
               (f"{number}.csv", "\n".join(line.replace(" ", ",") for line in lines).encode()),
               (f"{number}.pdf", pdf([lines])))[number % 4]


def put(knowledge: Knowledge, name: str, data: bytes) -> tuple[float, Document]:
    began = time.perf_counter()
    made = knowledge.put(name, [data], "ann@acme.test", datetime.now(UTC), 1 << 30, 1 << 40)
    return time.perf_counter() - began, made


def told(what: str, seconds: float, document: Document | None = None) -> None:
    extraction.SERVER.close()  # what its processes held is known when it has ended
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    more = "" if document is None else f"; {document.state}, " + (
        "its first part" if document.truncated else "whole")
    print(f"{what}: {seconds:.1f} s{more}; the largest reader so far held {most:.0f} MiB",
          flush=True)


def main(count: int) -> None:
    pick = random.Random(11)
    with tempfile.TemporaryDirectory() as folder:
        knowledge = Knowledge(Path(folder))
        taken = [put(knowledge, name, data)[0] for name, data in small(pick, count)]
        told(f"{count} small documents (md, html, csv, pdf), one after the other", sum(taken))
        tenth = max(1, count // 10)
        print(f"  the first {tenth}: {sum(taken[:tenth]) / tenth * 1e3:.0f} ms each, the last: "
              f"{sum(taken[-tenth:]) / tenth * 1e3:.0f} ms each", flush=True)
        text = ("\n".join(page(pick, 20_000)) + "\n").encode()
        told("a text of 50 MB", *put(knowledge, "large.txt", (text * 60)[:MAX_INPUT - 1]))
        told("a PDF of 3,000 pages", *put(knowledge, "long.pdf", pdf(
            [page(pick) for _ in range(3_000)])))
        told("a scan of 20 pages (A4, 200 dots an inch)", *put(
            knowledge, "scan.pdf", scanned(pick, 20)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
