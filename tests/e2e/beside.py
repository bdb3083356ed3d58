"""What is looked at beside a test, while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Beside:
    """Looks every so often, until `end`."""

    def __init__(self, look: Callable[[], None], every_s: float) -> None:
        self._look, self._every_s, self._over = look, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._look()

    def end(self) -> None:
        self._over.set()
        self._thread.join()


class Away:
    """For how long, at most, nobody answered."""

    def __init__(self, answers: Callable[[], object], every_s: float) -> None:
        self._answers, self._seen, self._longest_s = answers, time.monotonic(), 0.0
        self._beside = Beside(self._look, every_s)

    def _look(self) -> None:
        if self._answers():
            self._longest_s = max(self._longest_s, time.monotonic() - self._seen)
            self._seen = time.monotonic()

    def end(self) -> float:
        """In seconds."""
        self._beside.end()
        return self._longest_s
