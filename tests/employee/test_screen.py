"""The desk's small picture, of a real Xvnc."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

_SPEC = importlib.util.spec_from_file_location(
    "screen", Path(__file__).parents[2] / "images" / "employee" / "screen.py")
screen = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(screen)


@pytest.fixture
def xvnc(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A screen of its own as the desk starts it; the socket and the display."""
    if shutil.which("Xvnc") is None:
        pytest.skip("Xvnc is not installed here (tigervnc-standalone-server)")
    path, numbers = tmp_path / "screen.sock", iter(range(71, 99))
    for number in numbers:
        if Path(f"/tmp/.X11-unix/X{number}").exists():
            continue
        server = subprocess.Popen(
            ["Xvnc", f":{number}", "-geometry", "1280x800", "-depth", "24", "-SecurityTypes",
             "None", "-rfbport", "-1", "-rfbunixpath", str(path), "-rfbunixmode", "0600",
             "-AlwaysShared", "-nolisten", "tcp"], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not path.exists() and server.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if path.exists():
            break
    yield path, f":{number}"
    server.terminate()
    server.wait(5)


def test_the_screen_is_read_scaled_and_kept_for_a_moment(xvnc):
    async def look() -> tuple[bytes, bytes, float]:
        pictures = screen.Pictures(xvnc[0])
        first = await pictures.take()
        began = time.monotonic()
        return first, await pictures.take(), time.monotonic() - began
    first, second, seconds = asyncio.run(look())
    picture = Image.open(io.BytesIO(first))
    assert picture.format == "JPEG" and picture.size == (480, 300)
    assert len(first) < 40_000 and first is second and seconds < 0.05


def test_colours_are_right(xvnc):
    """Through the whole chain: red stays red, and the right way up."""
    if shutil.which("xsetroot") is None:
        red = bytes([200, 10, 20, 0]) * (1280 * 400)
        blue = bytes([10, 20, 200, 0]) * (1280 * 400)
        made = screen._small((1280, 800), red + blue)
    else:
        subprocess.run(["xsetroot", "-display", xvnc[1], "-solid", "#c80a14"], check=True)
        made = asyncio.run(screen.Pictures(xvnc[0]).take())
    pixel = Image.open(io.BytesIO(made)).convert("RGB").getpixel((240, 40))
    assert all(abs(a - b) < 12 for a, b in zip(pixel, (200, 10, 20), strict=True)), pixel


def test_no_screen_and_no_viewer_s_protocol_is_an_error(tmp_path):
    with pytest.raises(screen.ScreenError):
        asyncio.run(screen.Pictures(tmp_path / "nothing.sock").take())

    async def talk_nonsense() -> None:
        path = tmp_path / "odd.sock"

        async def answer(reader, writer):
            writer.write(b"RFB 003.008\n\x01\x02")
            await writer.drain()
        server = await asyncio.start_unix_server(answer, str(path))
        async with server:
            await screen.Pictures(path).take()
    with pytest.raises(screen.ScreenError, match="password"):
        asyncio.run(talk_nonsense())
