"""Passwords: how they are kept (argon2id, the library's parameters: RFC 9106's low-memory
profile), and which are good enough.

"Good enough" is zxcvbn's estimate over its bundled lists (30,000 passwords from breaches, words,
names) and over what anybody knows of the person: what those lists hold, spelt in another way or
with a year behind it, is refused as well.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask_babel import gettext
from zxcvbn import zxcvbn

from webapp.errors import Problem
from webapp.texts import N_

LEAST, MOST = 10, 200
ENOUGH = 3  # of zxcvbn's 0 to 4: safe from somebody who has the hashes, for a good while
_LOOKED_AT = 72  # more is slow to estimate, and long enough anyway
_HASHER = PasswordHasher()


def _give_way() -> None:
    """Of all threads, those that hash run last: no page waits for strangers who guess."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


# Each hash takes 64 MB and four threads of its own, which are as nice as this one: more at once
# than there are processors would only take memory.
_AT_ONCE = os.cpu_count() or 1
_AT_WORK = ThreadPoolExecutor(_AT_ONCE, "argon2", initializer=_give_way)
_PLACES = threading.BoundedSemaphore(4 * _AT_ONCE)
# zxcvbn keeps what is known of the person in a global.
_ESTIMATES = threading.Lock()
# Checked where there is no account, so that a stranger can't tell by the time it takes.
_NOBODY = _HASHER.hash("nobody's password")

WORDS = {
    "short": N_("Use at least %(least)s characters; %(more)s more to go."),
    "long": N_("Use at most %(most)s characters."),
    "common": N_("This is one of the first that anybody would try. A few words that don’t belong "
                 "together make a good one."),
    "weak": N_("This is too easy to guess. Add a word or two that don’t belong together."),
    "good": N_("Good."),
    "strong": N_("Strong."),
}


@contextmanager
def place() -> Iterator[None]:
    """A place among those whose passwords are looked at, for what strangers may ask. However many
    guess at once, nobody waits long, and the threads that answer pages are not all theirs.

    Raises:
        Problem: 503, none is free.
    """
    if not _PLACES.acquire(blocking=False):
        raise Problem(503, "busy", "Very many people sign in at this moment. Try again in a few "
                      "seconds.")
    try:
        yield
    finally:
        _PLACES.release()


def hashed(password: str) -> str:
    return _AT_WORK.submit(lambda: _HASHER.hash(password)).result()


def matches(kept: str | None, password: str) -> bool:
    """Takes as long when nothing is kept."""
    try:
        _AT_WORK.submit(lambda: _HASHER.verify(kept or _NOBODY, password[:4096])).result()
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    return _HASHER.check_needs_rehash(kept)


def judge(password: str, about: Iterable[str] = ()) -> tuple[bool, int, str]:
    """Whether it may be used, its strength from 0 to 4, and what to tell the person."""
    if len(password) < LEAST:
        more = LEAST - len(password)
        return False, 0, gettext(WORDS["short"], least=LEAST, more=more)
    if len(password) > MOST:
        return False, 0, gettext(WORDS["long"], most=MOST)
    known = [word for text in about for word in (text, *text.replace("@", " ").split()) if word]
    with _ESTIMATES:
        found = zxcvbn(password[:_LOOKED_AT], [*known, "instantworker"])
    score: int = found["score"]
    if score < ENOUGH:
        whole = len(found["sequence"]) == 1
        return False, score, gettext(WORDS["common" if whole else "weak"])
    return True, score, gettext(WORDS["good" if score == ENOUGH else "strong"])
