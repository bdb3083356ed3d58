"""What is installed is what is locked: every requirement, by the version that its list names, and
each with its hashes."""

from __future__ import annotations

import re

import pytest

from tools.lock import LISTS
from tools.machine import ROOT, lock_of

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)


def pins(text: str) -> list[tuple[str, str]]:
    return [(re.sub(r"[-_.]+", "-", name).lower(), version)
            for name, version in _PIN.findall(text)]


@pytest.mark.parametrize("name", LISTS)
def test_a_lock_follows_its_list(name):
    locked = lock_of(ROOT / name).read_text()
    assert set(pins((ROOT / name).read_text())) <= set(pins(locked)), "run `make lock`"
    entries = re.split(r"^(?=\S)", locked, flags=re.MULTILINE)[1:]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_every_list_of_requirements_has_a_lock():
    found = [*ROOT.glob("requirements*.txt"), *ROOT.glob("images/*/*requirements*.txt")]
    assert {str(path.relative_to(ROOT)) for path in found} == set(LISTS)
