"""The demo model: a few rules that act, so that a newcomer without a provider's key sees an
employee open a page, write a file, remember a fact and look something up.

It understands plain requests, asks for the employee's real tools, and tells what came of it. Each
answer says that it is the demo model, and that a real one does more. It costs nothing.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
MOST_SHOWN = 1_200  # characters of what a tool said
_ABOUT = "This is the demo model: it follows a few fixed rules, and understands nothing else."
_KEY = "A real model does what you describe, in your words. Set a provider’s key to get one (see " \
       "README, “A real model”), and start again."
CAN = (_ABOUT + " Try one of these:\n\n"
       "- Open example.com\n"
       "- Write to notes/plan.md: Call the printer on Monday\n"
       "- Remember that our office closes at five\n"
       "- What do you remember about our office?\n"
       "- What do you know about prices?\n"
       "- Who are you?\n\n" + _KEY)
_URL = re.compile(r"\b(?:https?://\S+|(?:[a-z0-9-]+\.)+[a-z]{2,}(?:/\S*)?)", re.IGNORECASE)
_OPEN = re.compile(r"\b(?:open|visit|go to|show me|browse(?: to)?|look at)\b", re.IGNORECASE)
_WRITE = re.compile(r"\b(?:write|save|note|put)\b(?P<before>[^:]*?)\b(?:to|in|into|as)?\s*"
                    r"(?P<path>[\w./-]+\.[a-z]{1,5})\s*[:,]\s*(?P<text>.+)",
                    re.IGNORECASE | re.DOTALL)
_JUST_WRITE = re.compile(r"\b(?:write|make|take) (?:a |down a )?note(?: that|:)?\s+(?P<text>.+)",
                         re.IGNORECASE | re.DOTALL)
_REMEMBER = re.compile(r"\bremember(?: that|:)?\s+(?P<text>.+)", re.IGNORECASE | re.DOTALL)
_RECALL = re.compile(r"\bwhat do you remember(?: (?:about|of))?\s+(?P<words>[^?.!\n]+)",
                     re.IGNORECASE)
_LOOK_UP = re.compile(r"\b(?:what do you know about|what do we know about|look up|search(?: for)?|"
                      r"find(?: out)?(?: about)?|what is our|what are our|"
                      r"how much (?:is|are|does|do))\s+(?:the |our |a |an )?(?P<words>[^?.!\n]+)",
                      re.IGNORECASE)
_WHO = re.compile(r"\b(?:who|what) are you\b|\bintroduce yourself\b", re.IGNORECASE)
# As AGENTS.md puts it; the gateway's own prompt begins with "You are" as well.
_IDENTITY = re.compile(r"^You are ([^,\n]+, [^\n]+? at [^\n.]+)\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Turn:
    """What is said next: a text, or a tool to call."""

    text: str = ""
    tool: str = ""
    arguments: dict[str, Any] | None = None


def answer(body: dict[str, Any]) -> Turn:
    """What to say to a chat request, as OpenAI's API puts it. Pure."""
    messages = [m for m in body.get("messages") or [] if isinstance(m, dict)]
    tools = {(tool.get("function") or {}).get("name") for tool in body.get("tools") or []
             if isinstance(tool, dict)}
    asked: list[str] = []
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if message.get("role") == "tool":
            return _told(_text(message), messages[:number])
        if message.get("role") == "assistant":
            break
        if message.get("role") == "user":
            asked.append(_text(message))
    for text in asked:  # the newest first; the gateway adds messages of its own
        turn = _asked(_said(text), "\n".join(
            _text(m) for m in messages if m.get("role") in ("system", "developer")))
        if turn is not None and (not turn.tool or turn.tool in tools):
            return turn
    return Turn(CAN)


def _asked(text: str, known: str) -> Turn | None:
    if text.startswith("QUIZ"):  # it can't be educated: a quiz asks for nothing to be done
        return Turn(CAN)
    if _WHO.search(text):
        found = _IDENTITY.search(known)
        who = f"I am {found[1]}." if found else "I am an AI employee."
        return Turn(f"{who}\n\n{_ABOUT} {_KEY}")
    if (found := _RECALL.search(text)) is not None:
        longest = max(found["words"].split(), key=len, default="")
        return Turn(tool="exec", arguments={
            "command": f"grep -rih -- {shlex.quote(longest)} MEMORY.md memory"})
    if (found := _REMEMBER.search(text)) is not None:
        fact = " ".join(found["text"].split())
        return Turn(tool="exec", arguments={
            "command": f"printf '%s\\n' {shlex.quote(f'- {fact}')} >> MEMORY.md"})
    if (found := _WRITE.search(text)) is not None:
        return Turn(tool="write", arguments={"path": found["path"].lstrip("/"),
                                             "content": found["text"].strip() + "\n"})
    if (found := _JUST_WRITE.search(text)) is not None:
        return Turn(tool="write", arguments={"path": "notes/note.md",
                                             "content": found["text"].strip() + "\n"})
    if _OPEN.search(text) and (found := _URL.search(text)) is not None:
        url = found[0].rstrip(".,!?)")
        return Turn(tool="browser", arguments={
            "action": "open", "url": url if "://" in url else f"https://{url}"})
    if (found := _LOOK_UP.search(text)) is not None:
        words = found["words"].split()
        longest = max(words, key=len) if words else ""
        return Turn(tool="exec", arguments={
            "command": f"knowledge {shlex.quote(longest)}"}) if longest else None
    return None


