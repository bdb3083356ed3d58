"""What Prometheus reads of the proxy. No label names an employee or a company."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as _render

_REGISTRY = CollectorRegistry()
ProcessCollector(registry=_REGISTRY)
_CALLS = Counter("model_proxy_calls", "Calls of a model, by how they ended: answered, failed, "
                 "cut off.", ["model", "result"], registry=_REGISTRY)
_SECONDS = Histogram("model_proxy_call_duration_seconds", "Until the last word of an answer.",
                     ["model"], buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
                     registry=_REGISTRY)
_DENIED = Counter("model_proxy_denied", "Requests that reached no model, by why.", ["kind"],
                  registry=_REGISTRY)
CONTENT_TYPE = b"text/plain; version=0.0.4"


def ended(model: str, status: int, seconds: float) -> None:
    """`status`: of the answer as it began; 499: before one did."""
    result = "cut off" if status == 499 else "failed" if status >= 400 else "answered"
    _CALLS.labels(model, result).inc()
    _SECONDS.labels(model).observe(seconds)


def denied(kind: str) -> None:
    _DENIED.labels(kind).inc()


def render() -> bytes:
    return _render(_REGISTRY)
