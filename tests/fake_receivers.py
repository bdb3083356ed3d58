"""Where alerts arrive in tests: a real mail server (aiosmtpd), and a server that takes webhooks."""

from __future__ import annotations

import email
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Mailbox:
    """A mail server on loopback that keeps what it gets. `password`: what it wants, of anybody."""

    def __init__(self, port: int, password: str | None = None) -> None:
        self.mails: list[Message] = []

        def authenticate(server, session, envelope, mechanism, data) -> AuthResult:
            return AuthResult(success=data.password.decode() == password)
        self._controller = Controller(
            self, hostname="127.0.0.1", port=port, auth_required=password is not None,
            auth_require_tls=False,
            auth_exclude_mechanism=["LOGIN"],  # its words are not those that Alertmanager knows
            authenticator=authenticate if password else None)
        self._controller.start()
        self.server = f"127.0.0.1:{port}"

    async def handle_DATA(self, server, session, envelope) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def close(self) -> None:
        self._controller.stop()


class Webhook:
    """`taken`: each body, by path. A path that begins with /gone is refused with 410."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                gone = self.path.startswith("/gone")
                if not gone:
                    outer.taken.append((self.path, body))
                self.send_response(410 if gone else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"no" if gone else b"ok")

            def log_message(self, *arguments: Any) -> None:
                pass
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def at(self, path: str) -> list[Any]:
        return [body for of, body in self.taken if of == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def closing(*opened: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for one in opened:
            one.close()


def wait_for(found: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return value
