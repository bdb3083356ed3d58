"""The screen as a small picture: one read of Xvnc's framebuffer, scaled down.

A viewer like any other, for the time of one answer (RFC 6143): it asks for the whole screen once,
uncompressed, and goes. It starts nothing, and counts as nobody who watches.
"""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

SMALL = (480, 300)
FRESH_S = 3.0  # one picture serves whoever asks meanwhile
TIMEOUT_S = 4.0
# 32 bits a pixel, depth 24, little endian, true colour; red, green, blue from the first byte on.
_PIXELS = bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0])
_RAW = bytes([2, 0, 0, 1]) + bytes(4)  # SetEncodings: raw alone
_MOST = 4096 * 4096


class ScreenError(Exception):
    """The screen can't be read."""


class Pictures:
    """Pictures of one screen, each kept for `FRESH_S`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._guard = asyncio.Lock()
        self._last: tuple[float, bytes] | None = None

    async def take(self) -> bytes:
        """A JPEG. Raises ScreenError."""
        async with self._guard:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_S:
                try:
                    size, pixels = await asyncio.wait_for(_read(self._socket), TIMEOUT_S)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    raise ScreenError(f"{type(error).__name__}: {error}") from error
                made = await asyncio.to_thread(_small, size, pixels)
                self._last = (time.monotonic(), made)
            return self._last[1]

    def forget(self) -> None:
        self._last = None


async def _read(path: Path) -> tuple[tuple[int, int], bytes]:
    """The screen's size and its pixels, four bytes each."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        await reader.readexactly(12)
        writer.write(b"RFB 003.008\n")
        if 1 not in await reader.readexactly((await reader.readexactly(1))[0]):
            raise ScreenError("the screen wants a password")
        writer.write(b"\x01")  # no security: the socket is ours alone
        if await reader.readexactly(4) != bytes(4):
            raise ScreenError("the screen refuses a viewer")
        writer.write(b"\x01")  # shared: nobody else is sent away
        head = await reader.readexactly(24)
        width, height = (int.from_bytes(head[at:at + 2], "big") for at in (0, 2))
        if not 0 < width * height <= _MOST:
            raise ScreenError(f"the screen has {width} x {height} pixels")
        await reader.readexactly(int.from_bytes(head[20:24], "big"))
        ask = b"\x03\x00" + bytes(4) + head[0:4]
        writer.write(b"\x00\x00\x00\x00" + _PIXELS + _RAW + ask)
        return (width, height), await _update(reader, width, height)
    finally:
        writer.close()


async def _update(reader: asyncio.StreamReader, width: int, height: int) -> bytes:
    """One FramebufferUpdate, put together from its rectangles."""
    kind, _, *count = await reader.readexactly(4)
    if kind != 0:
        raise ScreenError(f"the screen sent a message of type {kind}")
    screen = bytearray(width * height * 4)
    for _ in range(int.from_bytes(bytes(count), "big")):
        head = await reader.readexactly(12)
        x, y, wide, high = (int.from_bytes(head[at:at + 2], "big") for at in (0, 2, 4, 6))
        if head[8:] != bytes(4) or x + wide > width or y + high > height:
            raise ScreenError("the screen sent what was not asked for")
        for row in range(y, y + high):
            start = (row * width + x) * 4
            screen[start:start + wide * 4] = await reader.readexactly(wide * 4)
    return bytes(screen)


def _small(size: tuple[int, int], pixels: bytes) -> bytes:
    from PIL import Image  # only when somebody looks: it takes memory

    picture = Image.frombuffer("RGB", size, pixels, "raw", "RGBX", 0, 1)
    picture.thumbnail(SMALL, Image.Resampling.BOX, reducing_gap=None)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=72, optimize=True)
    return out.getvalue()
