"""The trace that a request acts in (see `state_repo.journal`), and a line in the log of each that
changes something or fails. The visitor finds the trace in the answer's X-Trace-Id, to tell us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, request

from state_repo import journal
from webapp import access

log = logging.getLogger(__name__)


def traced(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Everything that answers a request is done in the visitor's trace, or in one of its own."""
    def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        came = journal.trace_of(environ.get("HTTP_TRACEPARENT"))
        with journal.about(trace=came or journal.new_trace()):
            return app(environ, start_response)
    return wsgi


def register(app: Flask) -> None:
    app.jinja_env.globals["trace"] = journal.trace

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers["X-Trace-Id"] = journal.trace() or ""
        if request.method not in access.SAFE or response.status_code >= 500:
            named = request.view_args or {}
            with journal.about(customer=named.get("customer"), employee=named.get("employee")):
                # The path without its query: that may hold what only the visitor should know.
                log.info("%s %s: %d in %.0f ms", request.method, request.path,
                         response.status_code,
                         (time.perf_counter() - g.get("began", time.perf_counter())) * 1000)
        return response