def _told(said: str, before: list[dict[str, Any]]) -> Turn:
    """After a tool: what came of it."""
    name, arguments = _last_call(before)
    if '"status": "error"' in said or '"status":"error"' in said:
        return Turn(f"That did not work: {said[:MOST_SHOWN]}\n\n{_ABOUT}")
    if name == "browser":
        done = (f"I opened {arguments.get('url', 'the page')}. Watch it in the browser beside this "
                "chat.")
    elif name == "write":
        done = f"I wrote it to {arguments.get('path', 'a file')}. You find it under Files."
    elif str(arguments.get("command", "")).startswith("grep "):
        done = f"In my memory:\n\n{said.strip()[:MOST_SHOWN]}"
    elif "MEMORY.md" in str(arguments.get("command", "")):
        done = "I will remember that: it stands in my memory (MEMORY.md)."
    else:
        done = f"In what your company gave me to read:\n\n{said.strip()[:MOST_SHOWN]}"
    return Turn(f"{done}\n\n(I am the demo model. {_KEY})")


def _last_call(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    for message in reversed(messages):
        for call in message.get("tool_calls") or []:
            function = call.get("function") or {}
            try:
                arguments = json.loads(function.get("arguments") or "{}")
            except ValueError:
                arguments = {}
            return str(function.get("name")), arguments if isinstance(arguments, dict) else {}
    return "", {}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def _said(text: str) -> str:
    """What a person wrote, without what the gateway puts around it (times, blocks of metadata)."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [re.sub(r"^\[[^\]]*\]\s*", "", line) for line in text.splitlines()]
    return "\n".join(line for line in lines if line.strip()
                     and not line.startswith(("System:", "Conversation info", "Sender"))).strip()


# ---- as an ASGI application in LiteLLM's place ---------------------------------------------------

async def app(scope: Message, receive: Callable[[], Awaitable[Message]],
              send: Callable[[Message], Awaitable[None]]) -> None:
    """OpenAI's chat completion, streamed or not."""
    body = json.loads((await receive())["body"])
    turn = answer(body)
    sent = max(1, len(json.dumps(body)) // 4)
    got = max(1, len(turn.text or json.dumps(turn.arguments)) // 4)
    usage = {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got}
    kind = b"text/event-stream" if body.get("stream") else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    pieces = _stream(body, turn, usage) if body.get("stream") else _whole(body, turn, usage)
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _message(turn: Turn) -> dict[str, Any]:
    if not turn.tool:
        return {"role": "assistant", "content": turn.text}
    return {"role": "assistant", "content": None, "tool_calls": [{
        "id": f"call_demo_{time.time_ns()}", "type": "function", "function": {
            "name": turn.tool, "arguments": json.dumps(turn.arguments)}}]}


def _whole(body: dict[str, Any], turn: Turn, usage: dict[str, int]) -> Iterator[bytes]:
    yield json.dumps({
        "id": "demo", "object": "chat.completion", "created": int(time.time()),
        "model": body.get("model"), "usage": usage, "choices": [{
            "index": 0, "message": _message(turn),
            "finish_reason": "tool_calls" if turn.tool else "stop"}]}).encode()


def _stream(body: dict[str, Any], turn: Turn, usage: dict[str, int]) -> Iterator[bytes]:
    def chunk(choices: list[Any], **more: Any) -> bytes:
        return b"data: " + json.dumps({
            "id": "demo", "object": "chat.completion.chunk", "created": int(time.time()),
            "model": body.get("model"), "choices": choices, **more}).encode() + b"\n\n"
    message = _message(turn)
    if turn.tool:
        calls = [{"index": 0, **message["tool_calls"][0]}]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": calls}]
    else:
        words = turn.text.split(" ")
        deltas = [{"role": "assistant"}, *({"content": word + (" " if n < len(words) - 1 else "")}
                                           for n, word in enumerate(words))]
    for delta in deltas:
        yield chunk([{"index": 0, "delta": delta, "finish_reason": None}])
    yield chunk([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if turn.tool else "stop"}])
    yield chunk([], usage=usage)
    yield b"data: [DONE]\n\n"
