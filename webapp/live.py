"""What live pages are told: one customer's team, as server-sent events.

    team      all employees, when a page connects
    seats     the customer with its seats, when a page connects and whenever they change
    employee  one employee that is new or changed
    gone      {"id": …}: one that is no more

`Feed` says what a page has yet to be told; `streams` serves it to many pages at once, and
`event_stream` to one, where there is nothing but a WSGI server (tests).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, current_app

from webapp import team
from webapp.errors import Problem

LOOK_S = 0.5
BREATH_S = 15.0
RETRY = "retry: 1000\n\n"
BREATH = ": still here\n\n"
_LONGEST_S = 600.0  # then the browser connects again
_MOST_GONE = 1000
Look = tuple[list[dict[str, Any]], dict[str, Any] | None]


class Feed:
    """Each change of the team has a number. A page that was told everything up to one number is
    told the rest in one piece, however much that is: nothing piles up for a slow reader."""

    def __init__(self) -> None:
        self.number = 0
        self._people: dict[str, tuple[int, str]] = {}
        self._gone: dict[str, int] = {}
        self._seats: tuple[int, str] = (0, "")
        self._whole = 1  # who knows less than this is told everything

    def update(self, look: Look) -> bool:
        """Takes in the team as it is now; says whether anything changed."""
        employees, seats = look
        number, before = self.number + 1, self._people
        self._people = {}
        for employee in employees:
            text, old = json.dumps(employee), before.get(employee["id"])
            self._people[employee["id"]] = old if old and old[1] == text else (number, text)
            self._gone.pop(employee["id"], None)
        self._gone |= dict.fromkeys(before.keys() - self._people.keys(), number)
        if len(self._gone) > _MOST_GONE:
            self._gone, self._whole = {}, number
        if seats is not None and (text := json.dumps(seats)) != self._seats[1]:
            self._seats = (number, text)
        changed = number == 1 or self._seats[0] == number or number in self._gone.values() or any(
            changed_at == number for changed_at, _ in self._people.values())
        if changed:
            self.number = number
        return changed

    def since(self, number: int) -> str:
        """What happened after that number, as events; empty when nothing did."""
        if number < self._whole:
            told = [_event("team", f"[{', '.join(text for _, text in self._people.values())}]")]
        else:
            told = [_event("employee", text) for changed_at, text in self._people.values()
                    if changed_at > number]
            told += [_event("gone", json.dumps({"id": id})) for id, went_at in self._gone.items()
                     if went_at > number]
        if self._seats[0] > number:
            told.append(_event("seats", self._seats[1]))
        return "".join(told)


def look(known: Mapping[str, str | None]) -> dict[str, tuple[str, Look | None]]:
    """Customers' versions, and the teams of those whose version is not the known one."""
    versions = team.versions(list(known))
    changed = [customer for customer, version in versions.items() if version != known[customer]]
    teams = team.teams(changed)
    return {customer: (version, (teams[customer], _seats(customer)) if customer in teams else None)
            for customer, version in versions.items()}


def _seats(customer: str) -> dict[str, Any] | None:
    try:
        return team.seats(customer)
    except Problem:
        return None  # its document holds a mistake: what was said before stays


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"


def event_stream(customer: str) -> Response:
    """Declares the stream, its access and its headers. The server (`streams`) takes over from
    here; only where it is not does the body below run, in a thread of its own."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def events() -> Iterator[str]:
        feed, told, version = Feed(), 0, None
        began = spoke = time.monotonic()
        yield RETRY
        while time.monotonic() - began < _LONGEST_S:
            with app.app_context():
                version, seen = look({customer: version})[customer]
            if seen is not None and feed.update(seen):
                text, told, spoke = feed.since(told), feed.number, time.monotonic()
                yield text
            elif time.monotonic() - spoke > BREATH_S:
                spoke = time.monotonic()
                yield BREATH
            time.sleep(LOOK_S)
    return Response(events(), mimetype="text/event-stream",
                    headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
