"""What the edge does with the web app's answers; with a real Caddy where it is marked."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from stacks import edge as figures
from stacks.edge_config import edge_config
from state_repo.instance import Instance
from tests.conftest import free_ports

KINDS = {"/a.css": "text/css; charset=utf-8", "/a.js": "text/javascript; charset=utf-8",
         "/": "text/html; charset=utf-8", "/api": "application/json", "/metrics": "text/plain",
         "/stream": "text/event-stream; charset=utf-8",
         "/assets/core-XyZ.js": "text/javascript; charset=utf-8"}


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path == "/edge/authorize":
            self.asked.append(self.headers["X-Forwarded-Uri"])
            self.send_response(200)
            self.send_header("X-Upstream", self.server.upstream)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", KINDS.get(self.path, "text/plain"))
        if self.path == "/stream":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: first\n\n" + b": " + b"x" * 4096 + b"\n\n")
            time.sleep(5)
            return
        body = b"body { color: red }\n" * 500
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Instance]:
    """A Caddy with the edge's configuration before an app of the test's."""
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports())
    (tmp_path / "run" / "edge").mkdir(parents=True)
    config = edge_config(instance) | {"admin": {"listen": f"unix/{figures.admin_socket(instance)}"}}
    files = tmp_path / "srv/chat/assets"
    files.mkdir(parents=True)
    (files / "core-AbC.js").write_text("here();\n" * 100)
    (files / "core-AbC.js.gz").write_bytes(gzip.compress(b"here();\n" * 100))
    (tmp_path / "caddy.json").write_text(json.dumps(config).replace('"/srv/', f'"{tmp_path}/srv/'))
    app = ThreadingHTTPServer(("127.0.0.1", instance.ports["app"]), App)
    app.daemon_threads = True
    app.upstream = f"127.0.0.1:{instance.ports['prometheus']}"  # free: nobody listens there
    threading.Thread(target=app.serve_forever, args=(0.05,), daemon=True).start()
    caddy = subprocess.Popen([str(Path(sys.executable).parent / "caddy"), "run", "--config",
                              str(tmp_path / "caddy.json")], stderr=subprocess.DEVNULL,
                             env={"HOME": str(tmp_path)})
    until = time.monotonic() + 20
    while True:
        try:
            HTTPConnection("127.0.0.1", instance.ports["edge"], timeout=5).connect()
            break
        except OSError:
            assert time.monotonic() < until and caddy.poll() is None
            time.sleep(0.05)
    App.asked.clear()
    yield instance
    caddy.terminate()
    caddy.wait(10)
    app.shutdown()


def get(instance: Instance, path: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", instance.ports["edge"], timeout=5)
    connection.request("GET", path, headers={"Host": instance.app_host,
                                             "Accept-Encoding": "gzip, zstd"})
    return connection.getresponse()


@pytest.mark.parts
def test_files_are_compressed_pages_and_streams_are_not(edge):
    for path, encoding in (("/a.css", "zstd"), ("/a.js", "zstd"), ("/", None), ("/api", None)):
        answer = get(edge, path)
        assert (answer.status, answer.headers["Content-Encoding"]) == (200, encoding), path
        assert answer.headers["Vary"] == ("Accept-Encoding" if encoding else None)
    stream = get(edge, "/stream")
    assert stream.headers["Content-Encoding"] is None
    began = time.monotonic()
    assert stream.readline() == b"data: first\n"
    assert time.monotonic() - began < 2, "an event is passed on at once"


@pytest.mark.parts
def test_a_part_of_a_page_waits_for_an_employee_that_just_starts_and_a_page_is_told(edge):
    host = f"pulse-aaaaaa.gw.{edge.domain}"

    def load(mode: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", edge.ports["edge"], timeout=15)
        connection.request("GET", "/a.js", headers={"Host": host, "Sec-Fetch-Mode": mode})
        return connection.getresponse()
    page = load("navigate")
    assert page.status == 503 and b"loads by itself" in page.read()
    employee: list[ThreadingHTTPServer] = []

    def start() -> None:
        employee.append(ThreadingHTTPServer(("127.0.0.1", edge.ports["prometheus"]), App))
        employee[0].serve_forever(0.05)
    later = threading.Timer(1.0, start)
    later.start()
    assert load("cors").status == 200
    employee[0].shutdown()


@pytest.mark.parts
def test_the_chat_s_files_come_from_the_edge_and_those_of_another_version_from_the_employee(edge):
    employee = ThreadingHTTPServer(("127.0.0.1", edge.ports["prometheus"]), App)
    threading.Thread(target=employee.serve_forever, args=(0.05,), daemon=True).start()

    def load(path: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", edge.ports["edge"], timeout=15)
        connection.request("GET", path, headers={
            "Host": f"pulse-aaaaaa.gw.{edge.domain}", "Accept-Encoding": "gzip",
            "Sec-Fetch-Mode": "no-cors"})
        return connection.getresponse()
    ours = load("/assets/core-AbC.js")
    assert (ours.status, ours.headers["Content-Encoding"]) == (200, "gzip")
    assert "immutable" in ours.headers["Cache-Control"]
    assert gzip.decompress(ours.read()).startswith(b"here();")
    assert App.asked == [], "the web app was not asked"
    theirs = load("/assets/core-XyZ.js")
    assert theirs.status == 200 and theirs.read().startswith(b"body {")
    for path in ("/assets/../caddy.json", "/assets/%2e%2e/%2e%2e/caddy.json", "/assets/"):
        assert b'"admin"' not in load(path).read()
    assert len(App.asked) == 4
    employee.shutdown()


@pytest.mark.parts
def test_what_it_counts_is_told_by_its_own_door_alone_and_names_nobody(edge):
    assert get(edge, "/").status == 200
    told = figures.figures(edge)
    assert re.search(r'caddy_http_requests_total\{[^}]*server="edge"[^}]*\} \d', told)
    assert re.search(r'caddy_http_request_duration_seconds_bucket\{[^}]*code="200"', told)
    assert edge.app_host not in told


@pytest.mark.parts
def test_the_web_app_s_figures_are_nobody_s_business(edge):
    assert get(edge, "/metrics").status == 404


def test_only_static_files_are_named_to_be_compressed(tmp_path):
    config = edge_config(Instance(id="0badcafe", data=tmp_path, ports=free_ports()))
    found = [step for route in config["apps"]["http"]["servers"]["edge"]["routes"]
             for inner in route["handle"] if inner["handler"] == "subroute"
             for part in inner["routes"] for step in part["handle"] if step["handler"] == "encode"]
    assert len(found) == 1, "the dashboard's host alone"
    kinds = found[0]["match"]["headers"]["Content-Type"]
    assert not any(kind.startswith(("text/html", "text/*", "text/event-stream", "application/json"))
                   for kind in kinds)


def steps(config: dict, handler: str) -> list[dict]:
    """Every step of one kind, however deep."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            if value.get("handler") == handler:
                found.append(value)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
    walk(config["apps"]["http"])
    return found


