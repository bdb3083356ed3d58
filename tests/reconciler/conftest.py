from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reconciler.fake_world import House


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A reconciler in a fake world, with the customer acme. Whoever runs answers: probes are
    another module's matter."""
    monkeypatch.setattr("reconciler.fleet.wait_until_ready", lambda *_: None)
    monkeypatch.setattr("reconciler.fleet.answers", lambda *_: None)
    made = House(tmp_path)
    made.customer("acme")
    yield made
    made.close()
