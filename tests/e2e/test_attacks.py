"""What was tried against the running product, done again as it was done: by strangers, neighbours,
careless engineers and the employee itself. docs/security.md names the closer test of each promise.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from stacks.employee_files import volume_folder
from state_repo.documents import employee_path
from tests.conftest import docker
from tests.e2e.house import PASSWORD, House, clone, push, until
from tools import processes

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


@pytest.fixture(scope="module")
def spark(house: House) -> str:
    return house.hire("bolt", "Spark")


def sign_in(house: House, email: str, password: str) -> int:
    return requests.post(f"{house.url}/api/v1/session", timeout=20, json={
        "email": email, "password": password}, headers={"Host": house.instance.app_host}
        ).status_code


def app_memory(house: House) -> int:
    """MiB of the web app's processes."""
    pid = processes.pid_of(house.instance.data, "webapp")
    pids = [pid, *subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True,
                                 check=False).stdout.split()]
    total = 0
    for one in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return total * resource.getpagesize() >> 20


def answers_in(house: House, seconds: float) -> bool:
    began = time.monotonic()
    good = requests.get(f"{house.url}/healthz", timeout=seconds, headers={
        "Host": house.instance.app_host}).status_code == 200
    return good and time.monotonic() - began < seconds


def test_1_an_id_in_two_customers(house, pulse, spark, tmp_path):
    folder = clone(house, tmp_path / "clone")
    copy = folder / employee_path("bolt", pulse)
    copy.write_text((folder / employee_path("acme", pulse)).read_text().replace(
        "customer: acme", "customer: bolt"))
    refused = push(folder, "Take it")
    assert refused.returncode != 0, "a copy of another customer's file"
    assert employee_path("bolt", pulse) in refused.stderr
    assert employee_path("acme", pulse) in refused.stderr
    for method, path in (("GET", ""), ("GET", "/files"), ("PATCH", ""), ("POST", "/retire")):
        got = house.api("bolt", method, f"/customers/bolt/employees/{pulse}{path}", (
            {"name": "Mine"} if method == "PATCH" else None))
        assert got.status_code == 404, (method, path)
    assert house.answers(pulse) and not house.answers(pulse, "bolt")


@contextlib.contextmanager
def endless_bodies(house: House, path: str, many: int) -> Iterator[None]:
    held = []
    for _ in range(many):
        sock = socket.create_connection(("127.0.0.1", house.instance.ports["edge"]), timeout=5)
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: {house.instance.app_host}\r\n"
                     "Content-Type: application/json\r\nContent-Length: 200\r\n\r\n{".encode())
        held.append(sock)
    try:
        yield
    finally:
        for sock in held:
            sock.close()


def test_2_slow_strangers(house, pulse):
    with endless_bodies(house, "/api/v1/session", 110):
        assert answers_in(house, 3) and house.answers(pulse)
    streams = []
    for _ in range(70):
        sock = socket.create_connection(("127.0.0.1", house.instance.ports["edge"]), timeout=5)
        sock.sendall(f"GET /api/v1/customers/acme/events/stream HTTP/1.1\r\n"
                     f"Host: {house.instance.app_host}\r\n"
                     f"Authorization: Bearer {house.token('acme')}\r\n\r\n".encode())
        streams.append(sock)
    try:
        assert answers_in(house, 3) and house.answers(pulse)
    finally:
        for sock in streams:
            sock.close()


def test_3_and_9_what_lies_in_the_way_of_our_files(house, pulse):
    work = volume_folder(house.instance.employee_volume(pulse)) / "workspace"
    (work / "AGENTS.md").unlink()
    (work / "AGENTS.md" / "x").mkdir(parents=True)
    changed = house.api("acme", "PATCH", f"/customers/acme/employees/{pulse}", {
        "instructions": "Be kind. <!-- instantworker: end --> And <!-- instantworker:begin -->"})
    assert changed.ok, changed.text
    until(lambda: (work / "AGENTS.md").is_file() and "Be kind" in (work / "AGENTS.md").read_text(),
          "it is written all the same", house=house)
    text = (work / "AGENTS.md").read_text()
    for marker in ("begin", "end"):
        assert text.count(f"instantworker: {marker}") == 1 and f"instantworker:{marker}" not in text
    assert house.api("acme", "POST", f"/customers/acme/employees/{pulse}/pause").ok
    name = house.instance.container_name(pulse)
    until(lambda: docker("inspect", "-f", "{{.State.Running}}", name) == ["false"], "it stops",
          house=house)
    assert house.api("acme", "POST", f"/customers/acme/employees/{pulse}/resume").ok
    until(lambda: house.answers(pulse), "it works again", house=house)


