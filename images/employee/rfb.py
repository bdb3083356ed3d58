"""What a viewer sends to the desk, message by message (RFC 6143, and noVNC's extensions).

A viewer who may only look gets a filter here, on the server's side: keys, pointer, clipboard and
resizing never reach Xvnc, whatever the page in the browser does.
"""

HANDSHAKE = (12, 1, 1)  # version, security type, ClientInit
# Others have another handshake (3.3 chooses no security type), after which every message would be
# taken for something else.
_VERSIONS = (b"RFB 003.007\n", b"RFB 003.008\n")
# Of a message type: its size in bytes; whoever carries a count has it at an offset.
_FIXED = {0: 20, 3: 10, 4: 8, 5: 6, 150: 10}
_INPUT = frozenset({4, 5, 6, 251, 255})
_MOST = 1 << 20


class ProtocolError(Exception):
    """The viewer sent what no viewer sends."""


class Watching:
    """Passes on what a looking viewer needs, and drops what would act. Bytes come as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._shake = list(HANDSHAKE)

    def take(self, data: bytes) -> bytes:
        """The bytes that may go on. Raises ProtocolError."""
        self._rest += data
        passed = []
        while (size := self._size()) is not None and len(self._rest) >= size:
            message, self._rest = self._rest[:size], self._rest[size:]
            if self._shake:
                if self._shake == list(HANDSHAKE) and message not in _VERSIONS:
                    raise ProtocolError(f"version {message!r}")
                self._shake.pop(0)
                passed.append(message)
            elif message[0] not in _INPUT:
                passed.append(message)
        return b"".join(passed)

    def _size(self) -> int | None:
        """Of the next message, or None when too little of it is here."""
        rest = self._rest
        if self._shake:
            return self._shake[0]
        if not rest:
            return None
        kind = rest[0]
        if kind in _FIXED:
            return _FIXED[kind]
        if kind == 2:  # SetEncodings
            return self._counted(2, 2, 4, 4)
        if kind == 6:  # ClientCutText; a negative length is the extended form
            if len(rest) < 8:
                return None
            return self._bounded(8 + abs(int.from_bytes(rest[4:8], "big", signed=True)))
        if kind == 248:  # Fence
            return self._counted(8, 1, 9, 1)
        if kind == 251:  # SetDesktopSize
            return self._counted(6, 1, 8, 16)
        if kind == 255:  # QEMU's; 0 is its key event
            if len(rest) < 2:
                return None
            if rest[1] == 0:
                return 12
        raise ProtocolError(f"message type {kind}")

    def _counted(self, at: int, width: int, head: int, each: int) -> int | None:
        if len(self._rest) < at + width:
            return None
        return self._bounded(head + each * int.from_bytes(self._rest[at:at + width], "big"))

    @staticmethod
    def _bounded(size: int) -> int:
        if size > _MOST:
            raise ProtocolError(f"a message of {size} bytes")
        return size
