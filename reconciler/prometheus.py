"""Prometheus as it is asked here: its HTTP API, on loopback (https://prometheus.io/docs, HTTP
API)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from stacks import UnreachableError
from state_repo.instance import Instance

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its labels, and by time (seconds since 1970) its value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


class Prometheus:
    """Raises UnreachableError when it does not answer, or not as expected."""

    def __init__(self, instance: Instance) -> None:
        self._url = f"http://127.0.0.1:{instance.ports['prometheus']}/api/v1"

    def now(self, query: str) -> list[Series]:
        found = self._get("query", "result", query=query)
        return [made for one in found if (made := _series(one, [one["value"]])).points]

    def between(self, query: str, start: float, end: float, step_s: float) -> list[Series]:
        found = self._get("query_range", "result", query=query, start=start, end=end, step=step_s)
        return [made for one in found if (made := _series(one, one["values"])).points]

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire or are about to, in its own words."""
        return self._get("alerts", "alerts")

    def _get(self, what: str, part: str, **parameters: Any) -> list[dict[str, Any]]:
        try:
            answer = requests.get(f"{self._url}/{what}", parameters, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            return answer.json()["data"][part]
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"Prometheus does not say ({error})") from error


def _series(found: Mapping[str, Any], values: Sequence[Sequence[Any]]) -> Series:
    points = [(float(at), float(value)) for at, value in values]
    return Series(found["metric"], [p for p in points if math.isfinite(p[1])])
