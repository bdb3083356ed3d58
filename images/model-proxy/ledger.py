"""The ledger: what every call may cost is reserved before it is sent, and settled after.

SQLite, one writer at a time. A reservation and the check of the budget are one transaction, so
that no number of calls at once can spend past it. Money in USD; times in seconds since 1970;
months as "2026-01", in UTC.

The books are never begun anew in silence. The months' sums are also kept in a small file beside
them (`<ledger>.sums.json`); when the books are gone at a start, they are begun with these.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("ledger")
WINDOW_S = 60.0
UNHEARD_S = 900.0
PATIENCE_S = 2.0  # how long a call waits for the books
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY, employee TEXT NOT NULL, customer TEXT NOT NULL, month TEXT NOT NULL,
    at REAL NOT NULL, model TEXT NOT NULL, reserved_usd REAL NOT NULL, cost_usd REAL,
    tokens INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_employee ON calls (employee, at);
CREATE INDEX IF NOT EXISTS calls_by_customer ON calls (customer, month, employee);
CREATE INDEX IF NOT EXISTS calls_open ON calls (at) WHERE state = 'reserved';
CREATE INDEX IF NOT EXISTS calls_done ON calls (at) WHERE state <> 'reserved';
CREATE TABLE IF NOT EXISTS spend (
    scope TEXT NOT NULL, month TEXT NOT NULL, settled_usd REAL NOT NULL DEFAULT 0,
    reserved_usd REAL NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (scope, month));
"""
# Sums of floats: a reservation that fits exactly must not fail by a rounding error.
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key opens; see `stacks.model_keys`."""

    employee: str
    customer: str
    models: tuple[str, ...]
    subnet: str
    monthly_budget_usd: float
    requests_per_minute: int
    customer_monthly_budget_usd: float | None = None
    stand_in: str | None = None  # answers in place of every model


class Refused(Exception):
    """The call may not be made. `retry_after_s` is None when waiting does not help."""

    def __init__(self, message: str, kind: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.retry_after_s = kind, retry_after_s


class Unavailable(Exception):
    """Nothing can be booked, so that no call may be made; says why."""


class Ledger:
    """Safe to use from several threads.

    Raises Unavailable where something is to be booked and can't be: at once, or after PATIENCE_S.
    """

    def __init__(self, path: str) -> None:
        self._path, self._sums = Path(path), Path(f"{path}.sums.json")
        is_new = not self._path.exists()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None,
                                   timeout=PATIENCE_S)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript("DROP INDEX IF EXISTS calls_open;" + _SCHEMA)
        self._guard, self._changed = threading.Lock(), True  # since the sums were kept
        self._file = self._path.stat().st_ino
        self.recovered: str | None = None
        if is_new and self._sums.exists():
            self._recover()

    def close(self) -> None:
        self.keep_sums()
        self._db.close()

    def check(self) -> None:
        """Raises Unavailable: nothing can be booked now."""
        with self._transaction():
            pass

    def keep_sums(self) -> None:
        """Writes the months' sums beside the books, in one step, if there is anything new."""
        if not self._changed:
            return
        try:
            with self._guard:
                self._changed = False
                rows = self._db.execute("SELECT scope, month, settled_usd + reserved_usd, calls, "
                                        "tokens FROM spend").fetchall()
            fresh = self._sums.with_suffix(".new")
            with open(fresh, "w") as file:
                json.dump({"at": time.time(), "spend": rows}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._sums)
        except (OSError, sqlite3.Error) as error:
            self._changed = True
            log.warning("the sums can't be kept: %s", error)

    def _recover(self) -> None:
        try:
            kept = json.loads(self._sums.read_text())
            with self._transaction() as db:
                db.executemany("INSERT INTO spend (scope, month, settled_usd, calls, tokens) "
                               "VALUES (?, ?, ?, ?, ?)", kept["spend"])
            as_of = datetime.fromtimestamp(kept["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        except (OSError, ValueError, KeyError, sqlite3.Error) as error:
            self._db.close()
            self._path.unlink(missing_ok=True)
            raise Unavailable(f"the books {self._path} are gone, and their sums in {self._sums} "
                              f"can't be read ({error}); restore one of them, or remove both to "
                              "begin with nothing") from error
        self.recovered = (f"the books were gone; they were begun with the sums of {as_of}, single "
                          "calls are lost")
        log.warning("%s", self.recovered)

    def reserve(self, grant: Grant, model: str, usd: float, now: float) -> str:
        """Books the most that a call can cost; returns its id.

        Raises:
            Refused: too many calls a minute, or the budget of the employee or of its company
                would be passed.
        """
        month, call = month_of(now), secrets.token_hex(12)
        with self._transaction() as db:
            (calls, oldest), = db.execute(
                "SELECT count(*), min(at) FROM calls WHERE employee = ? AND at > ?",
                (grant.employee, now - WINDOW_S)).fetchall()
            if calls >= grant.requests_per_minute:
                wait = max(1, int((oldest or now) + WINDOW_S - now) + 1)
                raise Refused(f"{grant.requests_per_minute} requests a minute are allowed. The "
                              f"next one in {wait} s.", "rate_limit_exceeded", wait)
            for scope, budget, whose in (
                    (f"employee:{grant.employee}", grant.monthly_budget_usd, "This employee"),
                    (f"customer:{grant.customer}", grant.customer_monthly_budget_usd,
                     "The company")):
                if budget is not None:
                    self._check(db, scope, month, budget, usd, whose)
            db.execute("INSERT INTO calls (id, employee, customer, month, at, model, reserved_usd, "
                       "state) VALUES (?, ?, ?, ?, ?, ?, ?, 'reserved')",
                       (call, grant.employee, grant.customer, month, now, model, usd))
            self._add(db, grant.employee, grant.customer, month, 0.0, usd, 1, 0)
        return call

    def settle(self, call: str, usd: float, tokens: int) -> None:
        """Books what the call did cost. Only the first word about a call counts."""
        self._end(call, "settled", usd, tokens)

    def release(self, call: str) -> None:
        """The call cost nothing: it never reached a provider."""
        self._end(call, "released", 0.0, 0)

    def expire_one(self, call: str) -> None:
        """The call's end was not heard: it is settled at all that it had reserved, since the
        provider may have billed it."""
        with self._guard:
            row = self._db.execute("SELECT reserved_usd FROM calls WHERE id = ?",
                                   (call,)).fetchone()
        if row:
            self._end(call, "expired", row[0], 0)

    def expire(self, now: float, after_s: float = UNHEARD_S) -> int:
        """Expires every call that is older and still open. Returns how many."""
        with self._guard:
            lost = self._db.execute("SELECT id FROM calls WHERE state = 'reserved' AND at <= ?",
                                    (now - after_s,)).fetchall()
        for (call,) in lost:
            self.expire_one(call)
        return len(lost)

    def forget(self, before: float) -> None:
        """Drops single calls from before; the months' sums stay."""
        with self._transaction() as db:
            db.execute("DELETE FROM calls WHERE at < ? AND state <> 'reserved'", (before,))

    @staticmethod
    def _check(db: sqlite3.Connection, scope: str, month: str, budget: float, usd: float,
               whose: str) -> None:
        settled, reserved = db.execute(
            "SELECT settled_usd, reserved_usd FROM spend WHERE scope = ? AND month = ?",
            (scope, month)).fetchone() or (0.0, 0.0)
        if settled + reserved + usd > budget + _EPSILON:
            raise Refused(
                f"{whose} has spent ${settled:.4f} of ${budget:.2f} this month, ${reserved:.4f} is "
                f"reserved by calls that run, and this one may cost ${usd:.4f}. The budget is new "
                f"in {_next_month(month)}; it can be raised in the dashboard.", "budget_exceeded")

    def _end(self, call: str, state: str, usd: float, tokens: int) -> None:
        with self._transaction() as db:
            row = db.execute(
                "UPDATE calls SET state = ?, cost_usd = ?, tokens = ? WHERE id = ? AND "
                "state = 'reserved' RETURNING employee, customer, month, reserved_usd",
                (state, usd, tokens, call)).fetchone()
            if row:
                employee, customer, month, reserved = row
                self._add(db, employee, customer, month, usd, -reserved, 0, tokens)

    @staticmethod
    def _add(db: sqlite3.Connection, employee: str, customer: str, month: str, settled: float,
             reserved: float, calls: int, tokens: int) -> None:
        for scope in (f"employee:{employee}", f"customer:{customer}"):
            # The first row of a month inserts; a call that began last month ends in its own.
            db.execute(
                "INSERT INTO spend (scope, month, settled_usd, reserved_usd, calls, tokens) VALUES "
                "(?, ?, ?, ?, ?, ?) ON CONFLICT (scope, month) DO UPDATE SET "
                "settled_usd = settled_usd + excluded.settled_usd, "
                "reserved_usd = max(0, reserved_usd + excluded.reserved_usd), "
                "calls = calls + excluded.calls, tokens = tokens + excluded.tokens",
                (scope, month, settled, reserved, calls, tokens))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # Who waits for another's wait would wait twice as long, and the next one thrice.
        if not self._guard.acquire(timeout=PATIENCE_S):
            raise Unavailable("the books are busy")
        try:
            self._is_there()
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise Unavailable(f"the books can't be written ({error})") from error
            before = self._db.total_changes
            try:
                yield self._db
                self._db.execute("COMMIT")
                self._changed |= self._db.total_changes != before
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise Unavailable(f"the books can't be written ({error})") from error
                raise
        finally:
            self._guard.release()

    def _is_there(self) -> None:
        """SQLite goes on writing into a file that was removed."""
        try:
            same = self._path.stat().st_ino == self._file
        except OSError:
            same = False
        if not same:
            raise Unavailable(f"the books {self._path} were removed or replaced; restart the model "
                              "proxy, which begins with the sums that were kept")


def month_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def _next_month(month: str) -> str:
    year, number = map(int, month.split("-"))
    following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return following.strftime("%B %Y")
