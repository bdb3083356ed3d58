"""Long work and large bodies: each company its share, and what is quick by a door of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.routing import Map, Rule
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from reconciler.api import OF_ONE, Doors
from state_repo.instance import BULK_SOCKET, door_for

OWNERS = {"pulse": "acme", "echo": "acme", "spark": "bolt"}


def asked(doors: Doors, employee: str, fails: bool = False) -> Response:
    def endpoint(request: Request, employee: str) -> Response:
        if fails:
            raise RuntimeError("no")
        return Response(iter([b"x"]))
    rules = Map([Rule("/v1/employees/<employee>/files/content", endpoint=endpoint)])
    environ = EnvironBuilder(path=f"/v1/employees/{employee}/files/content").get_environ()
    return doors.through(Request(environ), rules)


@pytest.fixture
def doors():
    return Doors(lambda arguments: OWNERS[arguments["employee"]])


def test_one_company_takes_its_share_and_leaves_the_rest(doors):
    open_ones = [asked(doors, "pulse" if n % 2 else "echo") for n in range(OF_ONE)]
    assert all(answer.status_code == 200 for answer in open_ones)
    busy = asked(doors, "pulse")
    assert busy.status_code == 503 and busy.json["code"] == "busy"
    assert asked(doors, "spark").status_code == 200, "another company's is not touched"
    open_ones[0].close()
    assert asked(doors, "echo").status_code == 200


def test_what_fails_gives_its_place_back(doors):
    for _ in range(3 * OF_ONE):
        with pytest.raises(RuntimeError):
            asked(doors, "pulse", fails=True)
    assert asked(doors, "pulse").status_code == 200


@pytest.mark.parametrize(("path", "bulk"), [
    ("/v1/employees/e/wake", False), ("/v1/status", False), ("/v1/employees/e/files", False),
    ("/v1/employees/e/files/content?path=a/wake", True), ("/v1/employees/e/files/archive", True),
    ("/v1/plan?customer=acme", True), ("/v1/customers/c/knowledge/search?q=x", True),
    ("/v1/employees/e/ask", True), ("/v1/customers/c/knowledge/page?address=a", True),
    ("/v1/customers/c/knowledge/restore?name=a", True), ("/v1/customers/c/knowledge", False),
    ("/v1/services", True), ("/v1/charts?span=1h", True), ("/v1/employees/e/uptime", True),
    ("/v1/journal?about=acme", True), ("/v1/alerts/test", True), ("/v1/alerts", False)])
def test_what_is_quick_never_waits_behind_what_is_not(tmp_path: Path, path, bulk):
    usual = tmp_path / "reconciler.sock"
    assert door_for(usual, path) == usual, "where there is one door alone"
    (tmp_path / BULK_SOCKET).touch()
    assert door_for(usual, path) == (tmp_path / BULK_SOCKET if bulk else usual)
