"""The ledger: what every call may cost is reserved before it is sent, and settled after.

SQLite, one writer at a time. A reservation and the check of the budget are one transaction, so
that no number of calls at once can spend past it. Money in USD; times in seconds since 1970;
months as "2026-01", in UTC.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

WINDOW_S = 60.0
UNHEARD_S = 900.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY, employee TEXT NOT NULL, customer TEXT NOT NULL, month TEXT NOT NULL,
    at REAL NOT NULL, model TEXT NOT NULL, reserved_usd REAL NOT NULL, cost_usd REAL,
    tokens INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_employee ON calls (employee, at);
CREATE INDEX IF NOT EXISTS calls_by_customer ON calls (customer, month, employee);
CREATE INDEX IF NOT EXISTS calls_open ON calls (state) WHERE state = 'reserved';
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


class Ledger:
    """Safe to use from several threads."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._guard = threading.Lock()

    def close(self) -> None:
        self._db.close()

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
        with self._guard:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def month_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def _next_month(month: str) -> str:
    year, number = map(int, month.split("-"))
    following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return following.strftime("%B %Y")
