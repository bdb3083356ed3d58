"""The threads that converge: a worker survives whatever its work meets, and one that does not
come back is named and replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reconciler.decide import Action
from reconciler.queue import FairQueue

log = logging.getLogger(__name__)
# The engine is ended after 300 s, and what comes before and after it has time limits too.
WEDGED_S = 600.0


@dataclass(eq=False, slots=True)
class Worker:
    """`stack` and `since` (monotonic seconds): what it is at. `dismissed`: it was replaced, and
    ends with what it is at."""

    name: str
    thread: threading.Thread | None = None
    stack: str | None = None
    since: float = 0.0
    dismissed: bool = False


class Workers:
    """`work(action, since)` converges one Action; `tell(message)` says what went wrong here."""

    def __init__(self, queue: FairQueue, work: Callable[[Action, float], Any], count: int,
                 tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._work, self._count, self._tell = queue, work, count, tell
        self._clock, self._stop = clock, threading.Event()
        self._workers: list[Worker] = []
        self._made = 0

    def start(self) -> None:
        for _ in range(self._count):
            self._add()

    def stop(self) -> None:
        """Nobody begins anything new. `join` waits for what runs."""
        self._stop.set()
        self._queue.close()

    def join(self, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        for worker in self._workers:
            if worker.thread is not None:
                worker.thread.join(max(0.0, until - time.monotonic()))

    def live(self) -> int:
        """How many can take work: they live, and are not wedged."""
        return sum(w.thread is not None and w.thread.is_alive() and not w.dismissed
                   for w in self._workers)

    def wedged(self) -> dict[str, float]:
        """By stack, since how many seconds a worker that was given up is at it."""
        return {w.stack: self._clock() - w.since for w in self._workers
                if w.dismissed and w.stack is not None}

    def tend(self) -> None:
        """Replaces who died and who is wedged. Called at every turn of the loop."""
        if self._stop.is_set():
            return
        for worker in list(self._workers):
            alive = worker.thread is not None and worker.thread.is_alive()
            if not alive:
                self._workers.remove(worker)
                if not worker.dismissed:
                    self._tell(f"{worker.name} died; another one takes its place")
            elif worker.stack and not worker.dismissed and (
                    self._clock() - worker.since > WEDGED_S):
                worker.dismissed = True
                self._tell(f"{worker.name} has been at {worker.stack} for "
                           f"{self._clock() - worker.since:.0f} s and does not come back; another "
                           f"one takes its place, and {worker.stack} waits until it ends. A "
                           "restart (`make down`, `make run`) ends it")
        while self.live() < self._count:
            self._add()

    def _add(self) -> None:
        self._made += 1
        worker = Worker(f"worker-{self._made}")
        worker.thread = threading.Thread(target=self._run, args=(worker,), name=worker.name,
                                         daemon=True)
        self._workers.append(worker)
        worker.thread.start()

    def _run(self, worker: Worker) -> None:
        while not self._stop.is_set() and not worker.dismissed:
            got = self._queue.get(timeout_s=1.0)
            if got is None:
                continue
            action, since = got
            worker.since, worker.stack = self._clock(), action.stack
            try:
                self._work(action, since)
            except Exception:  # the place in the queue is given back, and the thread lives on
                log.exception("%s: what went wrong could not be dealt with", action.stack)
            finally:
                worker.stack = None
                self._queue.done(action.stack)
