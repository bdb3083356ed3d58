"""The fair queue: one place a stack, never two runs of one stack at once, people's changes first.

An Action for a stack that already waits replaces the waiting one (coalescing): what counts is the
newest desired state. An Action for a stack that is being converged waits until that run is over.
Whoever waits grows older, so that nobody waits for ever behind the people's changes; full looks
at reality, which are due in great numbers and hurry nobody, run one at a time.
"""

from __future__ import annotations

import random
import threading
from datetime import timedelta

from reconciler.decide import Action

# Seconds by which each cause lets the others go ahead.
_LETS_AHEAD = {"commit": 0.0, "drift": 5.0, "retry": 10.0, "refresh": 600.0}
REFRESHES_AT_ONCE = 1


def backoff(failures: int, *, first_s: float = 1.0, most_s: float = 120.0,
            rng: random.Random | None = None) -> timedelta:
    """The wait after so many failures: doubling, at most `most_s`, with ±20 % of jitter so that
    stacks that failed together do not come back together."""
    wait = min(most_s, first_s * 2 ** min(failures - 1, 20))
    return timedelta(seconds=wait * (rng or random).uniform(0.8, 1.2))


class FairQueue:
    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Action, float]] = {}
        self._running: dict[str, Action] = {}
        self._closed = False
        self._changed = threading.Condition()

    def put(self, action: Action, now: float) -> bool:
        """Queues the action; `now` (monotonic seconds) is kept from the first of a coalesced
        row. Returns False when the same work already waits or runs."""
        with self._changed:
            running = self._running.get(action.stack)
            if running is not None and running.digest == action.digest:
                return False  # what this run leaves wrong, the next look at reality will show
            before = self._waiting.get(action.stack)
            if before is not None and before[0] == action:
                return False
            self._waiting[action.stack] = (action, before[1] if before else now)
            self._changed.notify()
            return before is None

    def get(self, timeout_s: float) -> tuple[Action, float] | None:
        """The next action whose stack is not being converged, or None after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next() is not None, timeout_s)
            stack = self._next()
            if stack is None or self._closed:
                return None
            action, since = self._waiting.pop(stack)
            self._running[stack] = action
            return action, since

    def done(self, stack: str) -> None:
        with self._changed:
            self._running.pop(stack, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Wakes every waiting `get`; nothing more is handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def running(self, stack: str) -> bool:
        with self._changed:
            return stack in self._running

    def depth(self) -> int:
        with self._changed:
            return len(self._waiting)

    def oldest(self) -> float | None:
        """Since when (monotonic seconds) the Action waits that waits longest."""
        with self._changed:
            return min((since for _, since in self._waiting.values()), default=None)

    def _next(self) -> str | None:
        refreshes = sum(action.cause == "refresh" for action in self._running.values())
        return min((stack for stack, (action, _) in self._waiting.items()
                    if stack not in self._running and not (
                        action.cause == "refresh" and refreshes >= REFRESHES_AT_ONCE)),
                   key=lambda stack: _LETS_AHEAD[self._waiting[stack][0].cause]
                   + self._waiting[stack][1], default=None)
