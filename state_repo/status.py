"""What was seen: the status index in SQL, written by the reconciler alone.

Everything here can be rebuilt from git and reality; nothing is decided by it that a restart could
not decide again. SQLite in WAL mode by default, PostgreSQL by its URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    JSON,
    CompoundSelect,
    DateTime,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    create_engine,
    delete,
    event,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.types import TypeDecorator

VERSION_TABLE = "alembic_version_status"


class UtcTime(TypeDecorator[datetime]):
    """Aware datetimes in and out, also where the database keeps no zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    metadata = MetaData()


class EmployeeStatus(Table):
    """One employee as last seen. `desired_state`: warm, running, paused, retired, or vanished."""

    __tablename__ = "employees"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(80))
    desired_state: Mapped[str] = mapped_column(String(16))
    sync_status: Mapped[str] = mapped_column(String(16))
    health_status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    deadline: Mapped[datetime | None] = mapped_column(UtcTime)
    revision: Mapped[str | None] = mapped_column(String(40))
    address: Mapped[str | None] = mapped_column(String(64))
    container_id: Mapped[str | None] = mapped_column(String(64))
    image: Mapped[str | None] = mapped_column(String(255))
    asleep_since: Mapped[datetime | None] = mapped_column(UtcTime)
    updated_at: Mapped[datetime] = mapped_column(UtcTime)


class StackStatus(Table):
    """One stack ("platform", "customer/<id>", or "loop": the reconciler itself)."""

    __tablename__ = "stacks"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    sync_status: Mapped[str] = mapped_column(String(16), default="Unknown")
    health_status: Mapped[str] = mapped_column(String(16), default="Progressing")
    reason: Mapped[str] = mapped_column(Text, default="")
    deadline: Mapped[datetime | None] = mapped_column(UtcTime)
    revision: Mapped[str | None] = mapped_column(String(40))
    digest: Mapped[str | None] = mapped_column(String(64))
    failures: Mapped[int] = mapped_column(Integer, default=0)
    retry_at: Mapped[datetime | None] = mapped_column(UtcTime)
    waiting_for: Mapped[str | None] = mapped_column(String(32))
    updated_at: Mapped[datetime] = mapped_column(UtcTime)


class Receipt(Table):
    """What became of one commit (or repair) in one stack; stages in seconds."""

    __tablename__ = "receipts"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    stack: Mapped[str] = mapped_column(String(80))
    revision: Mapped[str] = mapped_column(String(40))
    cause: Mapped[str] = mapped_column(String(16))
    author: Mapped[str] = mapped_column(String(160), default="")
    subject: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[datetime] = mapped_column(UtcTime)
    detect_s: Mapped[float] = mapped_column(Float, default=0.0)
    queue_s: Mapped[float] = mapped_column(Float, default=0.0)
    plan_s: Mapped[float] = mapped_column(Float, default=0.0)
    apply_s: Mapped[float] = mapped_column(Float, default=0.0)
    verify_s: Mapped[float] = mapped_column(Float, default=0.0)
    total_s: Mapped[float] = mapped_column(Float, default=0.0)
    changes: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    __table_args__ = (Index("ix_receipts_stack_id", "stack", "id"),)


class Event(Table):
    """Something that happened, in one sentence."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime)
    customer: Mapped[str | None] = mapped_column(String(64))
    employee: Mapped[str | None] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text)
    __table_args__ = (Index("ix_events_customer_id", "customer", "id"),)


def engine_for(url: str) -> Engine:
    """An engine for SQLite (WAL, waits for locks) or PostgreSQL (psycopg 3)."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if not parsed.drivername.startswith("sqlite"):
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 15})
    tune(engine)
    return engine


def tune(engine: Engine) -> None:
    """SQLite's settings are a connection's own: each new one gets them."""
    if engine.dialect.name == "sqlite":
        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _: Any) -> None:
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")


