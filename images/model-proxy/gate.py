"""The gate in front of LiteLLM: whose key it is, what it may use, and that it can be paid for.

LiteLLM translates between providers; it never sees an employee's key, and no employee ever reaches
a route of LiteLLM but the one for chat. The gate reserves the most that a call can cost, lets the
call through, reads the usage out of the answer as it passes, and settles, on every way out.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo
import figures
from ledger import Grant, Ledger, Refused, Unavailable

log = logging.getLogger("gate")
CHAT = ("/v1/chat/completions", "/chat/completions")
MODELS = ("/v1/models", "/models")
HEALTH, FIGURES = "/healthz", "/metrics"
MOST_BYTES = 16 * 1024 * 1024
SHORTEST_KEY = 8
ADDED_TOKENS = 1000
_PERHAPS_BILLED = (408, 499, 504)  # we stopped waiting; the provider may not have
# All that a request may say. Anything else is dropped: LiteLLM takes many fields as orders
# (extra_body, num_retries, timeout, user_config), and some cost more than tokens at the model's
# price (service_tier, web_search_options, prediction, audio).
_FIELDS = frozenset({
    "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "functions",
    "function_call", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs",
    "top_logprobs", "response_format", "reasoning_effort", "verbosity", "prompt_cache_key"})
_PASSED_ON = (b"content-type", b"content-length", b"retry-after", b"cache-control")
_TEXT = re.compile(rb'"(?:content|arguments|name)"\s*:\s*"[^"]')
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Price:
    """USD a token, and how many tokens at most."""

    input_usd: float
    output_usd: float
    context: int
    output: int

    def most(self, body: dict[str, Any], tokens: int) -> float:
        """The most that a call can cost. A token is at least one byte, so that the bytes of what
        is sent bound its tokens; so does the context window."""
        # A picture's address is shorter than the picture: then only the window bounds it.
        sent = self.context if _has_media(body) else len(
            json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return min(sent, self.context) * self.input_usd + tokens * self.output_usd


class Denied(Exception):
    """The request is answered with an error. `kind`: OpenAI's `type`."""

    def __init__(self, status: int, kind: str, message: str, retry_after_s: int | None = None
                 ) -> None:
        super().__init__(message)
        self.status, self.kind, self.retry_after_s = status, kind, retry_after_s


