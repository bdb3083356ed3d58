"""The lessons that an employee wrote into its log, one JSON object a line.

The log is the agent's: whatever is no lesson is passed over, and what is too long is cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date

LOG = "learning/log.jsonl"
MOST_BYTES = 1024 * 1024
MOST_LESSONS = 500
MOST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Noted:
    """One lesson. `id` is made from its text, so that the same lesson is the same lesson."""

    id: str
    lesson: str
    evidence: str
    learned_on: str


def parse(text: str) -> list[Noted]:
    """The log's lessons, the newest first, each once."""
    found: dict[str, Noted] = {}
    for line in text.splitlines():
        noted = _noted(line)
        if noted is not None:
            found.setdefault(noted.id, noted)
    return list(found.values())[::-1][:MOST_LESSONS]


def _noted(line: str) -> Noted | None:
    try:
        values = json.loads(line)
        lesson, evidence = (_clean(values[name]) for name in ("lesson", "evidence"))
        day = date.fromisoformat(str(values["date"])).isoformat()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not lesson or not evidence:
        return None
    digest = hashlib.sha256(f"{lesson}\n{day}".encode()).hexdigest()[:16]
    return Noted(f"lesson-{digest}", lesson, evidence, day)


def _clean(text: object) -> str:
    """One line of plain text."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:MOST_TEXT]
