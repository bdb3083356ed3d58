"""Live views: one stream of server-sent events a page, fed by the status tables' version."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import Response, stream_with_context

from webapp import team
from webapp.models import db

_LOOK_S = 0.5
_BREATH_S = 15.0
_LONGEST_S = 600.0  # then the browser connects again, and its session is checked again


def event_stream(customer: str) -> Response:
    def events() -> Iterator[str]:
        db.session.remove()  # holds no connection while it waits
        began = spoke = time.monotonic()
        last: tuple[str, str | None] | None = None
        yield "retry: 1000\n\n"
        while time.monotonic() - began < _LONGEST_S:
            current = (team.status().version(customer), team.store().head())
            if current != last:
                last, spoke = current, time.monotonic()
                yield f"event: team\ndata: {json.dumps(team.employees(customer))}\n\n"
            elif time.monotonic() - spoke > _BREATH_S:
                spoke = time.monotonic()
                yield ": still here\n\n"
            time.sleep(_LOOK_S)
    return Response(stream_with_context(events()), mimetype="text/event-stream",
                    headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