class Gate:
    """An ASGI application around LiteLLM's. `keys`: the folder of grants; `inner_key`: LiteLLM's
    own, made at each start."""

    def __init__(self, inner: App | None, keys: Path, ledger: Ledger, prices: dict[str, Price],
                 inner_key: str, demos: frozenset[str] = frozenset()) -> None:
        """`inner`: LiteLLM's application; None where every model is one of `demos`, the models
        that no provider is behind (`demo`)."""
        self._inner = inner or demo.app
        self._keys, self._ledger, self._demos = keys, ledger, demos
        self._prices, self._inner_key = prices, inner_key

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        elif scope["type"] == "http":
            try:
                await self._route(scope, receive, send)
            except Denied as denied:
                figures.denied(denied.kind)
                headers = {"retry-after": str(denied.retry_after_s)} if denied.retry_after_s else {}
                await _answer(send, denied.status, {"error": {
                    "message": str(denied), "type": denied.kind, "code": denied.kind,
                    "param": None}}, headers)

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == HEALTH:
            await self._health(send)
            return
        if path == FIGURES and _is_local(scope):  # Prometheus, beside it on the host
            await _send(send, 200, figures.render(), figures.CONTENT_TYPE)
            return
        grant = self._grant(scope)
        if path in MODELS and method == "GET":
            await _answer(send, 200, {"object": "list", "data": [
                {"id": name, "object": "model", "owned_by": "instantworker"}
                for name in grant.models]})
        elif path in CHAT and method == "POST":
            await self._chat(grant, scope, receive, send)
        else:
            raise Denied(404, "not_found", f"{method} {path} is not offered here.")

    async def _health(self, send: Send) -> None:
        try:
            await asyncio.to_thread(self._ledger.check)
        except Unavailable as error:
            await _answer(send, 503, {"ok": False, "reason": str(error)})
            return
        await _answer(send, 200, {"ok": True} | (
            {"note": self._ledger.recovered} if self._ledger.recovered else {}))

    def _grant(self, scope: Message) -> Grant:
        """Whose request it is. The file is read each time: to remove it is to revoke the key."""
        shown = dict(scope["headers"]).get(b"authorization", b"")
        key = shown[7:].strip() if shown[:7].lower() == b"bearer " else b""
        path = self._keys / f"{hashlib.sha256(key).hexdigest()}.json"
        try:
            if len(key) < SHORTEST_KEY:
                raise FileNotFoundError
            values = json.loads(path.read_text())
            grant = Grant(**values | {"models": tuple(values["models"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            if not isinstance(error, FileNotFoundError):
                log.error("%s: %s", path.name, error)
            raise Denied(401, "invalid_api_key", "This key is not known, or was revoked.") from None
        address = ipaddress.ip_address((scope.get("client") or ("0.0.0.0", 0))[0])
        if address not in ipaddress.ip_network(grant.subnet):
            log.warning("the key of %s was shown from %s", grant.employee, address)
            raise Denied(403, "wrong_network", "This key opens nothing from here.")
        return grant

    async def _chat(self, grant: Grant, scope: Message, receive: Receive, send: Send) -> None:
        body = _object(await _read(receive))
        asked = body.get("model")
        model = grant.stand_in or asked
        if asked not in grant.models or model not in self._prices:
            raise Denied(403, "model_not_allowed",
                         f"The model {asked!r} is not this employee's; it has "
                         f"{', '.join(grant.models)}.")
        body["model"] = model
        price = self._prices[model]
        most = _bounded(body, price.output)
        try:
            call = await asyncio.to_thread(self._ledger.reserve, grant, model,
                                           price.most(body, most), time.time())
        except Refused as refused:
            status = 429 if refused.retry_after_s else 402
            raise Denied(status, refused.kind, str(refused), refused.retry_after_s) from None
        except Unavailable as error:
            log.error("no call is made: %s", error)
            raise Denied(503, "ledger_unavailable", f"No call is made, since {error}. It is tried "
                         "again by itself; the platform's engineers are told.", 5) from None
        meter, booked, began = Meter(send), price.most(body, most), time.monotonic()
        try:
            inner = demo.app if model in self._demos else self._inner
            await inner(self._inside(scope, body), _replay(body, receive), meter.send)
        finally:
            figures.ended(model, meter.status, time.monotonic() - began)
            # Shielded: who hangs up cancels this task, and the books come first.
            await asyncio.shield(asyncio.to_thread(self._settle, call, meter, price, booked))

    def _settle(self, call: str, meter: Meter, price: Price, booked: float) -> None:
        try:
            if meter.status >= 400 and meter.status not in _PERHAPS_BILLED:
                self._ledger.release(call)
            elif (usage := plausible(meter.usage, meter.produced)) is not None:
                sent, got = usage
                cost = sent * price.input_usd + got * price.output_usd
                # Providers add words of their own (some hundred tokens where there are tools).
                bound = 2 * booked + ADDED_TOKENS * price.input_usd
                if cost > bound:
                    log.warning("call %s: %d + %d tokens are more than was sent and allowed; it "
                                "counts as twice what was reserved", call, sent, got)
                self._ledger.settle(call, min(cost, bound), sent + got)
            else:
                # Cut off before the usage came, or it can't be: the provider may bill all of it.
                if meter.usage is not None:
                    log.warning("call %s: a usage of %s is not believed; it counts as what was "
                                "reserved", call, meter.usage)
                self._ledger.expire_one(call)
        except Unavailable as error:
            # It stays reserved, and counts in full once it is too old to be heard of.
            log.error("call %s can't be settled: %s", call, error)

    def _inside(self, scope: Message, body: dict[str, Any]) -> Message:
        """The request as LiteLLM gets it: with its own key, and none of the sender's headers."""
        return {**scope, "path": CHAT[0], "raw_path": CHAT[0].encode(), "query_string": b"",
                "headers": [(b"authorization", f"Bearer {self._inner_key}".encode()),
                            (b"content-type", b"application/json"),
                            (b"content-length", str(len(_encoded(body))).encode())]}


class Meter:
    """Passes the answer on and reads its usage on the way."""

    def __init__(self, send: Send) -> None:
        self._send, self._rest, self._is_stream = send, b"", False
        self.status = 499  # until an answer begins
        self.usage: dict[str, Any] | None = None
        self.produced = False  # whether the answer held any text or tool call

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._is_stream = kind.startswith(b"text/event-stream")
            # What LiteLLM says of itself (versions, prices, addresses) is nobody's business.
            message = {**message, "headers": [
                (name, value) for name, value in message["headers"] if name in _PASSED_ON]}
        elif message["type"] == "http.response.body":
            self._take(message.get("body", b""), bool(message.get("more_body")))
        await self._send(message)

    def _take(self, data: bytes, more: bool) -> None:
        if self._is_stream:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines if more else [*lines, self._rest]:
                self.produced = self.produced or bool(_TEXT.search(line))
                if line.startswith(b"data: {") and b'"usage"' in line:
                    self._note(line[6:])
        else:
            self._rest += data
            if not more:
                self.produced = bool(_TEXT.search(self._rest))
                self._note(self._rest)

    def _note(self, text: bytes) -> None:
        try:
            usage = json.loads(text).get("usage")
        except (ValueError, AttributeError):
            return
        if isinstance(usage, dict) and usage:
            self.usage = usage


def plausible(usage: dict[str, Any] | None, produced: bool) -> tuple[int, int] | None:
    """Tokens sent and got, when they can be true: whole numbers, something for what was sent, and
    something for what came back."""
    if usage is None:
        return None
    sent, got = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (sent, got)):
        return None
    return (sent, got) if sent > 0 and got >= (1 if produced else 0) else None


def _bounded(body: dict[str, Any], most: int) -> int:
    """Clamps what a call may produce; returns the tokens at most. Changes `body`."""
    asked = [body.pop(name) for name in ("max_tokens", "max_completion_tokens") if name in body]
    numbers = [value for value in asked if isinstance(value, int) and value > 0]
    body["max_tokens"] = min([most, *numbers])
    body["n"] = 1
    for name in ("messages", "tools", "functions"):
        if not isinstance(body.get(name) or [], list):
            raise Denied(400, "invalid_request_error", f"{name} is a list.")
    if any(not isinstance(tool, dict) or tool.get("type") != "function"
           for tool in body.get("tools") or []):
        raise Denied(400, "invalid_request_error", "Only tools of type function are offered.")
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return body["max_tokens"]


def _has_media(body: dict[str, Any]) -> bool:
    return any(not isinstance(part, dict) or part.get("type") != "text"
               for message in body.get("messages") or []
               if isinstance(message, dict) and isinstance(message.get("content"), list)
               for part in message["content"])


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Denied(400, "invalid_request_error", "Send a JSON object.")
    return {name: body[name] for name in body.keys() & _FIELDS}


async def _read(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Denied(400, "invalid_request_error", "The request ended early.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            raise Denied(413, "invalid_request_error",
                         f"The request is larger than {MOST_BYTES >> 20} MiB.")
        if not message.get("more_body"):
            return b"".join(parts)


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _replay(body: dict[str, Any], receive: Receive) -> Receive:
    """The read request again for LiteLLM; after it, whatever comes (a hang-up)."""
    waiting = [_encoded(body)]

    async def next_message() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()
    return next_message


def _is_local(scope: Message) -> bool:
    return ipaddress.ip_address((scope.get("client") or ("0.0.0.0", 0))[0]).is_loopback


async def _answer(send: Send, status: int, value: Any, headers: dict[str, str] | None = None
                  ) -> None:
    await _send(send, status, json.dumps(value).encode(), b"application/json", headers)


async def _send(send: Send, status: int, data: bytes, kind: bytes,
                headers: dict[str, str] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", kind), (b"content-length", str(len(data)).encode()),
        *((name.encode(), text.encode()) for name, text in (headers or {}).items())]})
    await send({"type": "http.response.body", "body": data})
