"""What the reconciler takes for a picture of an employee's screen."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from reconciler import probe


@pytest.fixture
def desk(monkeypatch):
    """A fake desk: `desk.answer = (status, body)`."""
    class Desk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass
    server = HTTPServer(("127.0.0.1", 0), Desk)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(probe, "BROWSER_PORT", server.server_port)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("answer", "taken"), [
    ((200, b"\xff\xd8\xff picture"), True),
    ((204, b""), False),
    ((302, b""), False),
    ((200, b"<script>"), False),
    ((200, b"\xff\xd8\xff" + bytes(300 * 1024)), False),
])
def test_only_a_small_jpeg_is_taken(desk, answer, taken):
    desk.answer = answer
    assert probe.thumbnail("127.0.0.1") == (answer[1] if taken else None)


def test_nobody_there_is_no_picture(desk):
    desk.server_close()
    desk.shutdown()
    assert probe.thumbnail("127.0.0.1") is None
