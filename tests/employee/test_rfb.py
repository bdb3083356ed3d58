"""A watcher's messages: looking passes, acting does not, however the bytes are cut."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

_SPEC = importlib.util.spec_from_file_location(
    "rfb", Path(__file__).parents[2] / "images" / "employee" / "rfb.py")
rfb = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(rfb)

HANDSHAKE = b"RFB 003.008\n" + b"\x01" + b"\x01"
PIXELS = b"\x00" + bytes(19)
ENCODINGS = b"\x02\x00\x00\x02" + bytes(8)
UPDATE = b"\x03" + bytes(9)
FENCE = b"\xf8" + bytes(7) + b"\x03abc"
CONTINUOUS = b"\x96" + bytes(9)
LOOKS = (PIXELS, ENCODINGS, UPDATE, FENCE, CONTINUOUS)
KEY = b"\x04\x01" + bytes(6)
MOUSE = b"\x05\x01" + bytes(4)
CLIPBOARD = b"\x06" + bytes(3) + b"\x00\x00\x00\x03abc"
EXTENDED_CLIPBOARD = b"\x06" + bytes(3) + (-5).to_bytes(4, "big", signed=True) + b"abcde"
RESIZE = b"\xfb\x00\x03\x00\x03\x00\x01\x00" + bytes(16)
QEMU_KEY = b"\xff\x00" + bytes(10)
ACTS = (KEY, MOUSE, CLIPBOARD, EXTENDED_CLIPBOARD, RESIZE, QEMU_KEY)


@given(st.lists(st.sampled_from([*LOOKS, *ACTS]), max_size=12), st.data())
def test_only_looking_passes(messages, data):
    stream = HANDSHAKE + b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    watching, passed = rfb.Watching(), b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        passed += watching.take(stream[start:end])
    assert passed == HANDSHAKE + b"".join(m for m in messages if m in LOOKS)


@pytest.mark.parametrize("odd", [b"\x07", b"\xff\x07", b"\x06" + bytes(3) + b"\x7f\xff\xff\xff"])
def test_what_no_viewer_sends_ends_the_connection(odd):
    watching = rfb.Watching()
    watching.take(HANDSHAKE)
    with pytest.raises(rfb.ProtocolError):
        watching.take(odd)


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.889\n", b"RFB 004.001\n",
                                     b"GET / HTTP/1"])
def test_a_handshake_that_is_another_one_is_refused(version):
    """In 3.3 the client chooses no security type: each message after it would be read a byte off,
    and a key event pass as something else."""
    with pytest.raises(rfb.ProtocolError, match="version"):
        rfb.Watching().take(version + b"\x01" + KEY)
    assert rfb.Watching().take(b"RFB 003.007\n\x01\x01" + KEY) == b"RFB 003.007\n\x01\x01"
