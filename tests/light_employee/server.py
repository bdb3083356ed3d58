"""The light employee: the container's contract and nothing more.

Chat on 18789, browser on 6080, GET /healthz on both, one process, no dependency. Tests and benches
use it; the real agent keeps the same ports, user, volumes and limits.
"""

import asyncio
import base64
import hashlib
import html
import os
import signal

NAME = os.environ.get("IW_EMPLOYEE_ID", "employee")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{name}</title>
<h1>{name}</h1><p>This is the {what} of a light employee: it says that it is here,
and to whom.</p><p id="user">You are {user}.</p></html>"""


async def answer(reader, writer, what):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        if headers.get("upgrade", "").lower() == "websocket":
            await echo(reader, writer, headers["sec-websocket-key"])
            return
        path = request.split(" ")[1]
        kind, body = "text/plain", "ok\n"
        if path not in ("/healthz", "/readyz"):
            kind = "text/html"
            seen = ", ".join(sorted(headers))
            body = _PAGE.format(name=html.escape(NAME), what=what,
                                user=html.escape(headers.get("x-user", "unknown")))
            body += f"<!-- headers: {html.escape(seen)} -->\n"
        data = body.encode()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\n"
                     f"Content-Length: {len(data)}\r\nX-Frame-Options: DENY\r\n"
                     "Connection: close\r\n\r\n".encode() + data)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, IndexError, KeyError):
        pass
    finally:
        writer.close()


async def echo(reader, writer, key):
    """A WebSocket that says every frame again (RFC 6455; frames under 64 KiB)."""
    accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
                 b"\r\nSec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n")
    while True:
        first, second = await reader.readexactly(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        elif size == 127:
            return
        mask = await reader.readexactly(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(size)))
        if first & 15 == 8:
            return
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        writer.write(bytes([first]) + length + data)
        await writer.drain()


async def main():
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    for port, what in ((18789, "chat"), (6080, "browser")):
        await asyncio.start_server(lambda r, w, what=what: answer(r, w, what), "0.0.0.0", port)
    print(f"{NAME} listens on 18789 and 6080", flush=True)
    await stopped.wait()


asyncio.run(main())
