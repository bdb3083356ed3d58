"""Pages of errors: the same look, plain words, and a way out."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tests.webapp.conftest import PASSWORD
from webapp import accounts, shell
from webapp.access import access
from webapp.errors import Problem


def failing(house, error: Exception) -> str:
    @access("public")
    def view():
        raise error
    house.app.add_url_rule("/fails", "fails", view)
    return "/fails"


def test_an_unknown_address_says_so_and_leads_back(house):
    answer = house.client().get("/nowhere")
    assert answer.status_code == 404
    assert b"There is nothing here" in answer.data and b'href="/"' in answer.data
    assert b"The requested URL" not in answer.data
    assert "Content-Security-Policy" in answer.headers


def test_our_own_words_are_kept(house):
    answer = house.client("ann@acme.test").get(f"/employees/{house.bolt}")
    assert answer.status_code == 404 and f"There is no employee {house.bolt}" in answer.text
    assert "Back to your team" in answer.text


def test_a_refusal_and_a_fault_in_the_new_look(house):
    page = failing(house, Problem(403, "role", "This takes the role of owner."))
    answer = house.client("ann@acme.test").get(page)
    assert answer.status_code == 403 and "role of owner" in answer.text


def test_a_bug_is_answered_without_its_details(house):
    answer = house.client().get(failing(house, RuntimeError("secret detail")) + "?a=1")
    assert answer.status_code == 500 and "secret detail" not in answer.text
    assert "Something broke on our side" in answer.text and 'href="/fails?a=1"' in answer.text


def test_a_bug_behind_the_api_is_json(house):
    house.app.view_functions["api.customers"] = access("public")(lambda: 1 / 0)
    answer = house.client().get("/api/v1/customers")
    assert answer.status_code == 500 and answer.json["error"]["code"] == "internal_server_error"


def test_an_error_page_needs_no_database(house, monkeypatch):
    def gone():
        raise OperationalError("SELECT 1", {}, Exception("gone"))
    monkeypatch.setattr(shell, "visitor", gone)
    answer = house.client("ann@acme.test").get("/nowhere")
    assert answer.status_code == 404 and "There is nothing here" in answer.text


@pytest.mark.parametrize("path", ["/api/v1/nowhere"])
def test_the_api_s_errors_keep_their_shape(house, path):
    assert set(house.client().get(path).json["error"]) == {"code", "message", "violations"}


def test_a_locked_database_is_told_as_such_and_nothing_is_changed(tmp_path, monkeypatch):
    """Its time-out passed: 503 with a reason, in JSON and as a page."""
    import sqlite3

    from state_repo.instance import PORTS, Instance
    from webapp.factory import create_app
    from webapp.settings import Settings
    monkeypatch.setattr("webapp.factory.PATIENCE_S", 0.2)
    instance = Instance(id="0badcafe", data=tmp_path,
                        ports={name: 2000 + n for n, name in enumerate(PORTS)})
    client = create_app(Settings(instance)).test_client()
    accounts.ensure(instance, "eng@iw.test", PASSWORD, customer=None, role="engineer")
    who = {"email": "eng@iw.test", "password": PASSWORD}
    locker = sqlite3.connect(tmp_path / "database" / "instantworker.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    answer = client.post("/api/v1/session", json=who)
    assert answer.status_code == 503, answer.text
    assert answer.json["error"]["code"] == "database_busy"
    assert "nothing was changed" in answer.json["error"]["message"]
    locker.execute("ROLLBACK")
    locker.close()
    assert client.post("/api/v1/session", json=who).status_code == 200
