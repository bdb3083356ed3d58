"""How this product speaks to its database: SQLite in WAL mode, or PostgreSQL by its URL.

One rule for SQLite, whoever writes: a transaction that writes begins IMMEDIATE. It takes the one
place for writers before it changes anything, waits for it for at most the time-out, and never
finds in its middle that what it read is old (SQLITE_BUSY_SNAPSHOT, which no time-out mends).
What only reads begins nothing and holds nobody up.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)

from state_repo import StateRepoError
from state_repo.files import shared_file
from state_repo.instance import Instance

PATIENCE_S = 15.0  # how long a writer waits for the others
IMMEDIATE = {"immediate": True}  # execution options of a connection that reads before it writes
_MIGRATING = 0x1257_0001  # PostgreSQL's advisory lock: any number that is ours


class DatabaseError(StateRepoError):
    """The database did not take something. `is_away`: it takes nothing now (locked, read-only,
    full, not there), rather than not this one row."""

    def __init__(self, message: str, *, is_away: bool) -> None:
        super().__init__(message)
        self.is_away = is_away


@contextmanager
def speaking() -> Iterator[None]:
    """Raises DatabaseError for whatever the driver raises."""
    try:
        yield
    except SQLAlchemyError as error:
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DatabaseError(words, is_away=not isinstance(error, DBAPIError) or isinstance(
            error, OperationalError | InterfaceError | InternalError)
            or error.connection_invalidated) from error


def engine_for(url: str, patience_s: float = PATIENCE_S) -> Engine:
    """An engine for SQLite or PostgreSQL (psycopg 3). `patience_s`: how long a write waits for
    other writers."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if not parsed.drivername.startswith("sqlite"):
        return create_engine(parsed, pool_pre_ping=True, connect_args={
            "connect_timeout": 5, "options": f"-c lock_timeout={int(patience_s * 1000)}"})
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": patience_s})
    tune(engine)
    return engine


def tune(engine: Engine) -> None:
    """Makes each connection of an SQLite engine follow the rule; does nothing for others."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        if connection.get_execution_options().get("immediate"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "before_cursor_execute")
    def _before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        verb = statement.lstrip()[:6].upper()
        if not cursor.connection.in_transaction and verb not in ("SELECT", "PRAGMA", "BEGIN ",
                                                                 "EXPLAI"):
            cursor.execute("BEGIN IMMEDIATE")


def check_database(instance: Instance) -> None:
    """Raises InstanceError: the instance's SQLite file was made before, and is gone. (A server's
    database is its own affair.)"""
    parsed = make_url(instance.database_url)
    if parsed.drivername.startswith("sqlite") and parsed.database:
        instance.expect("database", Path(parsed.database).exists(),
                        f"Restore {parsed.database} from a backup: it holds accounts and history")


def migrate(url: str, folder: Path, version_table: str, to: str = "head") -> None:
    """Brings tables to the newest version, or to another one; one process at a time, and safe when
    they are there.

    Raises:
        DatabaseError: they are of a version that this code does not know.
    """
    _move(url, folder, version_table, "upgrade", to)


def downgrade(url: str, folder: Path, version_table: str, to: str) -> None:
    """Takes tables back to an older version. Raises DatabaseError: there is no way."""
    _move(url, folder, version_table, "downgrade", to)


def revision_of(url: str, version_table: str) -> str | None:
    """The version that tables are at; None when there are none."""
    engine = engine_for(url)
    try:
        with speaking(), engine.connect() as connection:
            if not inspect(connection).has_table(version_table):
                return None
            return connection.execute(text(f"SELECT version_num FROM {version_table}")).scalar()
    finally:
        engine.dispose()


def _move(url: str, folder: Path, version_table: str, verb: str, to: str) -> None:
    # A fifth of a second to load, and only who starts needs it: not each `iw`, nor a push's hook.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["url"] = url
    config.attributes["version_table"] = version_table
    with _alone(url):
        try:
            (command.upgrade if verb == "upgrade" else command.downgrade)(config, to)
        except CommandError as error:
            raise DatabaseError(
                f"the tables of {folder.parent.name} can't be brought to {to}: {error}. If newer "
                "code made them, `make back` with that code takes them back",
                is_away=False) from error


@contextmanager
def _alone(url: str) -> Iterator[None]:
    parsed = make_url(url)
    if not parsed.drivername.startswith("sqlite"):
        engine = engine_for(url, patience_s=120.0)
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATING})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATING})
        engine.dispose()
        return
    if not parsed.database or parsed.database == ":memory:":
        yield
        return
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with shared_file(path.with_name(f"{path.name}.migrating")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
