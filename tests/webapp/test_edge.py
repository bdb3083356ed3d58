"""Who passes the edge."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.rows import put_employee
from tests.webapp.conftest import PASSWORD


def ask(client, host: str, uri: str = "/", **headers: str):
    return client.get("/edge/authorize", headers={
        "X-Forwarded-Host": f"{host}:2000", "X-Forwarded-Uri": uri, **headers})


def open_page(client, employee: str, kind: str = "chat") -> tuple[str, str]:
    answer = client.get(f"/employees/{employee}/open/{kind}")
    assert answer.status_code == 303
    url = urlsplit(answer.location)
    return url.hostname or "", f"{url.path}?{url.query}"


def test_the_owner_passes_by_a_ticket_once_and_then_by_a_cookie(house):
    owner, visitor = house.client("ann@acme.test"), house.client()
    host, uri = open_page(owner, house.pulse)
    assert host == f"{house.pulse}.gw.iw.localhost"
    answer = ask(visitor, host, uri + "&x=1")
    assert (answer.status_code, answer.location) == (303, "/?x=1")
    assert "Domain" not in answer.headers["Set-Cookie"]
    passed = ask(visitor, host, "/chat")
    assert passed.status_code == 200
    assert passed.headers["X-Upstream"] == "10.192.0.2:18789"
    assert passed.headers["X-User"] == "ann@acme.test"
    assert ask(house.client(), host, uri).status_code == 401, "a ticket works once"


def test_ticket_and_cookie_are_good_for_one_host(house):
    owner, visitor = house.client("ann@acme.test"), house.client()
    host, uri = open_page(owner, house.pulse)
    browser = f"{house.pulse}.vnc.iw.localhost"
    assert ask(visitor, browser, uri).status_code == 401
    host, uri = open_page(owner, house.pulse)
    ask(visitor, host, uri)
    assert ask(visitor, browser).status_code == 401


def test_another_customer_and_a_stranger_are_refused(house):
    other = house.client("ann@bolt.test")
    assert other.get(f"/employees/{house.pulse}/open/chat").status_code == 404
    host = f"{house.pulse}.gw.iw.localhost"
    assert ask(house.client(), host).status_code == 401
    token = other.post("/api/v1/tokens", json={"name": "t"}).json["token"]
    assert ask(house.client(), host, Authorization=f"Bearer {token}").status_code == 404


@pytest.mark.parametrize("host", ["nobody-aaaaaa.gw.iw.localhost", "{id}.gw.evil.localhost",
                                  "{id}.app.iw.localhost", "{id}", "", "..gw.iw.localhost"])
def test_unknown_hosts_are_nothing(house, host):
    assert ask(house.client(), host.format(id=house.pulse)).status_code == 404


def test_signing_out_closes_the_employees_pages(house):
    owner, visitor = house.client("ann@acme.test"), house.client()
    host, uri = open_page(owner, house.pulse)
    ask(visitor, host, uri)
    assert ask(visitor, host).status_code == 200
    owner.delete("/api/v1/session")
    assert ask(visitor, host).status_code == 401


def test_a_websocket_from_another_site_is_refused(house):
    owner = house.client("ann@acme.test")
    token = owner.post("/api/v1/tokens", json={"name": "t"}).json["token"]
    host = f"{house.pulse}.gw.iw.localhost"

    def upgrade(origin: str) -> int:
        return ask(house.client(), host, Authorization=f"Bearer {token}", Origin=origin,
                   **{"X-Forwarded-Upgrade": "websocket"}).status_code
    assert upgrade(f"http://{host}:2000") == 200
    assert upgrade("http://evil.test") == 403
    assert upgrade("http://app.iw.localhost:2000") == 403


def test_who_is_not_there_says_why(house):
    put_employee(house.status, house.pulse, address=None, health_status="Progressing",
                                 reason="its container is being made")
    token = house.client("ann@acme.test").post("/api/v1/tokens", json={"name": "t"}).json["token"]
    answer = ask(house.client(), f"{house.pulse}.gw.iw.localhost", Authorization=f"Bearer {token}")
    assert answer.status_code == 503
    assert b"Its workplace is being set up" in answer.data
    assert PASSWORD.encode() not in answer.data


def test_a_part_of_a_page_is_not_refused_while_its_employee_is_being_seen_to(house):
    """Refused, one script would leave the page empty, and nobody would ask for it again."""
    put_employee(house.status, house.pulse, address="10.192.0.9", health_status="Progressing",
                 reason="its limits were changed by hand")
    token = house.client("ann@acme.test").post("/api/v1/tokens", json={"name": "t"}).json["token"]
    host = f"{house.pulse}.gw.iw.localhost"

    def loaded(mode: str, **more: str) -> int:
        return ask(house.client(), host, "/assets/index.js", **more,
                   **{"X-Forwarded-Mode": mode}).status_code
    mine = {"Authorization": f"Bearer {token}"}
    assert [loaded(mode, **mine) for mode in ("navigate", "cors", "no-cors")] == [503, 200, 200]
    assert loaded("cors") == 401
    put_employee(house.status, house.pulse, address=None)
    assert loaded("cors", **mine) == 503


@pytest.mark.parametrize("to", ["//evil.test", "/\\evil.test", "/%2F/evil.test"])
def test_a_ticket_never_leads_away(house, to):
    host, uri = open_page(house.client("ann@acme.test"), house.pulse)
    answer = ask(house.client(), host, to + "?" + uri.partition("?")[2])
    assert answer.status_code == 303
    assert not answer.location.startswith(("//", "/\\", "http"))


def test_two_cookies_of_one_name_are_none(house):
    """Another host of the domain may set one for all of it, and nobody knows which comes first."""
    owner, visitor = house.client("ann@acme.test"), house.client()
    host, uri = open_page(owner, house.pulse)
    ask(visitor, host, uri)
    mine, plain = visitor.get_cookie("iw_edge").value, house.app.test_client(use_cookies=False)
    assert ask(plain, host, Cookie=f"iw_edge={mine}").status_code == 200
    for both in (f"iw_edge=planted; iw_edge={mine}", f"iw_edge={mine}; iw_edge=planted"):
        assert ask(plain, host, Cookie=both).status_code == 401
    session = owner.get_cookie("iw_session").value
    assert plain.get("/api/v1/session", headers={
        "Cookie": f"iw_session=planted; iw_session={session}"}).status_code == 401


def test_a_websocket_with_a_cookie_says_where_it_comes_from(house):
    owner, visitor = house.client("ann@acme.test"), house.client()
    host, uri = open_page(owner, house.pulse)
    ask(visitor, host, uri)
    upgrade = {"X-Forwarded-Upgrade": "websocket"}
    assert ask(visitor, host, **upgrade).status_code == 403
    assert ask(visitor, host, **upgrade, Origin=f"http://{host}:2000").status_code == 200
    token = owner.post("/api/v1/tokens", json={"name": "t"}).json["token"]
    assert ask(house.client(), host, **upgrade,
               Authorization=f"Bearer {token}").status_code == 200, "a program need not"
