"""A fake model provider: OpenAI's chat API, as far as it is used, answered from a script.

What a person wrote last says what happens: `SAY some words` answers "(scripted) some words", and
`TOOL name {"json": "arguments"}` calls that tool and then repeats what the tool said.
`WORK [["name", {…}], …]` calls tools one after the other, as a piece of work does. Anything else is
answered with "I heard: …". A quiz (`webapp.quiz.paper`) is answered by `quiz_taker`, from the
system prompt and from the documents that it names, which it reads by a command. Usage is a fixed
number of tokens, so that tests can count money.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shlex
import threading
import time
from typing import Any

from tests import quiz_taker

KEY = "sk-the-provider-s-own-key"


class FakeProvider:
    """Listens on a free loopback port until `close`. `requests` holds every body received."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.prompt_tokens, self.completion_tokens = 100, 50
        self.pause_s = 0.0  # between two pieces of a stream
        self.fail_with: int | None = None
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.requests.append(body)
                if self.headers.get("Authorization") != f"Bearer {KEY}":
                    self._json(401, {"error": {"message": "wrong key", "type": "auth"}})
                elif owner.fail_with:
                    self._json(owner.fail_with, {"error": {"message": "failed", "type": "x"}})
                elif body.get("stream"):
                    with contextlib.suppress(ConnectionError):
                        self._stream(owner, body)
                else:
                    self._json(200, {
                        "id": "fake", "object": "chat.completion", "created": 1,
                        "model": body["model"], "usage": owner.usage(), "choices": [{
                            "index": 0, "message": {"role": "assistant", **answer(body)},
                            "finish_reason": _reason(body)}]})

            def _json(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, owner: FakeProvider, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for delta, reason in pieces(body):
                    self._chunk(body, [{"index": 0, "delta": delta, "finish_reason": reason}])
                    time.sleep(owner.pause_s)
                if (body.get("stream_options") or {}).get("include_usage"):
                    self._chunk(body, [], usage=owner.usage())
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def _chunk(self, body: dict[str, Any], choices: Any, **more: Any) -> None:
                self.wfile.write(b"data: " + json.dumps({
                    "id": "fake", "object": "chat.completion.chunk", "created": 1,
                    "model": body["model"], "choices": choices, **more}).encode() + b"\n\n")
                self.wfile.flush()

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens + self.completion_tokens}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content)
    return content


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """`content`, or `tool_calls`."""
    messages = body["messages"]
    quiz = _quiz(messages)
    if quiz is not None:
        return quiz
    worked = _work(messages)
    if worked is not None:
        return worked
    # The gateway adds messages of its own (the time, what runs) after what a person wrote or what
    # a tool said.
    asked: list[str] = []
    for message in reversed(messages):
        if message["role"] == "tool":
            return {"content": f"The tool said: {_text(message)[:600]}"}
        if message["role"] == "assistant":
            break
        if message["role"] == "user":
            asked.append(_text(message))
    for line in "\n".join(asked).splitlines():
        _, say, words = line.partition("SAY ")
        if say:
            return {"content": f"(scripted) {words}"}
        _, tool, rest = line.partition("TOOL ")
        if tool:
            name, _, arguments = rest.partition(" ")
            return _call(messages, name, arguments.strip() or "{}")
    return {"content": f"I heard: {' '.join(asked)[-200:]}"}


def _call(messages: list[dict[str, Any]], name: str, arguments: str) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{
        "id": f"call_{len(messages)}", "type": "function",
        "function": {"name": name, "arguments": arguments}}]}


def _work(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The next step of a piece of work, if the newest that was asked for is one."""
    said: list[str] = []
    for message in reversed(messages):
        if message["role"] == "tool":
            said.append(_text(message))
        elif message["role"] == "user":
            _, work, rest = _text(message).partition("WORK [")
            if work:
                steps = json.loads("[" + rest.splitlines()[0])
                if len(said) < len(steps):
                    name, arguments = steps[len(said)]
                    return _call(messages, name, json.dumps(arguments))
                return {"content": f"(scripted) The work is done: {said[0][:400]}"}
            if any(word in _text(message) for word in ("SAY ", "TOOL ")):
                return None
    return None


def _quiz(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What comes next in a quiz, if the newest turn is one: reading, then the answers."""
    asked = next((i for i in reversed(range(len(messages))) if messages[i]["role"] == "user"
                  and quiz_taker.is_quiz(_text(messages[i]))), None)
    later = messages[asked + 1:] if asked is not None else []
    if asked is None or any(m["role"] == "assistant" and not m.get("tool_calls") for m in later):
        return None
    text = _text(messages[asked])
    named = quiz_taker.documents(text)
    if named and not any(m["role"] == "tool" for m in later):
        return {"content": None, "tool_calls": [{
            "id": f"call_{n}", "type": "function", "function": {
                "name": "exec", "arguments": json.dumps({
                    "command": f"cat {shlex.quote(f'/shared/text/{name}.md')}"})}}
            for n, name in enumerate(named)]}
    read = [_text(m) for m in messages if m["role"] in ("system", "developer")]
    read += [_text(m) for m in later if m["role"] == "tool"]
    return {"content": quiz_taker.answers(text, "\n".join(read))}


def _reason(body: dict[str, Any]) -> str:
    return "tool_calls" if answer(body).get("tool_calls") else "stop"


def pieces(body: dict[str, Any]) -> list[tuple[dict[str, Any], str | None]]:
    said = answer(body)
    if said.get("tool_calls"):
        calls = [{"index": i, **call} for i, call in enumerate(said["tool_calls"])]
        return [({"role": "assistant", "tool_calls": calls}, None), ({}, "tool_calls")]
    words = said["content"].split(" ")
    parts = [{"content": word + (" " if i < len(words) - 1 else "")}
             for i, word in enumerate(words)]
    return [({"role": "assistant"}, None), *((part, None) for part in parts), ({}, "stop")]
