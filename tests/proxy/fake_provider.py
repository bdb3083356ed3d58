"""A fake OpenAI provider for the tests: it says what the test set, and bills what it sent.

What a client's last message says decides what happens; see `FakeProvider`.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeProvider:
    """`url` is the api_base. Each answer has `chunks` pieces, `delay_s` apart, and usage of
    `prompt_tokens` in and `chunks` out. `billed`: (tokens in, tokens out) of each call that was
    answered at least in part. `seen`: the requests' bodies.

    The last message may ask for a failure: 'fail 500' answers that status and quotes the key,
    'hang' answers after a minute, 'cut' breaks off in the middle of the stream, 'drop' before it.
    """

    def __init__(self) -> None:
        self.chunks, self.delay_s, self.prompt_tokens = 5, 0.0, 20
        self.billed: list[tuple[int, int]] = []
        self.seen: list[dict[str, Any]] = []
        self.open = threading.Event()  # set: a call is under way
        provider = self

        class Handler(_Handler):
            fake = provider

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeProvider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.fake.seen.append(body)
        self.fake.open.set()
        said = body["messages"][-1]["content"]
        if isinstance(said, str) and said.startswith("fail "):
            key = self.headers["authorization"].removeprefix("Bearer ")
            self._json(int(said.split()[1]), {"error": {
                "message": f"a failure; your key is {key}", "type": "x", "code": None}})
        elif said == "hang":
            time.sleep(60)
        elif said == "drop":
            self.connection.close()
        elif body.get("stream"):
            self._stream(body, cut=said == "cut")
        else:
            self._whole()

    def _whole(self) -> None:
        fake = self.fake
        time.sleep(fake.delay_s * fake.chunks)
        fake.billed.append((fake.prompt_tokens, fake.chunks))
        self._json(200, {
            "id": "c1", "object": "chat.completion", "created": 1, "model": "scripted",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {
                "role": "assistant", "content": "word " * fake.chunks}}],
            "usage": _usage(fake)})

    def _stream(self, body: dict[str, Any], cut: bool) -> None:
        fake = self.fake
        fake.billed.append((fake.prompt_tokens, fake.chunks))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for position in range(fake.chunks):
            self._event({"choices": [{"index": 0, "finish_reason": None, "delta": {
                "role": "assistant", "content": f"word{position} "}}]})
            if cut and position == 1:
                self.connection.close()
                return
            time.sleep(fake.delay_s)
        self._event({"choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]})
        if body.get("stream_options", {}).get("include_usage"):
            self._event({"choices": [], "usage": _usage(fake)})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, more: dict[str, Any]) -> None:
        event = {"id": "c1", "object": "chat.completion.chunk", "created": 1,
                 "model": "scripted"} | more
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def _usage(fake: FakeProvider) -> dict[str, int]:
    return {"prompt_tokens": fake.prompt_tokens, "completion_tokens": fake.chunks,
            "total_tokens": fake.prompt_tokens + fake.chunks}
