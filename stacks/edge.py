"""Caddy's configuration through its admin API."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stacks import UnreachableError
from stacks.providers.servicer import Inputs, Kind
from stacks.unix_http import call, fetch
from state_repo.instance import Instance


def admin_socket(instance: Instance) -> Path:
    return instance.run_path / "edge" / "admin.sock"


def live_config(instance: Instance) -> Any:
    """What Caddy runs. Raises UnreachableError."""
    return call(admin_socket(instance), "GET", "/config/")


def figures(instance: Instance) -> str:
    """What it counts of requests and of itself, in Prometheus' words. Raises UnreachableError."""
    return fetch(admin_socket(instance), "GET", "/metrics", timeout_s=5.0)


def reload(instance: Instance) -> None:
    """Has it read its files anew: what it runs is loaded once more. UnreachableError."""
    call(admin_socket(instance), "POST", "/load", live_config(instance),
         {"Cache-Control": "must-revalidate"})  # also when nothing changed


def remember(instance: Instance, patience_s: float = 15.0) -> Callable[[], None]:
    """Takes what it runs, which it holds in its memory alone: a new one begins with nothing. What
    is returned gives it to whoever is the edge then, and raises UnreachableError after
    `patience_s`."""
    try:
        config = live_config(instance)
    except UnreachableError:
        return lambda: None
    return lambda: _load(instance, config, patience_s)


def _load(instance: Instance, config: Any, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while True:
        try:
            call(admin_socket(instance), "POST", "/load", config)
            return
        except UnreachableError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class EdgeConfig(Kind):
    token = "instantworker:edge:Config"
    properties = frozenset({"config"})
    in_place = frozenset({"config"})

    def __init__(self, instance: Instance, patience_s: float = 15.0) -> None:
        self._instance, self._patience_s = instance, patience_s

    def create(self, inputs: Inputs) -> str:
        _load(self._instance, _whole(inputs["config"]), self._patience_s)
        return "edge"

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        try:
            real = live_config(self._instance)
        except UnreachableError:
            return None  # the configuration went with its container; both are made again
        return inputs if real == _whole(inputs["config"]) else {"config": real or {}}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        """The configuration goes with the container."""


def _whole(value: Any) -> Any:
    """The engine's numbers are floats; Caddy wants its integers as such."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
