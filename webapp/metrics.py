"""What Prometheus reads of the web app: /metrics on its loopback port (`server`), which the edge
passes on to nobody."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Metrics", "of", "register"]


class Metrics:
    """Of one app. No label names a customer, an employee or a person."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.seconds = Histogram(
            "webapp_request_duration_seconds", "Time to make an answer, without sending it.",
            ["endpoint", "method", "status"], registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0))
        self.open_streams = Gauge("webapp_open_streams", "Pages that are told of changes.",
                                  registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)


def of(app: Flask) -> Metrics:
    return app.extensions["iw_metrics"]


def register(app: Flask) -> None:
    made = app.extensions["iw_metrics"] = Metrics()

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def observe(response: Response) -> Response:
        if "began" in g:
            made.seconds.labels(request.endpoint or "none", request.method,
                                f"{response.status_code // 100}xx").observe(
                                    time.perf_counter() - g.began)
        return response
