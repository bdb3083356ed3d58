"""The server: one event loop, on which event streams live, and threads in which Flask answers.

Who waits never holds the place of who acts. The edge's question about a visitor is answered by
threads of its own. A body is read here, on the loop, before a thread is asked, so that one that
never ends holds none; what is too large for that, and what is downloaded, has threads of its own,
a time limit for each piece of an upload, and for each company its share.

Its only visitor is the edge, on loopback. What it takes: headers of 256 KiB, bodies of 1 GiB at
most (Flask's own limit, 1 MiB, holds wherever a route does not raise it), passed on as they come.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from flask import Flask

from webapp import metrics
from webapp.content import MOST_UPLOAD
from webapp.streams import Message, Receive, Scope, Send, Streams

MOST_HEADERS = 256 * 1024
# Longer than the edge keeps an idle connection: else it may send a request into a closed one.
KEEP_ALIVE_S = 3600
EDGE_THREADS, BULK_THREADS = 8, 24
OF_ONE = 6  # uploads and downloads of one company at once
SMALL = 1024 * 1024  # a body that is read whole first; Flask's own limit for all but uploads
BODY_S, PIECE_S = 20.0, 30.0  # for a small body as a whole, for each piece of a large one
MOST_READING = 400  # small bodies that are being read at once
GRACE_S = 5
EDGE_PATH = "/edge/authorize"
_SLOW = json.dumps({"error": {"code": "slow", "violations": [], "message":
                              "The request did not come whole in time. Try again."}}).encode()
_BUSY = json.dumps({"error": {"code": "busy", "violations": [], "message":
                              "Several files of this company are being sent already. Try again "
                              "in a moment."}}).encode()
_DOWNLOADS = ("/content", "/archive", "/export")
_COMPANY = re.compile(r"/customers/([^/]+)/")
_EMPTY: Message = {"type": "http.request", "body": b"", "more_body": False}


class Front:
    """The ASGI application: event streams by itself, everything else by Flask."""

    def __init__(self, app: Flask, threads: int) -> None:
        wsgi = _ends_with_its_reader(app)
        # Its messages are typed dictionaries of its own: ASGI's, as all others.
        self._flask: Any = WSGIMiddleware(wsgi, workers=threads)
        self._edge: Any = WSGIMiddleware(wsgi, workers=EDGE_THREADS)
        self._bulk: Any = WSGIMiddleware(wsgi, workers=BULK_THREADS)
        self._reading, self._busy = 0, Counter[str]()
        self.streams = Streams(app, self._flask.executor)
        self._metrics = metrics.of(app)
        self._metrics.open_streams.set_function(lambda: self.streams.open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # WSGI can't tell X_Forwarded_For, which anybody may send, from the edge's own header.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if b"_" not in name]
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:16]) > MOST_UPLOAD:
            await _too_large(send)
            return
        if scope["path"] == "/metrics" and b"x-forwarded-for" not in headers:
            await _answer(send, 200, metrics.CONTENT_TYPE, self._metrics.render())
            return
        customer = self.streams.customer_of(scope)
        if customer is None or not await self.streams.serve(customer, scope, receive, send):
            chunked = b"transfer-encoding" in headers
            await self._by_flask(scope, receive, send, None if chunked else int(length))

    async def _by_flask(self, scope: Scope, receive: Receive, send: Send, length: int | None
                        ) -> None:
        """`length`: of the body, in bytes; None: it says its end by itself."""
        gone = scope["iw.gone"] = threading.Event()
        flask, body = self._flask, [_EMPTY]
        if scope["path"] == EDGE_PATH:
            flask = self._edge
        elif length != 0:
            try:
                body = [] if length and length > SMALL else await self._read(receive)
            except (TimeoutError, _TooManyError):
                await _answer(send, 503 if self._reading >= MOST_READING else 408,
                              "application/json", _SLOW, close=True)
                return
            if body and body[-1]["type"] == "http.disconnect":
                return
            if not body or body[-1].get("more_body"):  # it goes on: an upload
                await self._in_bulk(scope, _in_pieces(body, receive), send)
                return

        async def next_message() -> Message:
            return body.pop(0) if body else _EMPTY
        leaving = asyncio.create_task(_until_gone(receive, gone))
        try:
            if scope["method"] == "GET" and scope["path"].endswith(_DOWNLOADS):
                await self._in_bulk(scope, next_message, send)
            else:
                await flask(scope, next_message, send)
        finally:
            leaving.cancel()

    async def _in_bulk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What may take as long as its visitor's line is slow, fair between companies."""
        named = _COMPANY.search(scope["path"])
        company = named[1] if named else ""
        if self._busy[company] >= OF_ONE:
            await _answer(send, 503, "application/json", _BUSY, close=True)
            return
        self._busy[company] += 1
        try:
            await self._bulk(scope, receive, send)
        finally:
            self._busy[company] -= 1
            if not self._busy[company]:
                del self._busy[company]

    async def _read(self, receive: Receive) -> list[Message]:
        """The messages of a body up to its end, or up to SMALL bytes of it.

        Raises:
            TimeoutError: it did not come in BODY_S seconds.
        """
        if self._reading >= MOST_READING:
            raise _TooManyError
        self._reading += 1
        try:
            messages: list[Message] = []
            size = 0
            async with asyncio.timeout(BODY_S):
                while True:
                    messages.append(await receive())
                    size += len(messages[-1].get("body", b""))
                    if not messages[-1].get("more_body") or size > SMALL:
                        return messages
        finally:
            self._reading -= 1


