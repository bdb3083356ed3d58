"""The server itself, on a port: event streams to many, large uploads, and its limits."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer

import pytest

from state_repo import changes
from tests.conftest import ROOT, free_ports
from tests.rows import put_employee
from tests.webapp.conftest import ENGINEER, PASSWORD
from webapp import streams
from webapp.access import IDLE
from webapp.models import LoginSession, db, now
from webapp.server import Server, server

STREAM = "/api/v1/customers/acme/events/stream"


@pytest.fixture
def served(house) -> Iterator[Server]:
    made = server(house.app, free_ports()["app"], threads=4)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    while not made.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield made
    made.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def cookie(house, email: str = "ann@acme.test") -> dict[str, str]:
    client = house.client()
    answer = client.post("/api/v1/session", json={"email": email, "password": PASSWORD})
    return {"Cookie": f"iw_session={client.get_cookie('iw_session').value}",
            "X-CSRF-Token": answer.json["csrf_token"]}


def connect(served: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", served.config.port, timeout=10)


def get(served: Server, path: str, headers: dict[str, str], method: str = "GET"
        ) -> http.client.HTTPResponse:
    connection = connect(served)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


class Page:
    """A page's open event stream."""

    def __init__(self, served: Server, headers: dict[str, str], path: str = STREAM) -> None:
        self.answer = get(served, path, headers)
        assert self.answer.status == 200
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")

    def next(self) -> tuple[str, object]:
        """The next event's name and data; ("", "") when the stream ended."""
        name = ""
        while line := self.answer.readline().decode():
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                return name, json.loads(value)
        return "", ""


def test_a_page_is_told_everything_once_and_then_what_changes(house, served):
    page = Page(served, cookie(house))
    name, team = page.next()
    assert (name, [e["id"] for e in team]) == ("team", [house.pulse])
    assert page.next()[0] == "seats"
    put_employee(house.status, house.pulse, health_status="Degraded", reason="it fell over")
    began = time.monotonic()
    name, one = page.next()
    assert (name, one["id"], one["reason"]) == ("employee", house.pulse, "it fell over")
    assert time.monotonic() - began < 2  # 1 s is measured in bench.web; machines are busy
    store = house.app.extensions["iw_store"]
    echo, _ = changes.hire(store, ENGINEER, "acme", "Echo", "Sales")
    assert page.next()[1]["name"] == "Echo"
    assert page.next() == ("seats", {"id": "acme", "name": "Acme", "suspended": False, "seats": 3,
                                     "seats_taken": 2})
    changes.retire(store, ENGINEER, "acme", echo.id)
    seen = [page.next(), page.next()]
    assert ("gone", {"id": echo.id}) in seen, "it was never made, so nothing of it is left"


def test_others_changes_wake_nobody(house, served):
    page = Page(served, cookie(house))
    assert [page.next()[0], page.next()[0]] == ["team", "seats"]
    put_employee(house.status, house.bolt, reason="bolt's own")
    house.status.add_event("Healthy", "bolt's own", customer="bolt")
    time.sleep(1.2)
    put_employee(house.status, house.pulse, reason="acme's own")
    assert page.next()[1]["reason"] == "acme's own"


def test_the_rules_of_access_are_the_app_s_own(house, served):
    def status(headers: dict[str, str], path: str = STREAM) -> int:
        return get(served, path, headers).status
    assert status({}) == 401
    assert status(cookie(house, "ann@bolt.test")) == 404
    ann = cookie(house)
    assert status(ann, "/api/v1/customers/bolt/events/stream") == 404
    assert json.loads(get(served, STREAM, {}).read())["error"]["code"] == "sign_in"
    token = house.client("ann@acme.test").post("/api/v1/tokens", json={"name": "t"}).json["token"]
    assert Page(served, {"Authorization": f"Bearer {token}"}).next()[0] == "team"
    assert Page(served, cookie(house, "eng@iw.test")).next()[0] == "team"
    head = get(served, STREAM, ann, "HEAD")
    assert (head.status, head.read()) == (200, b"")


def test_who_signed_out_is_told_nothing_more(house, served, monkeypatch):
    monkeypatch.setattr(streams, "CHECK_S", 0.2)
    monkeypatch.setattr(streams, "BREATH_S", 0.2)
    page = Page(served, cookie(house))
    assert [page.next()[0], page.next()[0]] == ["team", "seats"]
    with house.app.app_context():
        db.session.query(LoginSession).delete()
        db.session.commit()
    assert page.next() == ("", "")


def test_whoever_is_signed_out_is_told_nothing_more_at_once(house, served):
    """Long before the minute is over, and nobody else's page is closed for it."""
    mine, other = cookie(house), cookie(house)
    page, stays = Page(served, mine), Page(served, other)
    for each in (page, stays):
        assert [each.next()[0], each.next()[0]] == ["team", "seats"]
    began = time.monotonic()
    assert get(served, "/api/v1/session", mine, "DELETE").status == 200
    assert page.next() == ("", "")
    assert time.monotonic() - began < 5
    put_employee(house.status, house.pulse, reason="still told")
    assert stays.next()[1]["reason"] == "still told"


