"""The reconciler's internal API, as a client."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from state_repo import journal
from state_repo.unix_socket import UnixConnection


class ReachError(Exception):
    """The reconciler does not answer, or refuses; the message says what to do."""


def ask(path: Path, method: str, url: str, body: Any = None, timeout_s: float = 120.0) -> Any:
    """One request; JSON comes back decoded, text as it is. Raises ReachError."""
    connection = UnixConnection(path, timeout_s)
    try:
        connection.request(method, url, json.dumps(body) if body is not None else None,
                           {"Content-Type": "application/json", **journal.headers()})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise ReachError("the reconciler does not answer; start it with `make run`, or see "
                         "`iw doctor`") from error
    finally:
        connection.close()
    is_json = answer.headers.get_content_type() == "application/json"
    value = json.loads(text) if is_json and text else text
    if answer.status >= 400:
        raise ReachError(value.get("error", text) if isinstance(value, dict) else text)
    return value


def notify(path: Path) -> None:
    """Tells the reconciler of a commit; it would look by itself within a second."""
    try:
        ask(path, "POST", "/v1/notify", timeout_s=1.0)
    except ReachError:
        return
