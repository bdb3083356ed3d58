"""Whether an employee answers, and to whom: asked directly at its container's address, as the edge
would ask for a visitor."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from reconciler import ReconcilerError
from stacks.identity import PROXY_USER_HEADER

CHAT_PORT = 18789
BROWSER_PORT = 6080
PORTS = frozenset({CHAT_PORT, BROWSER_PORT})  # where visitors come in
FIRST_ANSWER_S = 90.0  # a cold start was measured at 8–16 s on an idle machine
_WARM_UP_S = 60.0
_PICTURE_S, _MOST_PICTURE = 5.0, 256 * 1024
_JPEG = b"\xff\xd8\xff"
_MOST_ANSWER = 1 << 20
# An employee whose gateway is not started says so, and why, in words (images/employee/refuse.py).
_REFUSED, REFUSES = "X-Refused", "it does not start: "
_PAGE_S, _MOST_PAGE = 20.0, 16 << 20
# Of a page: what it loads from where it came from itself.
_PAGE_PARTS = re.compile(
    rb"""<(?:script|link)\b[^>]*?\b(?:src|href)=["'](\.?/?(?!/|data:|https?:)[^"']+"""
    rb"""\.(?:js|mjs|css)(?:\?[^"']*)?)["']""")


class TurnError(ReconcilerError):
    """An employee gave no answer; the message says why, in plain words."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom the gateway lets in, and at which host."""

    user: str
    host: str
    scheme: str = "http"

    @property
    def headers(self) -> dict[str, str]:
        return {PROXY_USER_HEADER: self.user, "X-Forwarded-For": "192.0.2.1",
                "X-Forwarded-Proto": self.scheme, "X-Forwarded-Host": self.host,
                "Origin": f"{self.scheme}://{self.host}"}


def answers(address: str, visitor: Visitor, *, timeout_s: float = 2.0) -> str | None:
    """None when it is ready for this visitor, else what is wrong in plain words."""
    connection = http.client.HTTPConnection(address, CHAT_PORT, timeout=timeout_s)
    try:
        # Of all addresses that cost nothing, the one that asks who it is: /readyz does not.
        connection.request("GET", "/v1/models", headers=visitor.headers)
        response = connection.getresponse()
        status, refused = response.status, response.headers.get(_REFUSED, "")[:300]
    except TimeoutError:
        return f"its chat did not answer within {timeout_s:g} s"
    except OSError:
        return "its chat port is not open yet"
    except http.client.HTTPException as error:
        return f"its chat gave no valid HTTP answer ({type(error).__name__})"
    finally:
        connection.close()
    if refused:
        return REFUSES + refused
    if status in (401, 403):
        return "its new settings are not in force yet"
    return None if 200 <= status < 300 else f"it is not ready yet ({status})"


def wait_until_ready(address: str, visitor: Visitor, deadline: float, gone: Callable[[], bool],
                     *, pause_s: float = 0.03) -> str | None:
    """Asks until it answers; `deadline` is monotonic seconds.

    Returns None when ready, else the last reason. `gone()` ends the wait early: shutdown, or
    the container was replaced meanwhile; so does a gateway that says that it does not start.
    """
    while True:
        problem = answers(address, visitor)
        if problem is None or gone() or time.monotonic() >= deadline or (
                problem.startswith(REFUSES)):
            return problem
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.5)


def warm_up(address: str, visitor: Visitor) -> bool:
    """One turn with a blank, so that the first real one finds everything loaded: 0.7 s instead
    of 5–8 were measured. Returns whether it answered."""
    try:
        turn(address, visitor, "Hello", _WARM_UP_S)
    except TurnError:
        return False
    return True


def turn(address: str, visitor: Visitor, text: str, timeout_s: float) -> str:
    """Says something to an employee as its customer's visitor would, apart from every chat, and
    returns what it answers.

    Raises:
        TurnError: it gave no answer; says why.
    """
    connection = http.client.HTTPConnection(address, CHAT_PORT, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({
            "model": "openclaw", "messages": [{"role": "user", "content": text}]}),
            visitor.headers | {"Content-Type": "application/json"})
        response = connection.getresponse()
        status, body = response.status, response.read(_MOST_ANSWER)
    except TimeoutError:
        raise TurnError(f"it gave no answer within {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise TurnError(f"its chat can't be reached ({type(error).__name__})") from error
    finally:
        connection.close()
    if status != 200:
        raise TurnError(f"its chat refused ({status})")
    try:
        said = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        said = None
    if not isinstance(said, str):
        raise TurnError("its chat gave an answer that holds no text")
    return said


def page_problem(address: str, visitor: Visitor) -> str | None:
    """None when the chat's page is whole: it is sent, and so is every script and style that it
    names; else what is wrong in plain words."""
    try:
        page = _get(address, "/", visitor)
        names = {name.decode() for name in _PAGE_PARTS.findall(page)}
        if not any(name.partition("?")[0].endswith(".js") for name in names):
            return "its chat's page names no script"
        for name in sorted(names):
            if not _get(address, "/" + name.removeprefix(".").lstrip("/"), visitor):
                return f"{name} of its chat's page is empty"
    except TurnError as error:
        return str(error)
    return None


def _get(address: str, path: str, visitor: Visitor) -> bytes:
    """Raises TurnError."""
    connection = http.client.HTTPConnection(address, CHAT_PORT, timeout=_PAGE_S)
    try:
        connection.request("GET", path, headers=visitor.headers)
        response = connection.getresponse()
        body = response.read(_MOST_PAGE)
    except (OSError, http.client.HTTPException) as error:
        raise TurnError(f"{path} of its chat can't be had ({type(error).__name__})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise TurnError(f"{path} of its chat is refused ({response.status})")
    return body


def thumbnail(address: str) -> bytes | None:
    """The desk's screen as a small JPEG; None when it is off. The container is not trusted: what
    is no JPEG, or too large, is none."""
    connection = http.client.HTTPConnection(address, BROWSER_PORT, timeout=_PICTURE_S)
    try:
        connection.request("GET", "/thumbnail")
        response = connection.getresponse()
        picture = response.read(_MOST_PICTURE + 1) if response.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return picture if picture.startswith(_JPEG) and len(picture) <= _MOST_PICTURE else None