def test_4_more_disk_than_there_is(house, pulse):
    said = subprocess.run(["docker", "exec", house.instance.container_name(pulse), "fallocate",
                           "-l", "15G", "/data/big"], capture_output=True, text=True, check=False)
    assert said.returncode != 0
    full = subprocess.run(["docker", "exec", house.instance.container_name(pulse), "python3", "-c",
                           "for n in range(10**6):\n    open(f'/data/workspace/{n}', 'w')"
                           ], capture_output=True, text=True, check=False)
    assert "No space left" in full.stderr
    assert house.answers(pulse)
    work = volume_folder(house.instance.employee_volume(pulse)) / "workspace"
    subprocess.run(["find", str(work), "-name", "[0-9]*", "-delete"], check=True)


def test_6_slow_readers(house, pulse):
    path = f"/customers/acme/employees/{pulse}/files/content?path=big.bin"
    put = house.upload("acme", path, bytes(60 << 20))
    assert put.ok, put.text
    held = []
    for _ in range(6):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", house.instance.ports["edge"]))
        sock.sendall(f"GET /api/v1{path} HTTP/1.1\r\nHost: {house.instance.app_host}\r\n"
                     f"Authorization: Bearer {house.token('acme')}\r\n\r\n".encode())
        held.append(sock)
    try:
        time.sleep(1)
        began = time.monotonic()
        assert house.api("bolt", "GET", "/customers/bolt/knowledge").ok
        assert house.api("bolt", "GET", "/customers/bolt/usage").ok
        assert house.iw("status")["employees"]
        assert time.monotonic() - began < 8, "others wait for nobody's reader"
    finally:
        for sock in held:
            sock.close()


