"""All open event streams of this process, on the event loop: a stream holds no thread.

Whether somebody may read a stream is asked of the Flask app itself, by a HEAD request with the
visitor's own headers: when it begins, again each minute, and at once when a session or token of
that customer ended. One task looks at the teams of all
customers that are watched, twice a second and in one query, whatever the number of streams.
"""

from __future__ import annotations

import asyncio
import io
import logging
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from a2wsgi.wsgi import build_environ
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from webapp.access import BACKGROUND
from webapp.live import BREATH, BREATH_S, LOOK_S, RETRY, Feed, Look, look

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
CHECK_S = 60.0
_PATIENCE_S = 20.0  # a reader that takes nothing for so long is let go; its browser comes again
_BACKSTOP_S = 60.0  # after so long a team is read again, whatever its version says
_MOST_OF_ONE = 1000  # a customer's pages must not take everybody's sockets


@dataclass(eq=False, slots=True)
class _Reader:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False
    ask: bool = False  # whether it still may read


@dataclass(eq=False, slots=True)
class _Watched:
    """One customer with open streams."""

    feed: Feed = field(default_factory=Feed)
    readers: set[_Reader] = field(default_factory=set)
    ended: int = 0
    version: str | None = None
    read_at: float = 0.0


class Streams:
    def __init__(self, app: Flask, workers: ThreadPoolExecutor) -> None:
        self._app, self._workers = app, workers
        self._routes = app.url_map.bind("")
        self._looking = ThreadPoolExecutor(1, "live")
        self._turn = asyncio.Lock()
        self._asked: set[str] = set()
        self._watched: dict[str, _Watched] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def open(self) -> int:
        return sum(len(watched.readers) for watched in self._watched.values())

    def customer_of(self, scope: Scope) -> str | None:
        """Whose stream is asked for, if one is."""
        if scope["method"] != "GET" or not scope["path"].endswith("/events/stream"):
            return None
        with suppress(HTTPException):
            endpoint, arguments = self._routes.match(scope["path"], method="GET")
            return arguments["customer"] if endpoint == "api.stream" else None
        return None

    async def serve(self, customer: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serves a stream until its end. False, and nothing was sent: the Flask app refuses, and
        says why itself."""
        headers = await self._allowed(scope)
        if headers is None:
            return False
        watched = self._watched.setdefault(customer, _Watched(ended=self._ended(customer)))
        if len(watched.readers) >= _MOST_OF_ONE or self._closing:
            await send({"type": "http.response.start", "status": 503,
                        "headers": [(b"retry-after", b"5"), (b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return True
        reader = _Reader()
        watched.readers.add(reader)
        leaving = asyncio.create_task(_until_left(receive, reader))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._tell(customer, watched.feed, reader, scope, send)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("a reader of %s took nothing for %.0f s", customer, _PATIENCE_S)
        finally:
            leaving.cancel()
            watched.readers.discard(reader)
            if not watched.readers:
                self._watched.pop(customer, None)
        return True

    def close(self) -> None:
        """Ends every stream; browsers connect again by themselves."""
        self._closing = True
        for watched in self._watched.values():
            for reader in watched.readers:
                reader.wake.set()

    async def _tell(self, customer: str, feed: Feed, reader: _Reader, scope: Scope, send: Send
                    ) -> None:
        try:
            await self._look([customer])
        except Exception:
            log.exception("the team of %s can't be read", customer)
        if not feed.number:
            return  # the page connects again, and more may be known then
        text, told = RETRY + feed.since(0), feed.number
        check_at = _soon()
        while not reader.left:
            async with asyncio.timeout(_PATIENCE_S):
                await send({"type": "http.response.body", "body": text.encode(),
                            "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(BREATH_S):
                    await reader.wake.wait()
            reader.wake.clear()
            if self._closing:
                return
            if reader.ask or time.monotonic() > check_at:
                reader.ask = False
                if await self._allowed(scope) is None:
                    return
                check_at = _soon()
            text, told = feed.since(told) or BREATH, feed.number

    async def _allowed(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """The headers of the stream's answer, by the Flask app's own rules; None: it refuses."""
        def ask() -> Response:
            head: Any = {**scope, "method": "HEAD"}
            body: Any = io.BytesIO()
            environ = dict(build_environ(head, body)) | {BACKGROUND: True}
            return Response.from_app(self._app, environ, buffered=True)
        answer = await asyncio.get_running_loop().run_in_executor(self._workers, ask)
        return [(name.lower().encode("latin1"), value.encode("latin1"))
                for name, value in answer.headers] if answer.status_code == 200 else None

    # ---- one look for everybody --------------------------------------------------------------

    async def _look(self, customers: list[str]) -> None:
        """Reads what changed of these customers, and wakes their readers. One look at a time: who
        asks while one is under way is taken along by the next, with everybody else who did."""
        self._asked.update(customers)
        async with self._turn:
            if self._asked.isdisjoint(customers):
                return
            asked, self._asked = self._asked, set()
            late = time.monotonic() - _BACKSTOP_S
            known = {customer: watched.version if watched.read_at > late else None
                     for customer in asked if (watched := self._watched.get(customer))}
            found = await asyncio.get_running_loop().run_in_executor(
                self._looking, self._in_app, known) if known else {}
            for customer, (version, team) in found.items():
                changed = self._watched.get(customer)
                if changed is None or team is None:
                    continue
                changed.version, changed.read_at = version, time.monotonic()
                if changed.feed.update(team):
                    for reader in changed.readers:
                        reader.wake.set()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def _in_app(self, known: dict[str, str | None]) -> dict[str, tuple[str, Look | None]]:
        with self._app.app_context():
            return look(known)

    async def _watch(self) -> None:
        failing, began = False, time.monotonic()
        while self._watched and not self._closing:
            await asyncio.sleep(max(began + LOOK_S - time.monotonic(), LOOK_S / 10))
            began = time.monotonic()
            self._ask_again()
            try:
                await self._look(list(self._watched))
                failing = False
            except Exception:
                if not failing:  # once, not twice a second
                    log.exception("the teams can't be read; their pages show what they were")
                failing = True
        self._watcher = None

    def _ask_again(self) -> None:
        """Where a session or token ended, every reader shows again that it may read."""
        for customer, watched in self._watched.items():
            ended = self._ended(customer)
            if ended != watched.ended:
                watched.ended = ended
                for reader in watched.readers:
                    reader.ask = True
                    reader.wake.set()

    def _ended(self, customer: str) -> int:
        counted = self._app.extensions["iw_ended"]
        return counted[customer] + counted[None]  # an engineer may read anybody's


def _soon() -> float:
    """When a reader is asked again who it is; not all at the same time."""
    return time.monotonic() + CHECK_S * random.uniform(0.7, 1.0)


async def _until_left(receive: Receive, reader: _Reader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.left = True
    reader.wake.set()
