"""What the processes log: one JSON object a line, and one trace id from a click to a container.

A trace begins where somebody acts: a request to the web app, a verb of `iw`. It is W3C Trace
Context's trace id (32 hex digits, https://www.w3.org/TR/trace-context/), taken from the visitor's
`traceparent` if there is one. Whoever speaks to another process passes it on in that header; a
commit carries it as a trailer, so that whatever the loop does for the commit is logged with it.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

TRAILER = "Trace-Id"
HEADER = "traceparent"
FIELDS = ("trace", "customer", "employee", "commit")  # what a line may be about
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_TRAILER = re.compile(rf"^{TRAILER}: ([0-9a-f]{{32}})$", re.M)
_NOTHING: Mapping[str, str] = {}
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=_NOTHING)
_lent: dict[str, Mapping[str, str]] = {}


@contextmanager
def about(**fields: str | None) -> Iterator[None]:
    """Every line logged within, by this thread, has these fields too (see FIELDS). What is None
    is left as it was."""
    token = _about.set({**_about.get(), **{k: v for k, v in fields.items() if v}})
    try:
        yield
    finally:
        _about.reset(token)


def trace() -> str | None:
    """The trace that this thread acts in."""
    return _about.get().get("trace")


def new_trace() -> str:
    return secrets.token_hex(16)


def trace_of(traceparent: str | None) -> str | None:
    """The trace id of such a header; None for one that says nothing."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return None if found is None or set(found[1]) == {"0"} else found[1]


@contextmanager
def lent(work: str) -> Iterator[None]:
    """Within, whoever does a part of this work in another thread takes over what it is about by
    `borrowed`: what the engine asks of a provider comes by a call of its own."""
    _lent[work] = _about.get()
    try:
        yield
    finally:
        _lent.pop(work, None)


def borrowed(work: str) -> AbstractContextManager[None]:
    return about(**_lent.get(work, _NOTHING))


def headers() -> dict[str, str]:
    """What a request to another process of ours carries."""
    found = trace()
    return {HEADER: f"00-{found}-{secrets.token_hex(8)}-01"} if found else {}


def with_trailer(message: str) -> str:
    """A commit's message with the trace that it is made in."""
    found = trace()
    return f"{message.rstrip()}\n\n{TRAILER}: {found}" if found else message


def trace_in(message: str) -> str | None:
    """The trace that a commit with this message was made in."""
    found = _TRAILER.findall(message)
    return found[-1] if found else None


def write_to(stream: TextIO, process: str, level: str = "INFO") -> None:
    """Makes this process log there, as JSON lines."""
    handler = logging.StreamHandler(stream)
    formatter = JsonFormatter(
        ["levelname", "name", "message"], timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        static_fields={"process": process}, json_ensure_ascii=False)
    handler.setFormatter(formatter)
    handler.addFilter(_add_fields)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _add_fields(record: logging.LogRecord) -> bool:
    for name, value in _about.get().items():
        if not hasattr(record, name):  # what a line says of itself is nearer
            setattr(record, name, value)
    return True