@pytest.mark.parametrize("domain", ["iw.localhost", "workers.example.com"])
def test_whoever_is_asked_about_or_for_an_employee_has_a_deadline(tmp_path, domain):
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports(), domain=domain)
    config = edge_config(instance)
    asked = [s for s in steps(config, "reverse_proxy") if "rewrite" in s or "vars" in str(
        s["upstreams"])]
    assert sorted(int(step["transport"]["response_header_timeout"].rstrip("s"))
                  for step in asked) == [5, 5, 8, 8, 45, 45, 45, 45]
    assert {step["transport"]["dial_timeout"] for step in asked} == {"3s"}
    server = config["apps"]["http"]["servers"]["edge"]
    assert server["read_header_timeout"] == "10s"
    pages = [r["handle"][1] for r in server["errors"]["routes"]]
    assert [p["status_code"] for p in pages] == [504, 503]
    label = domain.count(".") + 2  # pulse.gw.<domain>, counted from its end
    assert all(f"{{http.request.host.labels.{label}}}" in p["body"] for p in pages)


@pytest.mark.parametrize(("domain", "secure"), [("iw.localhost", False), ("w.example.com", True)])
def test_an_employee_s_page_sets_no_cookie_for_the_domain_and_keeps_to_https(tmp_path, domain,
                                                                             secure):
    config = edge_config(Instance(id="0badcafe", data=tmp_path, ports=free_ports(), domain=domain))
    employees = [s["headers"]["response"] for s in steps(config, "reverse_proxy")
                 if "vars" in str(s["upstreams"])]
    for response in employees:
        (rule,) = response["replace"]["Set-Cookie"]
        for cookie in ("iw_session=x; Domain=.iw.localhost; Path=/", "a=b;domain=iw.localhost"):
            assert "omain" not in re.sub(rule["search_regexp"], rule["replace"], cookie)
        assert ("Strict-Transport-Security" in response.get("set", {})) is secure
