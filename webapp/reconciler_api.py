"""The reconciler's internal API, as the web app uses it: over its unix socket."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from state_repo import journal
from state_repo.instance import door_for
from state_repo.unix_socket import UnixConnection
from webapp.errors import Problem

_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer; its headers in any case of letters. Read it with `json` or `pieces`,
    once."""

    headers: Message
    _response: http.client.HTTPResponse
    _connection: http.client.HTTPConnection

    def json(self) -> Any:
        return json.loads(b"".join(self.pieces()))

    def pieces(self) -> Iterator[bytes]:
        try:
            while piece := self._response.read(_PIECE):
                yield piece
        finally:
            self._connection.close()


def ask(path: Path, method: str, parts: Iterable[str], query: Mapping[str, str] | None = None,
        body: Iterable[bytes] | None = None, headers: Mapping[str, str] | None = None,
        timeout_s: float = 120.0) -> Answer:
    """One request; `parts` are the address' parts after /v1.

    Raises:
        Problem: 503 when the reconciler does not answer, else its own status and words.
    """
    url = "/v1/" + "/".join(quote(part, safe="") for part in parts)
    connection = UnixConnection(door_for(path, url), timeout_s)
    try:
        connection.request(method, f"{url}?{urlencode(query)}" if query else url, body,
                           {**(headers or {}), **journal.headers()})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Problem(503, "reconciler_away", "This can't be reached right now. Try again in a "
                      "moment; nothing was changed.") from error
    answer = Answer(response.headers, response, connection)
    if response.status >= 400:
        try:
            said = answer.json()
        except ValueError:
            said = {}
        raise Problem(response.status, said.get("code", "not_possible"),
                      said.get("error", "That did not work."))
    return answer


def notify(path: Path) -> None:
    """Tells it of a commit; it would look by itself within a second."""
    try:
        ask(path, "POST", ["notify"], headers={"Content-Length": "0"}, timeout_s=0.5).json()
    except Problem:
        return
