"""Text that is a picture: photographs, screenshots, scanned pages, recognised by Tesseract.

The library comes with a package; what it knows of a language is Debian's (`tesseract-ocr-deu`).
Everything is read before this process gives its rights up, and done without a file or a thread.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import resource
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from stacks.readers import Note, Notes, Reader, Refusal, Refused, load_modules

SECONDS = 90.0  # that recognising one document may take
MOST_PIXELS = 12_000_000  # of a page or picture: A4 at 300 dots an inch has 8.7 million
_DPI = 300
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
_SMALLEST = 60  # pixels a side: what is smaller is a logo, or a dot that tells who reads a mail
_SMALL = 1_600  # pixels: what is narrower is enlarged, for its letters are small
_LEAST_CONFIDENCE = 40  # percent: below it is what is seen in clouds
_DOUBTFUL = 75  # percent: below it the page may stand on its head
_DATA = Path("/usr/share/tesseract-ocr")


class TimeOver(Exception):
    """The time for recognising is over; nothing more is."""


def data_folder(where: Path = _DATA) -> Path | None:
    """Where Debian keeps what is known of languages; None without any."""
    return max(where.glob("*/tessdata"), default=None)


def known(languages: Iterable[str]) -> list[str]:
    """Those of these languages, by Tesseract's names (eng, deu), that can be recognised here."""
    folder = data_folder()
    return [] if folder is None else [
        name for name in languages if (folder / f"{name}.traineddata").is_file()]


class Recogniser:
    """Made before the process is confined, used after. `languages`: those that are known."""

    def __init__(self, languages: Collection[str]) -> None:
        import pypdfium2  # type: ignore[import-untyped]
        import tesserocr  # type: ignore[import-untyped]
        from PIL import Image, ImageOps
        for name in ("Png", "Jpeg", "Mpo", "Tiff", "Bmp", "Gif", "WebP"):
            importlib.import_module(f"PIL.{name}ImagePlugin")
        load_modules(pypdfium2)
        Image.MAX_IMAGE_PIXELS = 4 * MOST_PIXELS
        self._image, self._turned, self._pdf = Image, ImageOps.exif_transpose, pypdfium2
        self._engine = tesserocr.PyTessBaseAPI(path=str(data_folder()), lang="+".join(languages))
        self._until: float | None = None
        self._opened: tuple[bytes, Any] | None = None

    def page(self, pdf: bytes, number: int) -> str:
        """What is written on a page of a PDF, counted from 0; "" when it is nothing.

        Raises:
            TimeOver: nothing more is recognised.
        """
        if self._opened is None or self._opened[0] is not pdf:
            self._opened = pdf, self._pdf.PdfDocument(pdf)
        page = self._opened[1][number]
        width, height = page.get_size()
        scale = min(_DPI / 72, (MOST_PIXELS / max(width * height, 1.0)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            return self._read(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride,
                              round(72 * scale))
        finally:
            bitmap.close()
            page.close()

    def picture(self, image: Any) -> str:
        """What is written in a picture of Pillow's. Raises TimeOver."""
        image = self._turned(image)
        if min(image.size) < _SMALLEST:
            return ""
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            white = self._image.new("RGBA", image.size, "white")
            image = self._image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("L")
        width, height = image.size
        scale = min((MOST_PIXELS / (width * height)) ** 0.5, 2.0 if width < _SMALL else 1.0)
        if scale != 1.0:
            image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
        return self._read(image.tobytes(), image.width, image.height, image.width, _DPI)

    def open(self, data: bytes) -> Any:
        """A picture of Pillow's. Raises Refused: it unpacks to far too much."""
        try:
            return self._image.open(io.BytesIO(data), formats=_FORMATS)
        except self._image.DecompressionBombError:
            raise Refused(Refusal.UNPACKS)

    def _read(self, grey: bytes, width: int, height: int, stride: int, dpi: int) -> str:
        """Tesseract sees by itself that lines go up or down the page, and not on which end of it
        they begin: what is doubtful is looked at upside down too."""
        text, confidence = self._recognised(grey, width, height, stride, dpi)
        if confidence < _DOUBTFUL:
            turned = grey[::-1][stride - width:]  # what fills a row up now stands before it
            with contextlib.suppress(TimeOver):
                text, confidence = max((text, confidence), self._recognised(
                    turned, width, height, stride, dpi), key=lambda one: one[1])
        return text if confidence >= _LEAST_CONFIDENCE and text.strip() else ""

    def _recognised(self, grey: bytes, width: int, height: int, stride: int, dpi: int
                    ) -> tuple[str, int]:
        """The text, and how sure it is, in percent. Raises TimeOver."""
        if self._until is None:
            self._until = time.monotonic() + SECONDS
            soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (min(soft + int(SECONDS), hard), hard))
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeOver
        engine = self._engine
        engine.SetImageBytes(grey, width, height, 1, stride)
        engine.SetSourceResolution(dpi)
        if not engine.Recognize(max(1, int(left * 1000))):
            raise TimeOver
        return engine.GetUTF8Text(), engine.MeanTextConf()


def load(recogniser: Recogniser | None) -> Reader:
    """Of pictures; some hold several pages. Without a recogniser nothing is read of them."""
    def read(data: bytes, notes: Notes) -> Iterator[str]:
        if recogniser is None:
            notes.add(Note.PICTURES, 1)
            return
        image = recogniser.open(data)
        # What moves says the same in each of its pictures.
        pages = image.n_frames if image.format == "TIFF" else 1
        for number in range(pages):
            notes.at(number + 1, pages)
            image.seek(number)
            yield from recognised(lambda: recogniser.picture(image), number + 1, notes)
    return read


def recognised(read: Callable[[], str], page: int, notes: Notes) -> Iterator[str]:
    """What is recognised on a page, with its mark, and a note that it was, or why not."""
    try:
        text = read()
    except TimeOver:
        notes.add(Note.LATE, page)
        return
    if text:
        notes.add(Note.RECOGNISED, page)
        # The index says by this mark on which page a line stands.
        yield (f"[Page {page}]\n\n" if page > 1 else "") + text + "\n\n"
    else:
        notes.add(Note.SCAN, page)
