"""An engineer's word, kept in a file: which rewritten history may be taken, and who may stop."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler.decide import Confirmed
from state_repo.files import write_secret


class Confirmation:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Confirmed:
        try:
            found = json.loads(self._path.read_text())
            return Confirmed(found["commit"], frozenset(found["employees"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Confirmed()

    def write(self, confirmed: Confirmed) -> None:
        write_secret(self._path, json.dumps({"commit": confirmed.commit,
                                             "employees": sorted(confirmed.employees)}))

    def keep(self, stopping: frozenset[str]) -> None:
        """Forgets those who do not wait to be stopped any more: a word holds once."""
        now = self.read()
        if now.employees - stopping:
            self.write(Confirmed(now.commit, now.employees & stopping))