def test_a_page_that_lies_open_keeps_no_session_alive(house, served):
    ann, long_ago = cookie(house), now() - IDLE + timedelta(minutes=1)
    with house.app.app_context():
        db.session.query(LoginSession).update({"last_seen_at": long_ago})
        db.session.commit()
        assert Page(served, ann).next()[0] == "team"
        assert db.session.query(LoginSession.last_seen_at).scalar() == long_ago
        assert get(served, "/api/v1/session", ann).status == 200
        db.session.rollback()
        assert db.session.query(LoginSession.last_seen_at).scalar() > long_ago


def test_many_streams_hold_no_thread_and_go_with_their_pages(house, served):
    ann = cookie(house)
    pages = [Page(served, ann) for _ in range(40)]  # ten times the server's threads
    assert all(page.next()[0] == "team" and page.next()[0] == "seats" for page in pages)
    assert get(served, "/healthz", {}).status == 200
    assert served.front.streams.open == 40
    put_employee(house.status, house.pulse, reason="for everybody")
    assert all(page.next()[1]["reason"] == "for everybody" for page in pages)
    for page in pages:
        page.answer.close()
    until = time.monotonic() + 5
    while served.front.streams.open and time.monotonic() < until:
        time.sleep(0.02)
    assert served.front.streams.open == 0


def test_a_reader_that_takes_nothing_holds_up_nobody_and_is_let_go(house, served, monkeypatch):
    monkeypatch.setattr(streams, "_PATIENCE_S", 1.0)
    ann = cookie(house)
    sleeper = socket.create_connection(("127.0.0.1", served.config.port))
    sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sleeper.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nCookie: {ann['Cookie']}\r\n\r\n".encode())
    page = Page(served, ann)
    assert [page.next()[0], page.next()[0]] == ["team", "seats"]
    until, number = time.monotonic() + 15, 0
    while served.front.streams.open == 2 and time.monotonic() < until:
        number += 1
        put_employee(house.status, house.pulse, reason=f"{number} " + "x" * 2_000_000)
        assert page.next()[1]["reason"].startswith(str(number))
    assert served.front.streams.open == 1
    sleeper.close()


class Reconciler(BaseHTTPRequestHandler):
    """Takes uploads, and counts them as they come; answers downloads of any length."""

    protocol_version = "HTTP/1.1"
    taken = 0
    given = 0

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left and (piece := self.rfile.read(min(left, 65536))):
            left -= len(piece)
            Reconciler.taken += len(piece)
        self._say(b"{}")

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        for _ in range(1 << 14):
            self.wfile.write(bytes(65536))
            Reconciler.given += 65536

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def reconciler(house) -> Iterator[type[Reconciler]]:
    path = house.app.config["INSTANCE"].socket
    path.parent.mkdir(exist_ok=True)
    Reconciler.taken = Reconciler.given = 0
    with ThreadingUnixStreamServer(str(path), Reconciler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield Reconciler
        listening.shutdown()


def test_an_upload_is_passed_on_as_it_comes(house, served, reconciler):
    size, path = 8 << 20, f"/api/v1/customers/acme/employees/{house.pulse}/files/content?path=a"
    connection = connect(served)
    connection.putrequest("PUT", path)
    for name, value in {**cookie(house), "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(bytes(size - 1))
    until = time.monotonic() + 5
    while reconciler.taken < size // 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert reconciler.taken >= size // 2, "the last byte was never sent, and most is there already"
    connection.send(b"!")
    assert connection.getresponse().status == 200
    assert reconciler.taken == size


def test_bodies_have_limits(house, served, reconciler):
    ann, path = cookie(house), f"/api/v1/customers/acme/employees/{house.pulse}/files/content"

    def put(path: str, method: str = "PUT", **headers: str) -> int:
        connection = connect(served)
        connection.putrequest(method, path)
        for name, value in {**ann, **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        if headers.get("Transfer_Encoding"):
            connection.send(b"3\r\n{\"a\r\n0\r\n\r\n")
        return connection.getresponse().status
    assert put(path + "?path=a", Content_Length=str((1 << 30) + 1)) == 413
    assert put(path + "?path=a", Transfer_Encoding="chunked") == 411
    team = "/api/v1/customers/acme/employees"
    json_type = {"Content_Type": "application/json"}
    assert put(team, "POST", Content_Length=str(2 << 20), **json_type) == 413
    assert put(team, "POST", Transfer_Encoding="chunked", **json_type) == 422
    with suppress(ConnectionError):  # it may be closed before all is sent
        assert get(served, "/healthz", {"X-Large": "x" * 600_000}).status == 400


def test_a_download_ends_with_its_visitor(house, served, reconciler):
    answer = get(served, f"/api/v1/customers/acme/employees/{house.pulse}/files/content?path=a",
                 cookie(house))
    assert answer.status == 200
    answer.read(1 << 20)
    answer.close()
    time.sleep(1)
    given = reconciler.given
    time.sleep(0.5)
    assert reconciler.given == given < 1 << 29


def test_only_the_edge_says_who_comes(house, served):
    """A header with underscores looks like the edge's own once it is WSGI's."""
    host = f"{house.pulse}.gw.iw.localhost"
    token = house.client("ann@acme.test").post("/api/v1/tokens", json={"name": "t"}).json["token"]
    headers = {"X-Forwarded-Host": host, "Authorization": f"Bearer {token}"}
    assert get(served, "/edge/authorize", headers).status == 200
    assert get(served, "/edge/authorize", headers | {"X_Forwarded_Host": "evil.test"}).status == 200
    del headers["X-Forwarded-Host"]
    assert get(served, "/edge/authorize", headers | {"X_Forwarded_Host": host}).status == 404


def test_a_stop_takes_seconds_with_streams_open(house, tmp_path):
    instance, ann = house.app.config["INSTANCE"], cookie(house)
    port = free_ports()["app"]
    code = ("import sys; from pathlib import Path; from state_repo.instance import Instance;"
            "from webapp.settings import Settings; from webapp.factory import create_app;"
            "from webapp.server import server;"
            "server(create_app(Settings(Instance(id='0badcafe', data=Path(sys.argv[1]), database="
            "sys.argv[2], ports={'edge': 2000, 'app': 2001}))), int(sys.argv[3])).run()")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), instance.database_url,
                                str(port)], cwd=ROOT)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", STREAM, headers=ann)
                break
            except OSError:
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.1)
        answer = connection.getresponse()
        assert answer.readline() == b"retry: 1000\n"
        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        answer.read()
        process.wait(20)
        assert time.monotonic() - began < 5
    finally:
        process.kill()