def alembic_config(url: str, folder: Path, version_table: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["url"] = url
    config.attributes["version_table"] = version_table
    return config


class StatusStore:
    """Rows come back detached: plain values to read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = engine_for(url)
        self._session = sessionmaker(self.engine, expire_on_commit=False)

    def migrate(self) -> None:
        """Brings the tables to the newest version; safe when they are."""
        command.upgrade(alembic_config(self.url, Path(__file__).parent / "migrations",
                                       VERSION_TABLE), "head")

    # ---- readers -----------------------------------------------------------------------------

    def employees(self, customer: str | None = None) -> list[EmployeeStatus]:
        query = select(EmployeeStatus).order_by(EmployeeStatus.customer, EmployeeStatus.id)
        if customer is not None:
            query = query.where(EmployeeStatus.customer == customer)
        return self._all(query)

    def employees_of(self, customers: Sequence[str]) -> dict[str, list[EmployeeStatus]]:
        """Several customers' employees in one query; as plain rows, which cost half as much."""
        found: dict[str, list[EmployeeStatus]] = {customer: [] for customer in customers}
        query = select(*EmployeeStatus.__table__.columns).where(
            EmployeeStatus.customer.in_(customers)).order_by(EmployeeStatus.id)
        with self._session() as session:
            for row in session.execute(query):
                found[row.customer].append(cast("EmployeeStatus", row))
        return found

    def employee(self, employee: str) -> EmployeeStatus | None:
        with self._session() as session:
            return session.get(EmployeeStatus, employee)

    def stacks(self) -> list[StackStatus]:
        return self._all(select(StackStatus).order_by(StackStatus.id))

    def stack(self, stack: str) -> StackStatus | None:
        with self._session() as session:
            return session.get(StackStatus, stack)

    def receipts(self, customer: str | None = None, limit: int = 50,
                 revision: str | None = None) -> list[Receipt]:
        """The newest first; `revision` may be shortened."""
        query = select(Receipt).order_by(Receipt.id.desc()).limit(limit)
        if customer is not None:
            query = query.where(Receipt.stack == f"customer/{customer}")
        if revision is not None:
            query = query.where(Receipt.revision.startswith(revision, autoescape=True))
        return self._all(query)

    def events(self, customer: str | None = None, after_id: int = 0,
               limit: int = 100) -> list[Event]:
        """After an id: the oldest first. Without one: the newest `limit`, oldest first."""
        query = select(Event).limit(limit)
        if customer is not None:
            query = query.where(Event.customer == customer)
        if after_id:
            return self._all(query.where(Event.id > after_id).order_by(Event.id))
        return self._all(query.order_by(Event.id.desc()))[::-1]

    def version(self, customer: str) -> str:
        """Changes whenever a row of the customer's employees, receipts or events does."""
        return self.versions([customer])[customer]

    def versions(self, customers: Sequence[str]) -> dict[str, str]:
        """Many customers' versions in one query: what live views watch."""
        stacks = {f"customer/{customer}": customer for customer in customers}
        newest = func.max(EmployeeStatus.updated_at).cast(String)
        query: CompoundSelect[Any] = union_all(
            select(literal("employees"), EmployeeStatus.customer, newest,
                   func.count(EmployeeStatus.id)).where(EmployeeStatus.customer.in_(customers))
            .group_by(EmployeeStatus.customer),
            select(literal("events"), Event.customer, literal(""), func.max(Event.id))
            .where(Event.customer.in_(customers)).group_by(Event.customer),
            select(literal("receipts"), Receipt.stack, literal(""), func.max(Receipt.id))
            .where(Receipt.stack.in_(list(stacks))).group_by(Receipt.stack))
        found: dict[str, list[str]] = {customer: [] for customer in customers}
        with self._session() as session:
            for kind, owner, time, number in session.execute(query):
                found[stacks.get(owner, owner)].append(f"{kind} {time} {number}")
        return {customer: "/".join(sorted(parts)) for customer, parts in found.items()}

    # ---- writers: the reconciler alone -------------------------------------------------------

    def upsert_employee(self, id: str, **fields: Any) -> None:
        self._upsert(EmployeeStatus, id, fields)

    def upsert_stack(self, id: str, **fields: Any) -> None:
        self._upsert(StackStatus, id, fields)

    def remove_employee(self, id: str) -> None:
        with self._session.begin() as session:
            session.execute(delete(EmployeeStatus).where(EmployeeStatus.id == id))

    def add_receipt(self, **fields: Any) -> None:
        with self._session.begin() as session:
            session.add(Receipt(**fields))

    def add_event(self, kind: str, message: str, customer: str | None = None,
                  employee: str | None = None) -> None:
        with self._session.begin() as session:
            session.add(Event(at=datetime.now(UTC), kind=kind, message=message,
                              customer=customer, employee=employee))

    def prune(self, keep: int = 10_000) -> None:
        """Drops the oldest receipts and events beyond `keep` of each."""
        with self._session.begin() as session:
            for table in (Receipt, Event):
                newest = session.scalar(select(func.max(table.id))) or 0
                session.execute(delete(table).where(table.id <= newest - keep))

    def _upsert(self, table: type[EmployeeStatus] | type[StackStatus], id: str,
                fields: Mapping[str, Any]) -> None:
        with self._session.begin() as session:
            row = session.get(table, id)
            if row is None:
                row = table(id=id)
                session.add(row)
            for name, value in fields.items():
                setattr(row, name, value)
            setattr(row, "updated_at", datetime.now(UTC))  # noqa: B010 - both tables have it

    def _all(self, query: Any) -> list[Any]:
        with self._session() as session:
            return list(session.scalars(query))


def as_json(row: Any, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """A row (or some of its columns) as plain JSON values; times in RFC 3339, UTC."""
    names = columns or [column.key for column in row.__table__.columns]
    values = {name: getattr(row, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()}


__all__ = ["EmployeeStatus", "Event", "Receipt", "StackStatus", "StatusStore",
           "alembic_config", "as_json", "engine_for", "tune"]
