"""Turns with an employee that its company asks for outside the chat: a quiz. It is woken first,
and waited for, as it is for a visitor."""

from __future__ import annotations

import threading
import time
from typing import Any

from reconciler import ReconcilerError
from reconciler.fleet import Fleet
from reconciler.probe import FIRST_ANSWER_S, turn
from reconciler.rest import Rest

ANSWER_S = 150.0  # it may look into documents first
MOST_AT_ONCE = 4  # each holds one thread of the internal API
_LOOK_S = 0.2


class Turns:
    def __init__(self, fleet: Fleet, rest: Rest) -> None:
        self._fleet, self._rest = fleet, rest
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def ask(self, employee: str, text: str) -> dict[str, Any]:
        """What the employee answers, and the seconds that it took.

        Raises:
            ReconcilerError: it does not work now, too many are asked, or it gave no answer.
        """
        if not self._free.acquire(blocking=False):
            raise ReconcilerError("other employees are being asked right now; try again in a "
                                  "minute")
        try:
            self._rest.wake(employee)
            address = self._ready(employee, time.monotonic() + FIRST_ANSWER_S)
            visitor = self._fleet.visitor(employee)
            if visitor is None:
                raise ReconcilerError("it was not seen yet; try again in a moment")
            began = time.monotonic()
            said = turn(address, visitor, text, ANSWER_S)
            return {"text": said, "seconds": round(time.monotonic() - began, 1)}
        finally:
            self._free.release()

    def _ready(self, employee: str, deadline: float) -> str:
        """Its address, once it lets its customer in."""
        while True:
            row = self._fleet.rows().get(employee)
            if row is None or row["desired_state"] != "running":
                raise ReconcilerError("it is not at work; resume it first")
            if row["health_status"] == "Healthy" and row["address"] and not row["asleep_since"]:
                return row["address"]
            if row["health_status"] not in ("Healthy", "Progressing") or (
                    time.monotonic() >= deadline):
                raise ReconcilerError("it can't answer now: "
                                      + (row["reason"] or "it is not ready yet"))
            time.sleep(_LOOK_S)
