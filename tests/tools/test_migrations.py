"""Each migration up and down again, with data in the tables: what was there stays, on both kinds of
database. What a migration is to make of older data is in its own test below."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from state_repo.database import DatabaseError, downgrade, engine_for, migrate, revision_of
from state_repo.status import MIGRATIONS, VERSION_TABLE
from webapp import accounts, models

SCHEMAS = {"status": (MIGRATIONS, VERSION_TABLE),
           "web": (accounts.MIGRATIONS, models.VERSION_TABLE)}
NOW = datetime(2026, 11, 28, 6, 0, tzinfo=UTC)


def revisions(folder: Path) -> list[str]:
    """The oldest first."""
    return [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()][::-1]


STEPS = [pytest.param(schema, older, newer, id=f"{schema}-{older}-{newer}")
         for schema, (folder, _) in SCHEMAS.items()
         for older, newer in zip(["base", *revisions(folder)], revisions(folder), strict=False)]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.parts)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/d.db" if request.param == "sqlite" else (
        request.getfixturevalue("postgres"))


def value(column: sa.Column, number: int) -> Any:
    """Something that the column takes; another for each number."""
    kind = column.type
    if column.foreign_keys:
        return number  # the row of that number in the other table
    if isinstance(kind, sa.DateTime):
        return NOW
    if isinstance(kind, sa.Boolean):
        return bool(number % 2)
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.Float):
        return number + 0.5
    if isinstance(kind, sa.JSON):
        return {"number": number}
    if isinstance(kind, sa.LargeBinary):
        return bytes([number])
    length = getattr(kind, "length", None) or 40
    return f"{column.name[:8]}-{number}"[:length]


def tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return [t for t in found.sorted_tables if not t.name.startswith("alembic_version")]


def fill(connection: sa.Connection) -> None:
    for table in tables(connection):
        for number in (1, 2):
            connection.execute(table.insert().values(
                {c.name: value(c, number) for c in table.columns}))


def content(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """By table its rows; of times, what both databases tell of them."""
    def plain(found: Any) -> Any:
        return found.replace(tzinfo=None) if isinstance(found, datetime) else found
    return {table.name: sorted(({k: plain(v) for k, v in row.items()} for row in
                                connection.execute(sa.select(table)).mappings()), key=repr)
            for table in tables(connection)}


@pytest.mark.parametrize("schema, older, newer", STEPS)
def test_up_and_down_lose_nothing_that_both_know(url, schema, older, newer):
    folder, table = SCHEMAS[schema]
    engine = engine_for(url)
    if older != "base":
        migrate(url, folder, table, older)
        with engine.begin() as connection:
            fill(connection)
    with engine.connect() as connection:
        before = content(connection)
    migrate(url, folder, table, newer)
    with engine.connect() as connection:
        after = content(connection)
    for name, rows in before.items():
        assert name in after, f"{name} went without its data being looked at: test that here"
        known = set(rows[0]) & set(after[name][0])
        assert sorted(({k: r[k] for k in known} for r in after[name]), key=repr) == (
            sorted(({k: r[k] for k in known} for r in rows), key=repr))
    downgrade(url, folder, table, older)
    assert revision_of(url, table) == (None if older == "base" else older)
    with engine.connect() as connection:
        assert content(connection) == before
    migrate(url, folder, table)  # and up again, to the newest
    assert revision_of(url, table) == revisions(folder)[-1]
    engine.dispose()


def test_what_was_applied_and_whose_an_id_is_are_made_of_what_was_there(url):
    migrate(url, MIGRATIONS, VERSION_TABLE, "0002")
    engine = engine_for(url)
    with engine.begin() as connection:
        fill(connection)
    migrate(url, MIGRATIONS, VERSION_TABLE)
    with engine.connect() as connection:
        after = content(connection)
    assert {row["stack"] for row in after["applied"]} == {row["id"] for row in after["stacks"]}
    assert {(row["employee"], row["customer"]) for row in after["owners"]} == {
        (row["id"], row["customer"]) for row in after["employees"]}
    engine.dispose()


def test_tables_of_newer_code_are_left_alone_and_it_says_what_to_do(url):
    migrate(url, MIGRATIONS, VERSION_TABLE)
    engine = engine_for(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"9999[^~]*`make back`") as error:
        migrate(url, MIGRATIONS, VERSION_TABLE)
    assert not error.value.is_away
    engine.dispose()


def test_where_there_are_no_tables_there_is_no_version(url):
    assert revision_of(url, VERSION_TABLE) is None
