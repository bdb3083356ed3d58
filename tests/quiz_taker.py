"""A fake's way to pass a quiz: it looks each answer up, word by word, in what it was given to read.

No model: it knows how `webapp.quiz` asks. What it proves is the way there and back, that the
instructions are in the prompt, that documents can be read, and that answers come home; not that
anything was understood.
"""

from __future__ import annotations

import re

_QUESTION = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
_SOURCE = re.compile(r", according to (.+?)\?")
_IDENTITY = re.compile(r"You are (?P<name>[^,\n]+), (?P<job>[^\n]+?) at (?P<company>[^\n.]+)\.")
_DONT_KNOW = "I don't know"


def is_quiz(text: str) -> bool:
    return bool(re.search(r"(^|\s)QUIZ$", text, re.MULTILINE)) and bool(_QUESTION.search(text))


def documents(text: str) -> list[str]:
    """Which documents the questions are about."""
    return sorted({found[1] for found in _SOURCE.finditer(text)})


def answers(text: str, read: str) -> str:
    """One line a question."""
    return "\n".join(f"{found[1]}. {_answer(found[2], read)}"
                     for found in _QUESTION.finditer(text))


def _answer(question: str, read: str) -> str:
    quoted = re.findall(r"“([^”]+)”", question)
    blank = next((q for q in quoted if "____" in q), None)
    if "Which tone" in question:
        return _line(r"\*\*Tone\*\*: ([^.\n]+)", read)
    if "Whom do you ask" in question:
        return _line(r"\*\*When unsure, ask\*\*: (.+)", read)
    for word, group in (("name here", "name"), ("job here", "job"), ("company", "company")):
        if f"{word}?" in question or (word == "company" and "work for?" in question):
            said = _IDENTITY.search(read)
            return said[group] if said else _DONT_KNOW
    if blank:
        return _line(re.escape(blank).replace("____", r"(\w+)"), read)
    if len(quoted) == 2:
        return _cell(*quoted, read)
    if quoted:
        return _line(rf"^\W*{re.escape(quoted[0])}\**:\**\s+(.+)", read)
    costs = re.search(r"What does (.+) cost", question)
    return _line(rf"{re.escape(costs[1])} costs? ([^\n]+)", read) if costs else _DONT_KNOW


def _line(pattern: str, read: str) -> str:
    found = re.search(pattern, read, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else _DONT_KNOW


def _cell(column: str, row: str, read: str) -> str:
    header: list[str] = []
    for line in read.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if column in cells:
            header = cells
        elif header and cells[0] == row and len(cells) == len(header):
            return cells[header.index(column)]
    return _DONT_KNOW
