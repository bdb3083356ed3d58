"""Brakes on guessing and on flooding mailboxes.

When a key was tried is kept in the database, so that a restart gives nobody new guesses and several
processes count as one. An attempt is counted before its password is looked at and given back when
it was right, in a transaction that holds the key's row: parallel guesses pass nothing. Keys are
kept as digests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite

from state_repo.database import IMMEDIATE
from webapp.models import Attempts, digest

Clock = Callable[[], float]
_HOUR_S = 3600.0
_KNOWN_S = 180 * 24 * _HOUR_S


class Book:
    """The attempts of each key. `clock`: seconds that go on over restarts."""

    def __init__(self, engine: Engine, clock: Clock = time.time) -> None:
        self._engine, self.clock = engine.execution_options(**IMMEDIATE), clock
        self._insert: Any = {"sqlite": insert_in_sqlite, "postgresql": insert_in_postgresql}[
            engine.dialect.name]

    @contextmanager
    def of(self, key: str, lasts_s: float) -> Iterator[list[float]]:
        """The times at which a key was tried, the newest last, to be changed; one visitor at a
        time. Forgotten `lasts_s` seconds after the last change."""
        which = Attempts.key == digest(key)
        with self._engine.begin() as connection:
            # Also where the row is there, it is held until the end.
            times: list[float] = json.loads(connection.execute(self._insert(Attempts).values(
                key=digest(key), times="[]", until=0.0).on_conflict_do_update(
                    index_elements=["key"], set_={"until": Attempts.until}).returning(
                        Attempts.times)).scalar_one())
            yield times
            connection.execute(update(Attempts).where(which).values(
                times=json.dumps(times), until=self.clock() + lasts_s) if times
                else delete(Attempts).where(which))

    def has(self, key: str) -> bool:
        with self._engine.connect() as connection:
            return connection.scalar(select(Attempts.until).where(
                Attempts.key == digest(key), Attempts.until > self.clock())) is not None

    def forget(self, key: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(Attempts).where(Attempts.key == digest(key)))

    def forget_old(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(Attempts).where(Attempts.until <= self.clock()))


class Throttle:
    """At most `most` attempts a key within `window_s` seconds."""

    def __init__(self, book: Book, name: str, most: int = 5, window_s: float = 300.0) -> None:
        self._book, self._name, self._most, self._window_s = book, name, most, window_s

    def take(self, key: str) -> float:
        """0, and the attempt is counted; or the seconds until the next one is allowed."""
        with self._book.of(f"{self._name} {key}", self._window_s) as times:
            now = self._book.clock()
            times[:] = [at for at in times if at > now - self._window_s]
            if len(times) >= self._most:
                return times[0] + self._window_s - now
            times.append(now)
            return 0.0

    def give_back(self, key: str) -> None:
        """The newest attempt of a key was a good one."""
        with self._book.of(f"{self._name} {key}", self._window_s) as times:
            del times[-1:]

    def forget(self, key: str) -> None:
        self._book.forget(f"{self._name} {key}")


class GrowingDelay:
    """After `free` failures of one key each further one doubles the wait, up to `most_s`; an hour
    without one and all is forgotten. Nobody is locked out for good."""

    def __init__(self, book: Book, name: str, free: int = 10, most_s: float = 300.0) -> None:
        self._book, self._name, self._free, self._most_s = book, name, free, most_s

    def take(self, key: str) -> float:
        with self._book.of(f"{self._name} {key}", _HOUR_S) as times:
            now = self._book.clock()
            if times and now - times[-1] > _HOUR_S:
                times.clear()
            over = len(times) - self._free
            if over >= 0 and now < (until := times[-1] + min(2.0 ** over, self._most_s)):
                return until - now
            times.append(now)
            del times[:-self._free - 12]  # 2^12 s is more than the longest wait
            return 0.0

    def forget(self, key: str) -> None:
        self._book.forget(f"{self._name} {key}")


class SignInThrottle:
    """Three brakes on passwords: a person at one network address, everything from one address,
    and one account from anywhere. The last is what a stranger could pull to keep somebody out, so
    it does not hold for addresses from which that account has signed in."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._pair = Throttle(book, "pair")
        self._address = Throttle(book, "address", 50)
        self._account = GrowingDelay(book, "account")

    def take(self, account: str, address: str) -> float:
        """0, or the seconds to wait; whether the account exists plays no part."""
        return (self._pair.take(f"{account} {address}") or self._address.take(address)
                or (0.0 if self._book.has(f"known {account} {address}")
                    else self._account.take(account)))

    def succeeded(self, account: str, address: str) -> None:
        self._pair.forget(f"{account} {address}")
        self._address.give_back(address)
        self._account.forget(account)
        with self._book.of(f"known {account} {address}", _KNOWN_S) as times:
            times[:] = [self._book.clock()]


class Throttles:
    """All of one app. `flood`: what makes mails or accounts, by network address; `mailbox`: mails
    that strangers can cause, by address; `code`: the second factor, by account; `asked`: cheap
    questions, by network address."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.sign_in = SignInThrottle(book)
        self.code = Throttle(book, "code")
        self.flood = Throttle(book, "flood", 30, _HOUR_S)
        self.mailbox = Throttle(book, "mailbox", 5, _HOUR_S)
        self.asked = Throttle(book, "asked", 120, 60)
