"""Pages of the web as documents: addresses and names by value, the script against a real server,
and all of it in a real container behind the host's real rules."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks import firewall, web_page
from stacks.platform import firewall_inputs
from stacks.web_page import PageError, checked, name_of
from state_repo.instance import LABEL_INSTANCE, Instance
from tests.conftest import docker

SCRIPT = Path(web_page.__file__).with_name("fetch_inside.py").read_text()
PAGE = "<h1>Prices</h1><p>The Kraken costs 4,200 €.</p>".encode()


@pytest.mark.parametrize(("said", "address"), [
    ("example.com/prices", "https://example.com/prices"), (" http://a.test ", "http://a.test"),
    ("https://a.test:8443/ä?q=1#x", "https://a.test:8443/ä?q=1#x")])
def test_an_address_as_people_write_it(said, address):
    assert checked(said) == address


@pytest.mark.parametrize("said", [
    "", "ftp://a.test/x", "file:///etc/passwd", "https://", "javascript:alert(1)", "https://a b/",
    "https://a.test:99999/", "https://a.test/\r\nX: y", "https://a.test/" + "x" * 2_000,
    "http://[::1", "gopher://a.test"])
def test_what_is_no_address_of_a_page_says_so(said):
    with pytest.raises(PageError, match="no address of a web page"):
        checked(said)


def test_no_password_in_an_address():
    with pytest.raises(PageError, match="name or password"):
        checked("https://ann:secret@a.test/")


@pytest.mark.parametrize(("address", "content_type", "name"), [
    ("https://example.com/prices", "text/html", "example.com-prices.html"),
    ("https://example.com/", "text/html", "example.com.html"),
    ("https://example.com/a/b.html", "text/html", "example.com-a-b.html"),
    ("https://example.com/list.PDF", "application/pdf", "example.com-list.pdf"),
    ("https://example.com/list.pdf", "application/octet-stream", "example.com-list.pdf"),
    ("https://example.com/T%C3%A9e/%2e%2e/x", "text/html", "example.com-Tée-..-x.html"),
    ("https://example.com/p?id=1", "text/html", "example.com-p-d9fc91.html"),
    ("https://example.com/" + "long/" * 90, "text/html", ("example.com-" + "long-" * 17 + "lon")
     + ".html")])
def test_a_page_is_called_by_where_it_stands(address, content_type, name):
    assert name_of(address, content_type) == name


def test_what_can_t_be_read_is_not_taken():
    with pytest.raises(PageError, match=r"is application/x-executable, which can't be read"):
        name_of("https://example.com/setup", "application/x-executable")


# ---- the script, on a real server ----------------------------------------------------------------

class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/prices":
                self._send(200, PAGE, "text/html; charset=utf-8")
            case "/moved":
                self._send(302, b"", "text/html", Location="/prices")
            case "/elsewhere":
                self._send(302, b"", "text/html", Location="ftp://a.test/x")
            case "/file":
                self._send(302, b"", "text/html", Location="file:///etc/passwd")
            case "/round":
                self._send(302, b"", "text/html", Location="/round")
            case "/large":
                self._send(200, bytes(2 << 20), "text/plain")
            case "/slow":
                self.send_response(200)
                self.end_headers()
                for _ in range(200):
                    time.sleep(0.1)
                    self.wfile.write(b"x")
            case _:
                self._send(404, b"no", "text/html")

    def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers
                            ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetched(address: str, seconds: float = 5.0) -> tuple[dict, bytes, int]:
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT, address, str(1 << 20), str(seconds)],
                          capture_output=True, check=False, timeout=60)
    line, _, data = done.stdout.partition(b"\n")
    return json.loads(line) if line else {}, data, done.returncode


def test_the_script_fetches_and_follows(site):
    assert fetched(f"{site}/prices") == (
        {"address": f"{site}/prices", "type": "text/html"}, PAGE, 0)
    assert fetched(f"{site}/moved")[0]["address"] == f"{site}/prices"


@pytest.mark.parametrize(("path", "says"), [
    ("/none", "it answers 404"), ("/elsewhere", "no web page"), ("/file", "not allowed"),
    ("/round", "redirect"), ("/large", "larger than 1 MB")])
def test_the_script_says_what_is_wrong(site, path, says):
    said, data, _ = fetched(site + path)
    assert says in said["error"] and data == b""


def test_who_sends_letter_by_letter_holds_nobody(site):
    began = time.monotonic()
    assert fetched(f"{site}/slow", 1.0)[2] != 0 and time.monotonic() - began < 10
    assert "can't be reached" in fetched("http://127.0.0.1:1/")[0]["error"]


# ---- in its container ----------------------------------------------------------------------------

@pytest.fixture
def outside(instance: Instance) -> Iterator[str]:
    """A server that is neither this host nor in a private network: in a network namespace of its
    own, at an address that is kept for documentation (RFC 5737)."""
    name, port = f"{instance.prefix}-web", 8080
    here, there = "198.51.100.1", "198.51.100.2"
    script = ("import http.server; http.server.SimpleHTTPRequestHandler.log_message = print; "
              f"http.server.HTTPServer(('{there}', {port}), "
              "http.server.SimpleHTTPRequestHandler).serve_forever()")
    folder = instance.data / "site"
    folder.mkdir()
    (folder / "prices.html").write_bytes(PAGE)
    (folder / "large.txt").write_bytes(bytes(8 << 20))
    commands = [("netns", "add", name), ("link", "add", f"{name}0", "type", "veth", "peer", "name",
                                         f"{name}1", "netns", name),
                ("addr", "add", f"{here}/30", "dev", f"{name}0"), ("link", "set", f"{name}0", "up"),
                ("-n", name, "addr", "add", f"{there}/30", "dev", f"{name}1"),
                ("-n", name, "link", "set", f"{name}1", "up"),
                ("-n", name, "link", "set", "lo", "up"),
                ("-n", name, "route", "add", "default", "via", here)]
    try:
        for command in commands:
            subprocess.run(["ip", *command], check=True, capture_output=True)
        server = subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", script],
                                  cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while socket.socket().connect_ex((there, port)):
            assert time.monotonic() < until, "the server does not come up"
            time.sleep(0.1)
        yield f"http://{there}:{port}"
        server.kill()
        server.wait()
    finally:
        subprocess.run(["ip", "link", "del", f"{name}0"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.parts
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")
def test_a_page_comes_by_an_employee_s_rules_and_leaves_nothing(instance, images, outside,
                                                                monkeypatch):
    monkeypatch.setattr(web_page, "SECONDS", 4.0)
    docker("network", "create", "--label", f"{LABEL_INSTANCE}={instance.id}", "--opt",
           f"com.docker.network.bridge.name={instance.bridge_name('acme')}", "--subnet",
           instance.network_pool.replace("/16", "/25"), instance.network_name("acme"))

    def fetch(address: str) -> web_page.Page:
        return web_page.fetch(instance, "acme", images["light"], address,
                              lambda: firewall.ensure(firewall_inputs(instance)))
    assert fetch(f"{outside}/prices.html") == web_page.Page(
        "198.51.100.2-prices.html", f"{outside}/prices.html", PAGE)
    assert len(fetch(f"{outside}/large.txt").data) == 8 << 20
    with pytest.raises(PageError, match="it answers 404"):
        fetch(f"{outside}/none")
    for closed in (f"http://127.0.0.1:{instance.ports['app']}/",
                   "http://169.254.169.254/latest/meta-data/",
                   f"http://{instance.network_pool.replace('.0.0/16', '.0.1')}:22/"):
        with pytest.raises(PageError, match=r"can't be re|within a minute"):
            fetch(closed)
    assert docker("ps", "-aq", "--filter", f"label={LABEL_INSTANCE}={instance.id}") == []
    with pytest.raises(PageError, match="network is not there yet"):
        web_page.fetch(instance, "bolt", images["light"], outside)
