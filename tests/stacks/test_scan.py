"""Text in pictures: scans, photographs, screenshots, read by the real Tesseract, confined."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from stacks import extraction
from stacks.extraction import Extracted, ExtractionError, extract
from stacks.readers import Notes, scan
from tests.stacks.test_extraction import pdf

LINES = ["Invoice 4711 of the second of March", "The Kraken package costs 4,200 euros",
         "Payment is due within thirty days"]


def page(*lines: str, size: tuple[int, int] = (1240, 1754), mode: str = "L") -> Image.Image:
    """A page of paper, at 150 dots an inch."""
    image = Image.new(mode, size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=32)
    for number, line in enumerate(lines):
        draw.text((100, 120 + 80 * number), line, fill="black", font=font)
    return image


def saved(kind: str, *images: Image.Image, **options: object) -> bytes:
    made = io.BytesIO()
    images[0].save(made, kind, **({"save_all": True, "append_images": images[1:]}
                                  if len(images) > 1 else {}), **options)
    return made.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    def run(name: str, data: bytes, languages: tuple[str, ...] = ("eng",), **more) -> Extracted:
        path = tmp_path / name
        path.write_bytes(data)
        return extract(path, name, languages=languages, **more)
    return run


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_picture_of_every_kind_is_read_and_says_that_it_was_one(read, kind):
    found = read(f"a.{kind.lower()}", saved(kind, page(*LINES)))
    for line in LINES:
        assert line in found.text
    assert found.kind == "picture" and found.left_out == (
        "The text of page 1 was recognised in a picture, and may hold mistakes.",)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_page_is_read_however_it_lay(read, turned):
    lying = page(*LINES).rotate(turned, expand=True)
    for name, data in (("a.png", saved("PNG", lying)), ("a.pdf", saved("PDF", lying))):
        found = read(name, data)
        assert all(line in found.text for line in LINES), (name, found.text)


def test_a_scanned_pdf_is_read_page_by_page(read):
    seen: list[tuple[int, int]] = []
    found = read("a.pdf", saved("PDF", page(LINES[0]), page(LINES[1]), page(), resolution=150),
                 progress=lambda at, of: seen.append((at, of)))
    assert found.text == (f"{LINES[0]}\n\n[Page 2]\n\n{LINES[1]}\n\n"
                          "(Page 3 has no text; it may be a scan.)\n")
    assert found.left_out == (
        "Page 3 has no text; it may be a scan.",
        "The text of pages 1, 2 was recognised in pictures, and may hold mistakes.")
    assert seen and all(of == 3 for _, of in seen)


def test_a_pdf_with_text_is_not_looked_at(read, monkeypatch):
    monkeypatch.setattr(extraction, "_run", counted := Counted(extraction._run))
    assert read("a.pdf", pdf("First", "Second")).left_out == ()
    assert counted.languages == [()]
    read("b.pdf", pdf("First", ""))
    assert counted.languages == [(), (), ("eng",)]


class Counted:
    def __init__(self, run) -> None:
        self.run, self.languages = run, []

    def __call__(self, *given):
        self.languages.append(given[4])
        return self.run(*given)


def test_several_pages_of_a_tiff(read):
    found = read("fax.tif", saved("TIFF", page(LINES[0]), page(LINES[1])))
    assert found.text == f"{LINES[0]}\n\n[Page 2]\n\n{LINES[1]}\n"


def test_a_screenshot_with_small_letters_and_a_see_through_ground(read):
    image = Image.new("RGBA", (900, 300), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((40, 100), "Total due: 4,200 euros", fill="black",
                               font=ImageFont.load_default(size=16))
    assert "Total due: 4,200 euros" in read("a.png", saved("PNG", image)).text


def test_a_photograph_that_lies_on_its_side_is_turned_as_it_says(read):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    lying = page(*LINES, mode="RGB").rotate(90, expand=True)
    assert LINES[1] in read("a.jpg", saved("JPEG", lying, exif=exif)).text


def test_what_shows_no_text_has_none(read):
    with pytest.raises(ExtractionError, match=r"^There is no text in it\.$"):
        read("a.png", saved("PNG", Image.effect_noise((800, 600), 80)))
    with pytest.raises(ExtractionError, match="no text"):
        read("dot.gif", saved("GIF", Image.new("L", (1, 1))))


def test_pictures_in_a_mail_and_in_a_zip(read):
    mail = EmailMessage()
    mail["Subject"] = "Scan"
    mail.set_content("See the scan.")
    mail.add_attachment(saved("PNG", page(*LINES)), maintype="image", subtype="png",
                        filename="scan.png")
    found = read("a.eml", mail.as_bytes())
    assert LINES[1] in found.text and found.left_out == (
        "The text of 1 picture or scan in it was recognised, and may hold mistakes.",)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("a.pdf", saved("PDF", page(*LINES), resolution=150))
    assert LINES[2] in read("a.zip", made.getvalue()).text


def test_without_a_language_it_says_what_to_do(read, monkeypatch):
    with pytest.raises(ExtractionError, match="what is written in pictures is not recognised here"):
        read("a.png", saved("PNG", page(*LINES)), languages=())
    with pytest.raises(ExtractionError, match="if it is a scan"):
        read("a.pdf", saved("PDF", page(*LINES), resolution=150), languages=("tlh",))
    assert scan.known(["eng", "tlh"]) == ["eng"]
    monkeypatch.setattr(scan, "data_folder", lambda: None)
    assert scan.known(["eng"]) == []


def test_a_picture_that_unpacks_to_far_too_much_is_refused(read):
    with pytest.raises(ExtractionError, match="unpacks to far more"):
        read("a.png", saved("PNG", Image.new("1", (30_000, 30_000))))


@pytest.mark.parametrize("cut", [20, 200, 2_000])
def test_a_damaged_picture_says_so(read, cut):
    with pytest.raises(ExtractionError):
        read("a.png", saved("PNG", page(*LINES))[:cut])


def test_a_text_that_begins_like_a_bitmap_is_a_text(read):
    assert read("cars.txt", b"BMW sold three cars in March.").text.startswith("BMW sold")


def test_when_the_time_is_over_the_first_pages_are_there(monkeypatch):
    class Slow:
        def __init__(self) -> None:
            self.left = 1

        def page(self, data: bytes, number: int) -> str:
            if self.left == 0:
                raise scan.TimeOver
            self.left -= 1
            return f"page {number}"
    from stacks.readers.pdf import load

    notes = Kept()
    pieces = list(load(Slow())(pdf("", "", ""), notes))  # type: ignore[arg-type]
    assert "page 0" in "".join(pieces)
    assert notes.kept == [(scan.Note.RECOGNISED, 1), (scan.Note.LATE, 2), (scan.Note.LATE, 3)]


class Kept(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, int]] = []

    def add(self, note, number: int) -> None:
        self.kept.append((note, number))
