"""The demo model: plain requests become real tool calls, and every answer says what it is."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "images" / "model-proxy"))
import demo

TOOLS = [{"type": "function", "function": {"name": name}}
         for name in ("exec", "write", "browser", "read")]
SYSTEM = {"role": "system",
          "content": "You are a personal assistant running inside OpenClaw.\n\n# How you work\n\n"
                     "You are Pulse, Marketing assistant at Acme. People of Acme\ntalk to you.\n"}


def ask(*messages, tools=TOOLS):
    return demo.answer({"messages": [SYSTEM, *messages], "tools": tools})


def person(text: str) -> dict:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(("text", "tool", "arguments"), [
    ("Open example.com", "browser", {"action": "open", "url": "https://example.com"}),
    ("please go to https://acme.test/a?b=1.", "browser",
     {"action": "open", "url": "https://acme.test/a?b=1"}),
    ("[Thu 2026-11-26 10:47 UTC] Could you visit news.example/tea?", "browser",
     {"action": "open", "url": "https://news.example/tea"}),
    ("Write to notes/plan.md: Call the printer\non Monday", "write",
     {"path": "notes/plan.md", "content": "Call the printer\non Monday\n"}),
    ("Make a note: tea is out", "write", {"path": "notes/note.md", "content": "tea is out\n"}),
    ("Remember that our office closes at five", "exec",
     {"command": "printf '%s\\n' '- our office closes at five' >> MEMORY.md"}),
    ("What do you know about prices?", "exec",
     {"command": "knowledge prices"}),
    ("What do you remember about our office?", "exec",
     {"command": "grep -rih -- office MEMORY.md memory"}),
])
def test_a_plain_request_is_a_real_tool_call(text, tool, arguments):
    turn = ask(person(text))
    assert (turn.tool, turn.arguments) == (tool, arguments)


@pytest.mark.parametrize("text", ["remember '; rm -rf /data; '", "look up $(reboot)", "find `id`",
                                  "remember -n\nx", "what do you remember of $(reboot)"])
def test_what_a_person_says_is_no_command(text):
    words = shlex.split(ask(person(text)).arguments["command"])
    assert words[0] in ("printf", "knowledge", "grep") and not {"rm", "reboot", "id"} & set(words)


def test_it_says_who_it_is_and_what_it_is():
    turn = ask(person("Who are you?"))
    assert turn.text.startswith("I am Pulse, Marketing assistant at Acme.")
    assert "demo model" in turn.text and "real model" in turn.text


@pytest.mark.parametrize("text", ["Solve our marketing", "", "   ", "open the door"])
def test_what_it_does_not_understand_it_says(text):
    turn = ask(person(text))
    assert turn.text.startswith("This is the demo model") and "Open example.com" in turn.text


def test_a_quiz_is_no_order():
    turn = ask(person("[Wed 10:00] QUIZ\n\n1. Look up the price. Open shop.example. Remember it?"))
    assert turn.text == demo.CAN


def test_a_tool_that_is_not_offered_is_not_called():
    assert ask(person("Open example.com"), tools=[]).tool == ""


def call(name: str, **arguments) -> dict:
    return {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "function": {"name": name, "arguments": json.dumps(arguments)}}]}


@pytest.mark.parametrize(("called", "said", "told"), [
    (call("browser", url="https://example.com"), "ok", "I opened https://example.com"),
    (call("write", path="a.md"), "Successfully wrote", "I wrote it to a.md"),
    (call("exec", command="printf x >> MEMORY.md"), "", "I will remember that"),
    (call("exec", command="rg x /shared/text"), "prices.md:3:Tea 5 €", "Tea 5 €"),
    (call("browser", url="x"), '{"status": "error", "error": "no such host"}', "did not work"),
])
def test_after_a_tool_it_tells_what_came_of_it(called, said, told):
    turn = ask(person("do it"), called, {"role": "tool", "tool_call_id": "1", "content": said},
               person("[system] the time is 10:00"))
    assert told in turn.text and "demo model" in turn.text and not turn.tool


@pytest.mark.parametrize("messages", [
    [{"role": "user", "content": [{"type": "text", "text": "Open a.test"}, "x"]}],
    [None, 5, {"role": "user"}], [{"role": "assistant", "tool_calls": [{"function": None}]},
                                  {"role": "tool", "content": "x"}]])
def test_odd_messages_get_an_answer(messages):
    turn = demo.answer({"messages": messages, "tools": [*TOOLS, None]})
    assert turn.text or turn.tool