class _TooManyError(Exception):
    """More bodies are being read than there is room for."""


def _in_pieces(first: list[Message], receive: Receive) -> Receive:
    """What was read, and then the rest; whoever sends nothing for PIECE_S seconds has left."""
    async def next_message() -> Message:
        if first:
            return first.pop(0)
        try:
            async with asyncio.timeout(PIECE_S):
                return await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
    return next_message


class Server(uvicorn.Server):
    """Ends event streams first when it shuts down: nobody's browser would."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self.front = front

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.front.streams.close()
        await super().shutdown(sockets)


def server(app: Flask, port: int, threads: int = 64) -> Server:
    """The web app's server, on loopback. `run()` serves until SIGTERM, or, in another thread than
    the main one, until `should_exit` is set. `threads`: of Flask's views.

    The X-Forwarded-* headers are the app's to read (`factory`): only the edge reaches the port.
    """
    front = Front(app, threads)
    return Server(uvicorn.Config(
        front, host="127.0.0.1", port=port, loop="asyncio", http="h11", ws="none", lifespan="off",
        interface="asgi3", log_config=None, log_level="warning", access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S, h11_max_incomplete_event_size=MOST_HEADERS), front)


def _ends_with_its_reader(app: Flask) -> Any:
    """Stops making an answer that nobody takes any more: a download whose visitor left."""
    def wsgi(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        if "CONTENT_LENGTH" not in environ and "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input_terminated"] = True  # a body of unknown length ends by itself
        gone: threading.Event = environ["asgi.scope"]["iw.gone"]
        pieces: Iterable[bytes] = app(environ, start_response)
        try:
            for piece in pieces:
                if gone.is_set():
                    return
                yield piece
        finally:
            getattr(pieces, "close", lambda: None)()
    return wsgi


async def _until_gone(receive: Receive, gone: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _too_large(send: Send) -> None:
    await _answer(send, 413, "application/json", json.dumps({"error": {
        "code": "request_entity_too_large", "violations": [],
        "message": f"At most {MOST_UPLOAD >> 30} GiB can be sent at once."}}).encode(), close=True)


async def _answer(send: Send, status: int, kind: str, body: bytes, close: bool = False) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()),
        *([(b"connection", b"close")] if close else [])]})
    await send({"type": "http.response.body", "body": body})
