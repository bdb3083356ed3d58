"""The platform's parts are replaced with a way back, one at a time.

The part that runs is stopped and set aside; the new one starts under its name and must work within
a deadline, as its own health check says. Else it goes, and the one before runs again. Two can't run
side by side: a part has its ports of the host.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stacks import StackError
from stacks.providers.docker_api import APIError, NotFound, client, is_ours, labels_of
from stacks.providers.servicer import Inputs
from state_repo.instance import LABEL_PLATFORM, LABEL_SPEC

log = logging.getLogger(__name__)

PATIENCE_S = 90.0  # LiteLLM and a Prometheus with weeks of metrics take most of it on a slow host
# What did not work is not tried again at once: each try takes the part away while it lasts.
AGAIN_AFTER_S = 3600.0
_STOP_S = 5
_MOST_RESTARTS = 2
_LOOK_EVERY_S = 0.5
_ASIDE = "-before"

# Takes what a part holds in its memory alone; what it returns gives it to whoever follows.
Remember = Callable[[str], Callable[[], None]]


class Handover:
    """Replaces one part at a time, however many engines ask."""

    def __init__(self, remember: Remember = lambda _: lambda: None,
                 patience_s: float = PATIENCE_S) -> None:
        self._remember, self._patience_s = remember, patience_s
        self._one = threading.Lock()
        self._refused: dict[str, tuple[float, str]] = {}  # by spec: when, and why

    @staticmethod
    def is_for(inputs: Inputs) -> bool:
        return LABEL_PLATFORM in labels_of(inputs)

    def make(self, inputs: Inputs, spec: str, create: Callable[[], str]) -> str:
        """The id of the container that `create` makes and starts, once it works. Where nothing
        was there before there is nothing to go back to, and it is not waited for.

        Raises:
            StackError: it did not begin to work, and what was there before runs again; or that
                is how it ended less than `AGAIN_AFTER_S` ago, and what runs was not touched.
        """
        at, why = self._refused.get(spec, (0.0, ""))
        if why and time.monotonic() - at < AGAIN_AFTER_S and _inspect(inputs["name"]) is not None:
            raise StackError(f"{why} It is tried again {AGAIN_AFTER_S / 60:.0f} minutes after "
                             "that, and at once when platform.yaml names another.")
        with self._one:
            part = labels_of(inputs)[LABEL_PLATFORM]
            give_back = self._remember(part)
            before = _set_aside(inputs, spec)
            if before is None:
                return create()
            try:
                made = create()
                log.info("%s: the new one starts", part)
                self._wait_until_it_works(made, inputs, give_back)
            except StackError as error:
                why = (f"the new {part} did not begin to work, so the one before runs again: "
                       f"{error}.")
            except APIError as error:
                why = (f"the new {part} could not be made, so the one before runs again: "
                       f"{error.explanation or error}.")
            else:
                client().remove_container(before, force=True)
                return made
            _take_back(before, inputs["name"])
            with suppress(StackError):
                give_back()
            self._refused[spec] = (time.monotonic(), why)
            raise StackError(why)

    def _wait_until_it_works(self, made: str, inputs: Inputs, give_back: Callable[[], None]
                             ) -> None:
        give_back()
        until = time.monotonic() + self._patience_s
        while True:
            real = client().inspect_container(made)
            state = real["State"]
            if real["RestartCount"] >= _MOST_RESTARTS or state["Status"] == "exited":
                raise StackError(f"it ends again and again; {_last_lines(made)}")
            if state["Status"] == "running" and _says_it_works(made, inputs):
                return
            if time.monotonic() > until:
                raise StackError(f"its health check fails for {self._patience_s:.0f} s; "
                                 f"{_last_lines(made)}")
            time.sleep(_LOOK_EVERY_S)


def _set_aside(inputs: Inputs, spec: str) -> str | None:
    """The id of the container that the new one takes over from, stopped; None when there is none.
    A try that was cut off left both: then what it tried goes."""
    name = inputs["name"]
    there, before = _inspect(name), _inspect(name + _ASIDE)
    if there is not None and is_ours(there["Config"]["Labels"], labels_of(inputs)) and (
            there["Config"]["Labels"].get(LABEL_SPEC) != spec):
        if before is not None:
            client().remove_container(there["Id"], force=True)
        else:
            client().stop(there["Id"], timeout=_STOP_S)
            client().rename(there["Id"], name + _ASIDE)
            before = there
    return None if before is None else before["Id"]


def _take_back(before: str, name: str) -> None:
    if (tried := _inspect(name)) is not None:
        client().remove_container(tried["Id"], force=True)
    client().rename(before, name)
    client().start(before)


def _inspect(name: str) -> dict[str, Any] | None:
    try:
        return client().inspect_container(name)
    except NotFound:
        return None


def _says_it_works(made: str, inputs: Inputs) -> bool:
    """Asks its health check, which Docker itself would ask every half a minute."""
    if not (health := inputs.get("healthcheck")):
        return True
    try:
        asked = client().exec_create(made, health["tests"][1:])["Id"]
        client().exec_start(asked)
        return client().exec_inspect(asked)["ExitCode"] == 0
    except APIError:  # it has ended in between
        return False


def _last_lines(made: str) -> str:
    lines = client().logs(made, tail=5).decode(errors="replace").split("\n")
    said = " / ".join(dict.fromkeys(line.strip()[:200] for line in lines if line.strip()))
    return f"its last lines: {said}" if said else "it said nothing"
