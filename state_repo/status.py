"""What was seen, and what was applied: tables in SQL, written by the reconciler alone.

`applied` is the loop's own memory across restarts. All other tables are for people: nothing is
decided by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    JSON,
    CompoundSelect,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.types import TypeDecorator

from state_repo.database import IMMEDIATE, PATIENCE_S, check_database, engine_for, migrate, speaking
from state_repo.instance import Instance

Change = Callable[[Session], None]
MIGRATIONS = Path(__file__).parent / "migrations"
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


class AppliedStack(Table):
    """What a stack was last brought to: the documents at `revision`, less the employees in
    `kept` (their documents had vanished) and `lost` (their files are gone)."""

    __tablename__ = "applied"
    stack: Mapped[str] = mapped_column(String(80), primary_key=True)
    revision: Mapped[str] = mapped_column(String(40))
    digest: Mapped[str] = mapped_column(String(64))
    kept: Mapped[list[str]] = mapped_column(JSON, default=list)
    lost: Mapped[list[str]] = mapped_column(JSON, default=list)
    at: Mapped[datetime] = mapped_column(UtcTime)


class Owner(Table):
    """Whose an employee's id is: for ever, also when its documents are gone."""

    __tablename__ = "owners"
    employee: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcTime)


class Receipt(Table):
    """What became of one run in one stack; stages in seconds. `revision`: the newest commit that
    touched the stack's own documents. `commits`: all that the run applied, the newest first, each
    {sha, author, subject}."""

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
    commits: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
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


class StatusStore:
    """Rows come back detached: plain values to read. `patience_s`: how long a write waits for
    other writers."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        self.url = url
        self.engine = engine_for(url, patience_s)
        self._session = sessionmaker(self.engine, expire_on_commit=False)
        self._writing = sessionmaker(self.engine.execution_options(**IMMEDIATE),
                                     expire_on_commit=False)

    def migrate(self) -> None:
        """Brings the tables to the newest version; safe when they are."""
        migrate(self.url, MIGRATIONS, VERSION_TABLE)

    @classmethod
    def prepared(cls, instance: Instance, patience_s: float = PATIENCE_S) -> StatusStore:
        """Opens the instance's database, with its tables.

        Raises:
            InstanceError: it was made before, and is gone.
            DatabaseError: it can't be used.
        """
        check_database(instance)
        made = cls(instance.database_url, patience_s)
        with speaking():
            made.migrate()
        instance.mark_made("database")
        return made

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
                 revision: str | None = None, cause: str | None = None) -> list[Receipt]:
        """The newest first; `revision`: those that applied this commit, which may be shortened;
        `cause`: those of one cause."""
        query = select(Receipt).order_by(Receipt.id.desc()).limit(limit)
        if customer is not None:
            query = query.where(Receipt.stack == f"customer/{customer}")
        if cause is not None:
            query = query.where(Receipt.cause == cause)
        if revision is not None:
            query = query.where(or_(
                Receipt.revision.startswith(revision, autoescape=True),
                sql_cast(Receipt.commits, Text).contains(f'"sha": "{revision}', autoescape=True)))
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

    def applied(self) -> list[AppliedStack]:
        return self._all(select(AppliedStack).order_by(AppliedStack.stack))

    def owners(self) -> dict[str, str]:
        """By employee's id, the customer that it belongs to."""
        with self._session() as session:
            return {row.employee: row.customer for row in session.scalars(select(Owner))}

    # ---- writers: the reconciler alone -------------------------------------------------------

    def write(self, changes: Sequence[Change]) -> None:
        """Several changes (see `set_row` and its neighbours) in one transaction.

        Raises:
            DatabaseError: none of them was made.
        """
        with speaking(), self._writing.begin() as session:
            for change in changes:
                change(session)

    def add_event(self, kind: str, message: str, customer: str | None = None,
                  employee: str | None = None) -> None:
        self.write([new_row(Event, {"at": datetime.now(UTC), "kind": kind, "message": message,
                                    "customer": customer, "employee": employee})])

    def prune(self, keep: int = 2_000) -> None:
        """Drops the oldest receipts of each stack and events of each customer beyond `keep`: who
        is busy flushes nobody else's."""
        with self._writing.begin() as session:
            for table, owner in ((Receipt, Receipt.stack), (Event, Event.customer)):
                ranked = select(table.id, func.row_number().over(
                    partition_by=owner, order_by=table.id.desc()).label("rank")).subquery()
                session.execute(delete(table).where(
                    table.id.in_(select(ranked.c.id).where(ranked.c.rank > keep))))

    def _all(self, query: Any) -> list[Any]:
        with self._session() as session:
            return list(session.scalars(query))


_KEYS: dict[type[Table], str] = {AppliedStack: "stack", Owner: "employee"}


def set_row(table: type[EmployeeStatus | StackStatus | AppliedStack | Owner], id: str,
            fields: Mapping[str, Any]) -> Change:
    """A change that makes the row, or changes some of its columns."""
    def change(session: Session) -> None:
        row = session.get(table, id)
        if row is None:
            row = table(**{_KEYS.get(table, "id"): id})
            session.add(row)
        for name, value in fields.items():
            setattr(row, name, value)
        setattr(row, "at" if table in _KEYS else "updated_at", datetime.now(UTC))
    return change


def drop_row(table: type[Table], id: str) -> Change:
    def change(session: Session) -> None:
        row = session.get(table, id)
        if row is not None:
            session.delete(row)
    return change


def new_row(table: type[Receipt] | type[Event], fields: Mapping[str, Any]) -> Change:
    def change(session: Session) -> None:
        session.add(table(**fields))
    return change


def as_json(row: Any, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """A row (or some of its columns) as plain JSON values; times in RFC 3339, UTC."""
    names = columns or [column.key for column in row.__table__.columns]
    values = {name: getattr(row, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()}


__all__ = ["AppliedStack", "Change", "EmployeeStatus", "Event", "Owner", "Receipt", "StackStatus",
           "StatusStore", "as_json", "drop_row", "new_row", "set_row"]
