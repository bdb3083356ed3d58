"""An engineer's word, kept in a file: which rewritten history may be taken, and who may stop."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from reconciler.decide import Confirmed


class Confirmation:
    def __init__(self, path: Path) -> None:
        self._path, self._guard = path, threading.Lock()

    def read(self) -> Confirmed:
        try:
            found = json.loads(self._path.read_text())
            return Confirmed(found["commit"], frozenset(found["employees"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Confirmed()

    def write(self, confirmed: Confirmed) -> None:
        with self._guard:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            with open(fresh, "w") as file:
                json.dump({"commit": confirmed.commit,
                           "employees": sorted(confirmed.employees)}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._path)

    def keep(self, stopping: frozenset[str]) -> None:
        """Forgets those who do not wait to be stopped any more: a word holds once."""
        now = self.read()
        if now.employees - stopping:
            self.write(Confirmed(now.commit, now.employees & stopping))
