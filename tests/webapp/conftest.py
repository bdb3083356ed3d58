from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from state_repo import changes
from state_repo.database import engine_for
from state_repo.documents import Platform
from state_repo.instance import PORTS, Instance
from state_repo.store import Author
from tests.rows import put_employee
from tools import catalogue
from webapp import accounts, passwords
from webapp.factory import create_app
from webapp.settings import Settings

IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
ENGINEER = Author("Engineer", "eng@iw.test")
PASSWORD = "correct horse battery"


# What leans on a database's own ways (money, people) runs on both each time;
# everything else on PostgreSQL with `make test-long`.
ON_BOTH = ("test_billing", "test_company", "test_payments", "test_people")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.stem not in ON_BOTH and (
                "postgresql" in item.name):
            item.add_marker(pytest.mark.long)


@dataclass
class House:
    """Two customers, acme and bolt, with one employee each; and a person for each."""

    app: Flask
    pulse: str
    bolt: str

    def client(self, email: str | None = None) -> FlaskClient:
        client = self.app.test_client()
        if email is not None:
            answer = client.post("/api/v1/session", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 200
            client.environ_base["HTTP_X_CSRF_TOKEN"] = answer.json["csrf_token"]
        return client

    @property
    def status(self):
        return self.app.extensions["iw_status"]

    def runs(self, employee: str, customer: str) -> None:
        put_employee(self.status, employee, customer=customer, name="Pulse", role="M",
            desired_state="running",
            sync_status="Synced", health_status="Healthy", reason="", address="10.192.0.2")


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> None:
    """Argon2id with little work: a test makes dozens of hashes."""
    passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    passwords._NOBODY = passwords._HASHER.hash("nobody's password")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.parts)])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """A copy of one that is built once: hundreds of tests begin with it."""
    folder, ids = request.getfixturevalue(f"built_on_{request.param}")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    url = None
    if request.param == "postgresql":
        url = _database(request.getfixturevalue("postgres_server"), "house", "TEMPLATE built")
    made = House(create_app(Settings(_instance(tmp_path, url))), ids["acme"], ids["bolt"])
    made.runs(ids["acme"], "acme")
    made.runs(ids["bolt"], "bolt")
    return made


Built = tuple[Path, dict[str, str]]  # the data folder, and each customer's employee


@pytest.fixture(scope="session")
def built_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def built_on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Built:
    return build(tmp_path_factory.mktemp("built"), _database(postgres_server, "built"))


def _database(server: str, name: str, like: str = "") -> str:
    """A new one's URL."""
    engine = engine_for(server).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                "WHERE datname = 'built'"))  # it is copied when nobody is there
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name} {like}"))
    engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"


def build(folder: Path, database: str | None = None) -> Built:
    instance = _instance(folder, database)
    app = create_app(Settings(instance))
    store, ids = app.extensions["iw_store"], {}
    changes.set_platform(store, ENGINEER, "P", lambda _: Platform(images={"employee": IMAGE}))
    catalogue.teach(store, ENGINEER, {})
    for customer in ("acme", "bolt"):
        changes.create_customer(store, ENGINEER, customer, customer.title(), 3)
        ids[customer] = changes.hire(store, ENGINEER, customer, "Pulse", "M")[0].id
        accounts.ensure(instance, f"ann@{customer}.test", PASSWORD, customer=customer, role="owner")
    accounts.ensure(instance, "eng@iw.test", PASSWORD, customer=None, role="engineer")
    return folder, ids


def _instance(folder: Path, database: str | None = None) -> Instance:
    return Instance(id="0badcafe", data=folder, database=database,
                    ports={name: 2000 + n for n, name in enumerate(PORTS)})