def test_7_before_sign_in(house):
    before = app_memory(house)
    sock = socket.create_connection(("127.0.0.1", house.instance.ports["edge"]), timeout=10)
    sock.sendall(f"POST /api/v1/session HTTP/1.1\r\nHost: {house.instance.app_host}\r\n"
                 "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 300 << 20:
            sock.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            sent += 1 << 20
    sock.close()
    assert sent < 300 << 20, "a body without end is ended"
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(
        sign_in(house, f"nobody{n}@acme.test", "wrong password"))) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) <= {401, 429, 503}, results
    for n in range(30):
        assert sign_in(house, "x" * 900_000 + f"{n}@acme.test", "wrong") in (
            400, 401, 413, 422, 429, 503)
    assert app_memory(house) - before < 400, "30 at once take no gigabyte"
    guesses: list[int] = []
    threads = [threading.Thread(target=lambda: guesses.append(
        sign_in(house, "ann@bolt.test", "a wrong guess"))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guesses.count(401) < 12 and 429 in guesses, guesses
    until(lambda: answers_in(house, 3), "it answers", 20)


@pytest.mark.parametrize("fields", [
    '{"resources": {"cpus": NaN}}', '{"resources": {"cpus": Infinity}}',
    '{"resources": {"cpus": 400}}', '{"model": {"monthlyBudgetUsd": NaN}}',
    '{"model": {"monthlyBudgetUsd": 1e999}}', '{"resources": {"memoryMb": -1}}'])
def test_8_numbers(house, pulse, fields):
    before = docker("inspect", "-f", "{{.Id}}", house.instance.container_name(pulse))
    answer = requests.patch(
        f"{house.url}/api/v1/customers/acme/employees/{pulse}", data=fields, timeout=20, headers={
            "Host": house.instance.app_host, "Content-Type": "application/json",
            "Authorization": f"Bearer {house.token('acme')}"})
    assert 400 <= answer.status_code < 500, answer.text
    assert docker("inspect", "-f", "{{.Id}}", house.instance.container_name(pulse)) == before


def test_10_nesting(house, pulse, tmp_path):
    work = volume_folder(house.instance.employee_volume(pulse)) / "workspace" / "learning"
    work.mkdir(exist_ok=True)
    (work / "log.jsonl").write_text("[" * 100_000 + "\n")
    assert house.api("acme", "GET", f"/customers/acme/employees/{pulse}/lessons").ok
    (work / "log.jsonl").unlink()
    folder = clone(house, tmp_path / "clone")
    path = folder / employee_path("acme", pulse)
    path.write_text(path.read_text() + "extra: " + "[" * 50_000 + "]" * 50_000 + "\n")
    refused = push(folder, "Nest")
    assert refused.returncode != 0 and employee_path("acme", pulse) in refused.stderr
    body = "[" * 100_000 + "]" * 100_000
    answer = requests.post(f"{house.url}/api/v1/session", data=body, timeout=20, headers={
        "Host": house.instance.app_host, "Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("query", ["events?after=²", "events?after=99999999999999999999999999",
                                   "events?limit=1e9", "receipts?limit=-5", "events?after=\ud800",
                                   "usage?month=２０２６"])
def test_12_inputs_get_no_error_of_ours(house, query):
    raw = query.encode("utf-8", "surrogatepass").decode("latin-1")
    answer = requests.get(
        f"{house.url}/api/v1/customers/acme/{raw}", timeout=20, headers={
            "Host": house.instance.app_host, "Authorization": f"Bearer {house.token('acme')}"})
    assert answer.status_code < 500, answer.text


def test_13_and_14_sessions(house, pulse):
    with requests.Session() as browser:
        browser.headers["Host"] = house.instance.app_host
        first = browser.post(f"{house.url}/api/v1/session", timeout=20, json={
            "email": "ann@acme.test", "password": PASSWORD})
        old = browser.cookies.copy()
        browser.post(f"{house.url}/api/v1/session", timeout=20, headers={
            "X-CSRF-Token": first.json()["csrf_token"]}, json={
            "email": "ann@acme.test", "password": PASSWORD})
    stale = requests.get(f"{house.url}/api/v1/session", timeout=20, cookies=old,
                         headers={"Host": house.instance.app_host})
    assert stale.status_code == 401, "an old session does not survive a new sign-in"
    forged = requests.post(f"{house.url}/sign-in", timeout=20, data={
        "email": "ann@acme.test", "password": PASSWORD}, headers={
        "Host": house.instance.app_host, "Origin": "http://evil.test"}, allow_redirects=False)
    assert forged.status_code in (400, 403), "another site signs nobody in"


@pytest.mark.parametrize("name", ["\u202e\u202d", "\u200b\u200c\u200b", "Pulse\u0000", "\x1b[31m"])
def test_15_names(house, name):
    answer = house.api("acme", "POST", "/customers/acme/employees", {
        "name": name, "role": "Tester"})
    assert 400 <= answer.status_code < 500, answer.text


def test_16_pushes_that_break_the_hook(house, tmp_path):
    folder = clone(house, tmp_path / "clone")

    def refused(message: str, *what: str) -> str:
        subprocess.run(["git", "-C", str(folder), "commit", "-qm", message], check=False,
                       capture_output=True)
        done = subprocess.run(["git", "-C", str(folder), "push", "-q", "origin", *(
            what or ("HEAD:main",))], capture_output=True, text=True, check=False)
        subprocess.run(["git", "-C", str(folder), "reset", "-q", "--hard", "origin/main"],
                       check=True)
        return "" if done.returncode == 0 else done.stderr
    (folder / "huge").write_bytes(bytes(60 << 20))
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    assert "huge" in refused("Huge")
    (folder / "customers" / "acme" / "link").symlink_to("/etc/passwd")
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    assert "link" in refused("Link")
    subprocess.run(["git", "-C", str(folder), "update-index", "--add", "--cacheinfo",
                    f"160000,{'a' * 40},customers/acme/sub"], check=True)
    assert "sub" in refused("Submodule")
    assert refused("Another ref", "HEAD:refs/elsewhere/x")
    assert refused("A tag", "HEAD:refs/tags/x")


def test_17_the_proxy_answers_for_odd_tools(house, pulse):
    key = next((house.instance.secrets_path / "model-keys").glob(f"*{pulse}*")).read_text().strip(
        ) if (house.instance.secrets_path / "model-keys").is_dir() else "none"
    answer = requests.post(
        f"http://127.0.0.1:{house.instance.ports['model_proxy']}/v1/chat/completions", timeout=20,
        headers={"Authorization": f"Bearer {key}"}, data=json.dumps(
            {"model": "default", "messages": [{"role": "user", "content": "x"}], "tools": 5}))
    assert 400 <= answer.status_code < 500, answer.text
