"""Brakes on guessing and on flooding mailboxes.

In memory: there is one web process, a count that is lost in a restart gives a guesser a handful of
guesses, and a table would make each wrong password a write. An attempt is counted before its
password is looked at and given back when it was right, so that parallel guesses pass nothing.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

_MOST_KEYS = 50_000
Clock = Callable[[], float]


class Throttle:
    """At most `most` attempts a key within `window_s` seconds. The oldest keys are forgotten
    first when there are too many."""

    def __init__(self, most: int = 5, window_s: float = 300.0, clock: Clock = time.monotonic
                 ) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, key: str) -> float:
        """0, and the attempt is counted; or the seconds until the next one is allowed."""
        with self._guard:
            times = self._times.setdefault(key, deque())
            self._times.move_to_end(key)
            now = self._clock()
            while times and times[0] <= now - self._window_s:
                times.popleft()
            if len(times) >= self._most:
                return times[0] + self._window_s - now
            times.append(now)
            while len(self._times) > _MOST_KEYS:
                self._times.popitem(last=False)
            return 0.0

    def give_back(self, key: str) -> None:
        """The newest attempt of a key was a good one."""
        with self._guard:
            if times := self._times.get(key):
                times.pop()

    def forget(self, key: str) -> None:
        with self._guard:
            self._times.pop(key, None)


class GrowingDelay:
    """After `free` failures of one key each further one doubles the wait, up to `most_s`; an hour
    without one and all is forgotten. Nobody is locked out for good."""

    def __init__(self, free: int = 10, most_s: float = 300.0, clock: Clock = time.monotonic
                 ) -> None:
        self._free, self._most_s, self._clock = free, most_s, clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, key: str) -> float:
        with self._guard:
            count, last = self._failures.get(key, (0, 0.0))
            now = self._clock()
            if now - last > 3600:
                count = 0
            wait = min(2.0 ** (count - self._free), self._most_s) if count >= self._free else 0.0
            if now < last + wait:
                return last + wait - now
            self._failures[key] = (count + 1, now)
            self._failures.move_to_end(key)
            while len(self._failures) > _MOST_KEYS:
                self._failures.popitem(last=False)
            return 0.0

    def forget(self, key: str) -> None:
        with self._guard:
            self._failures.pop(key, None)


class SignInThrottle:
    """Three brakes on passwords: a person at one network address, everything from one address,
    and one account from anywhere. The last is what a stranger could pull to keep somebody out, so
    it does not hold for addresses from which that account has signed in."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._pair = Throttle(5, 300, clock)
        self._address = Throttle(50, 300, clock)
        self._account = GrowingDelay(clock=clock)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def take(self, account: str, address: str) -> float:
        """0, or the seconds to wait; whether the account exists plays no part."""
        return (self._pair.take(f"{account} {address}") or self._address.take(address)
                or (0.0 if (account, address) in self._known else self._account.take(account)))

    def succeeded(self, account: str, address: str) -> None:
        self._pair.forget(f"{account} {address}")
        self._address.give_back(address)
        self._account.forget(account)
        self._known[account, address] = None
        while len(self._known) > _MOST_KEYS:
            self._known.popitem(last=False)


class Throttles:
    """All of one app. `flood`: what makes mails or accounts, by network address; `mailbox`: mails
    that strangers can cause, by address; `code`: the second factor, by account; `asked`: cheap
    questions, by network address."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.sign_in = SignInThrottle(clock)
        self.code = Throttle(5, 300, clock)
        self.flood = Throttle(30, 3600, clock)
        self.mailbox = Throttle(5, 3600, clock)
        self.asked = Throttle(120, 60, clock)
