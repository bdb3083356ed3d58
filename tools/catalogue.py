"""The first catalogue of skills (`tools/skills/`), written into the state repo by set-up.

From then on it is the state repo's: what somebody changed or removed there stays so. What nobody
touched follows the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from state_repo.documents import skill_path
from state_repo.snapshot import CustomerView
from state_repo.store import Author, Files, Store

FOLDER = Path(__file__).parent / "skills"


def shipped() -> dict[str, str]:
    """The skills that come with the code: name to SKILL.md's text."""
    return {path.parent.name: path.read_text() for path in sorted(FOLDER.glob("*/SKILL.md"))}


def teach(store: Store, author: Author, last: Mapping[str, str]) -> dict[str, str]:
    """Writes the catalogue. `last`: what it wrote the last time, name to digest; returns what to
    remember for the next one."""
    ours = shipped()

    def change(view: CustomerView) -> Files:
        there = view.platform.skills
        if there and not last:
            return {}  # another machine's set-up wrote it, or people did
        return {skill_path(name): text for name, text in ours.items()
                if (name not in last if name not in there
                    else there[name].text != text and last.get(name) == _digest(there[name].text))}
    store.commit(author, "Set the catalogue of skills", change)
    return {name: _digest(text) for name, text in ours.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
