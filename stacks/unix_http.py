"""HTTP over a unix socket: Caddy's admin API is on one, so that nothing on a port can reach it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacks import StackError, UnreachableError
from state_repo.unix_socket import UnixConnection


def call(path: Path, method: str, url: str, body: Any = None,
         headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> Any:
    """One JSON request; returns the decoded answer (None when empty). Raises as `fetch` does."""
    text = fetch(path, method, url, body, headers, timeout_s)
    return json.loads(text) if text.strip() else None


def fetch(path: Path, method: str, url: str, body: Any = None,
          headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> str:
    """One request, with a body of JSON if any; returns the answer's text.

    Raises:
        UnreachableError: nobody listens on the socket.
        StackError: an answer other than 2xx, with its text.
    """
    connection = UnixConnection(path, timeout_s)
    try:
        connection.request(method, url, None if body is None else json.dumps(body),
                           {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"nothing answers on {path} ({error})") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise StackError(f"{method} {url}: {response.status} {text.strip()[:500]}")
    return text