def test_figures_are_shown_to_who_is_here_and_name_nobody(house, served):
    page = Page(served, cookie(house))
    page.next()
    text = get(served, "/metrics", {}).read().decode()
    assert "webapp_open_streams 1.0" in text
    assert 'webapp_request_duration_seconds_count{endpoint="api.sign_in"' in text
    assert "acme" not in text and house.pulse not in text
    assert get(served, "/metrics", {"X-Forwarded-For": "203.0.113.9"}).status == 404


def test_bodies_that_never_end_hold_nobody_up(house, served, monkeypatch):
    """110 sign-ins of strangers whose body does not come (four threads serve here)."""
    monkeypatch.setattr("webapp.server.BODY_S", 3.0)
    port = served.config.port
    slow = []
    for _ in range(110):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                    b"\r\nContent-Length: 50\r\n\r\n{")
        slow.append(one)
    began = time.monotonic()
    assert get(served, "/healthz", {}).status == 200
    assert time.monotonic() - began < 2.5, "before any of them was given up"
    said = b""
    while more := slow[0].recv(1000):
        said += more
    assert b" 408 " in said and b"did not come whole in time" in said
    for one in slow:
        one.close()


def test_the_edges_question_is_answered_while_every_other_thread_is_busy(house, served):
    from webapp.access import access
    let_go = threading.Event()

    @access("public")
    def waits():
        let_go.wait(20)
        return "done"
    house.app.add_url_rule("/waits", "waits", waits)
    busy = []
    for _ in range(12):
        one = connect(served)
        one.request("GET", "/waits")
        busy.append(one)
    time.sleep(0.3)
    began = time.monotonic()
    assert get(served, "/edge/authorize", {"X-Forwarded-Host": "x.gw.iw.localhost"}).status == 404
    assert time.monotonic() - began < 2
    let_go.set()
    for one in busy:
        assert one.getresponse().status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_in_pieces_arrives_whole(house, served, chunked):
    body = json.dumps({"email": "ann@acme.test", "password": PASSWORD}).encode()
    with socket.create_connection(("127.0.0.1", served.config.port)) as one:
        one.sendall(b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                    b"\r\nConnection: close\r\n" + (
                        b"Transfer-Encoding: chunked\r\n\r\n" if chunked else
                        b"Content-Length: %d\r\n\r\n" % len(body)))
        for at in range(0, len(body), 7):
            piece = body[at:at + 7]
            one.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            time.sleep(0.01)
        if chunked:
            one.sendall(b"0\r\n\r\n")
        said = b""
        while more := one.recv(65536):
            said += more
    assert b" 200 " in said.splitlines()[0] and b"csrf_token" in said


def test_slow_readers_of_one_company_hold_neither_pages_nor_another_companys_files(house, served,
                                                                                 reconciler):
    path = "/api/v1/customers/{}/employees/{}/files/content?path=a"
    slow = []
    for _ in range(10):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", served.config.port))
        head = "".join(f"{k}: {v}\r\n" for k, v in cookie(house).items())
        one.sendall(f"GET {path.format('acme', house.pulse)} HTTP/1.1\r\nHost: x\r\n{head}\r\n"
                    .encode())
        slow.append(one)
    time.sleep(0.5)
    assert get(served, "/healthz", {}).status == 200
    busy = get(served, path.format("acme", house.pulse), cookie(house))
    assert busy.status == 503 and json.loads(busy.read())["error"]["code"] == "busy"
    other = get(served, path.format("bolt", house.bolt), cookie(house, "ann@bolt.test"))
    assert other.status == 200
    other.close()
    for one in slow:
        one.close()
