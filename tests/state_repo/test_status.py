"""The status tables on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from state_repo.status import StatusStore, as_json
from tests.rows import drop_employee, put_employee, put_receipt

FIELDS = {"customer": "acme", "name": "Pulse", "role": "M", "desired_state": "running",
          "sync_status": "Synced", "health_status": "Healthy", "reason": "", "deadline": None}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.parts)])
def status(request, tmp_path) -> StatusStore:
    url = (f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite"
           else request.getfixturevalue("postgres"))
    store = StatusStore(url)
    store.migrate()
    store.migrate()
    return store


def test_rows_are_kept_changed_and_removed(status):
    put_employee(status, "pulse-aaaaaa", **FIELDS)
    put_employee(status, "pulse-aaaaaa", **FIELDS | {"health_status": "Degraded"})
    (row,) = status.employees("acme")
    assert (row.health_status, row.updated_at.tzinfo) == ("Degraded", UTC)
    assert status.employees("bolt") == []
    drop_employee(status, "pulse-aaaaaa")
    assert status.employee("pulse-aaaaaa") is None


def test_receipts_and_events_are_each_tenant_s_own_and_pruned(status):
    began = datetime(2026, 5, 1, tzinfo=UTC)
    for customer in ("acme", "bolt"):
        put_receipt(status, stack=f"customer/{customer}", revision="c" * 40, cause="commit",
                           result="succeeded", started_at=began, changes=[{"op": "create"}])
        status.add_event("Healthy", "hello", customer=customer)
    (receipt,) = status.receipts("acme", revision="ccccc")
    assert as_json(receipt)["changes"] == [{"op": "create"}]
    assert receipt.started_at == began
    (event,) = status.events("acme")
    assert status.events("acme", after_id=event.id) == []
    status.prune(keep=0)
    assert status.receipts("acme") == status.events("acme") == []


def test_the_version_moves_with_every_change(status):
    seen = [status.version("acme")]
    put_employee(status, "pulse-aaaaaa", **FIELDS)
    seen.append(status.version("acme"))
    status.add_event("Healthy", "hello", customer="acme")
    seen.append(status.version("acme"))
    assert len(set(seen)) == 3
    drop_employee(status, "pulse-aaaaaa")


def test_a_version_is_moved_by_its_own_customer_alone(status):
    before = status.versions(["acme", "bolt", "nobody"])
    put_employee(status, "pulse-bbbbbb", **FIELDS | {"customer": "bolt"})
    status.add_event("Healthy", "hello", customer="bolt")
    put_receipt(status, stack="customer/bolt", revision="c" * 40, cause="commit",
                       result="succeeded", started_at=datetime.now(UTC))
    after = status.versions(["acme", "bolt", "nobody"])
    assert {name for name in after if after[name] != before[name]} == {"bolt"}
    assert after["bolt"] == status.version("bolt")
    assert status.versions([]) == {}
    assert [row.id for row in status.employees_of(["acme", "bolt"])["bolt"]] == ["pulse-bbbbbb"]


def test_the_migrations_make_what_the_models_say(status):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from state_repo.status import VERSION_TABLE, Table
    with status.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Table.metadata) == []
