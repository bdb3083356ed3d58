"""A turn outside the chat, with a fake gateway: a real HTTP server in the container's place, which
keeps OpenClaw's contract as far as the probe uses it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from types import SimpleNamespace

import pytest

from reconciler import ReconcilerError, probe, turns
from reconciler.probe import TurnError, Visitor, turn, warm_up
from reconciler.turns import MOST_AT_ONCE, Turns

ACME = Visitor("acme", "pulse-7f3k2a.gw.iw.localhost:8080")


class FakeGateway:
    """Lets in `acme` alone, at one host, and answers `says(text)`."""

    def __init__(self) -> None:
        self.says = lambda text: f"You said: {text}"
        self.status, self.body, self.pause_s = 200, None, 0.0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(owner.pause_s)
                proved = (self.headers["x-forwarded-user"] == ACME.user
                          and self.headers["X-Forwarded-Host"] == ACME.host
                          and self.headers["Origin"] == f"http://{ACME.host}"
                          and self.path == "/v1/chat/completions")
                text = asked["messages"][-1]["content"]
                data = owner.body or json.dumps({"choices": [{"message": {
                    "role": "assistant", "content": owner.says(text)}}]}).encode()
                self.send_response(owner.status if proved else 401)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def gateway(monkeypatch):
    made = FakeGateway()
    monkeypatch.setattr(probe, "CHAT_PORT", made.server.server_address[1])
    yield made
    made.server.shutdown()
    made.server.server_close()


class Employees:
    """A fleet and a rest of one employee, as `Turns` uses them."""

    def __init__(self, **row) -> None:
        self.row = {"desired_state": "running", "health_status": "Healthy", "reason": "",
                    "address": "127.0.0.1", "asleep_since": None} | row
        self.woken = []
        self.turns = Turns(
            SimpleNamespace(rows=lambda: {"pulse-7f3k2a": self.row}, visitor=lambda _: ACME),
            SimpleNamespace(wake=self._wake))

    def _wake(self, employee: str) -> bool:
        self.woken.append(employee)
        self.row["asleep_since"] = None
        return True


def test_a_turn_is_made_as_the_customer_s_visitor(gateway):
    assert turn("127.0.0.1", ACME, "Which tone?", 5) == "You said: Which tone?"
    assert warm_up("127.0.0.1", ACME)
    with pytest.raises(TurnError, match="refused \\(401\\)"):
        turn("127.0.0.1", Visitor("bolt", ACME.host), "Which tone?", 5)
    assert not warm_up("127.0.0.1", Visitor("bolt", ACME.host))


def test_no_answer_says_why(gateway):
    gateway.pause_s = 1
    with pytest.raises(TurnError, match="no answer within 0"):
        turn("127.0.0.1", ACME, "Hello", 0.2)
    gateway.pause_s = 0
    for body in (b"no json", b"{}", b'{"choices": [{"message": {"content": null}}]}', b"[]"):
        gateway.body = body
        with pytest.raises(TurnError, match="holds no text"):
            turn("127.0.0.1", ACME, "Hello", 5)
    gateway.server.shutdown()
    gateway.server.server_close()
    with pytest.raises(TurnError, match="can't be reached"):
        turn("127.0.0.1", ACME, "Hello", 5)


def test_who_sleeps_is_woken_first(gateway):
    asleep = Employees(asleep_since="2026-01-31")
    assert asleep.turns.ask("pulse-7f3k2a", "Hi")["text"] == "You said: Hi"
    assert asleep.woken == ["pulse-7f3k2a"]


def test_who_gets_ready_is_waited_for(gateway):
    late = Employees(health_status="Progressing", address=None)
    threading.Timer(0.3, lambda: late.row.update(
        health_status="Healthy", address="127.0.0.1")).start()
    assert late.turns.ask("pulse-7f3k2a", "Hi")["text"] == "You said: Hi"


@pytest.mark.parametrize(("row", "why"), [
    ({"desired_state": "paused"}, "resume it first"),
    ({"desired_state": "warm"}, "resume it first"),
    ({"health_status": "Degraded", "reason": "it ran out of memory"}, "it ran out of memory"),
    ({"health_status": "Progressing", "reason": "it starts"}, "it starts"),
])
def test_who_does_not_work_is_not_asked(gateway, monkeypatch, row, why):
    monkeypatch.setattr(turns, "FIRST_ANSWER_S", 0.1)
    with pytest.raises(ReconcilerError, match=why):
        Employees(**row).turns.ask("pulse-7f3k2a", "Hi")
    with pytest.raises(ReconcilerError, match="resume it first"):
        Employees().turns.ask("nobody", "Hi")


def test_few_are_asked_at_once_and_a_failure_frees_its_place(gateway):
    pulse = Employees()
    gateway.status = 500
    for _ in range(2 * MOST_AT_ONCE):
        with pytest.raises(TurnError, match="500"):
            pulse.turns.ask("pulse-7f3k2a", "Hi")
    gateway.status, gateway.pause_s = 200, 0.5
    asked = [threading.Thread(target=pulse.turns.ask, args=("pulse-7f3k2a", "Hi"))
             for _ in range(MOST_AT_ONCE)]
    for one in asked:
        one.start()
    time.sleep(0.1)
    with pytest.raises(ReconcilerError, match="try again in a minute"):
        pulse.turns.ask("pulse-7f3k2a", "Hi")
    for one in asked:
        one.join()
