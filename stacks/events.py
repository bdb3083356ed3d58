"""Docker's event stream: says at once what a list would show seconds later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from stacks import UnreachableError
from stacks.providers.docker_api import client, speaking
from state_repo.instance import LABEL_CUSTOMER, LABEL_INSTANCE

log = logging.getLogger(__name__)
_ACTIONS = ("die", "destroy", "start", "pause", "unpause", "update", "disconnect")


def watch_docker(instance: str, take: Callable[[str | None, str, str, float], None]) -> None:
    """Calls `take(customer, container name, action, at)` for each event of the instance's
    containers and networks, for ever; connects again when Docker was away. `at`: seconds since
    1970."""
    while True:
        try:
            with speaking():
                stream = client().events(decode=True, filters={"type": ["container", "network"]})
                take(None, "", "connected", time.time())
                for event in stream:
                    action = event.get("Action", "")
                    attributes = event.get("Actor", {}).get("Attributes", {})
                    at = float(event.get("time") or time.time())
                    if event.get("Type") == "network" and action in ("destroy", "disconnect"):
                        take(None, attributes.get("name", ""), action, at)
                    elif action in _ACTIONS and attributes.get(LABEL_INSTANCE) == instance:
                        take(attributes.get(LABEL_CUSTOMER), attributes.get("name", ""), action,
                             at)
        except UnreachableError:
            pass
        except Exception:  # the stream broke in the middle of a line: Docker went away
            log.debug("the event stream ended", exc_info=True)
        time.sleep(0.5)
