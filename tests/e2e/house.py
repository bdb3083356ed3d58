"""A whole platform for tests: real processes, real parts, an instance of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from operator_cli.reach import ask
from policies.documents import check_customer
from state_repo import changes
from state_repo.documents import Platform, Review
from state_repo.instance import Instance, door_for
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from tests.conftest import ROOT, docker, remove_all
from tools import catalogue, processes
from webapp import accounts

PASSWORD = "correct horse battery"
ENGINEER = Author("Engineer", "eng@iw.test")


class House:
    """`up` starts it; `down` ends its processes."""

    def __init__(self, instance: Instance, platform: Platform) -> None:
        self.instance = instance
        self.store = Store.open_or_create(instance, check_customer)
        self.store.install_hooks()
        changes.set_platform(self.store, ENGINEER, "Platform", lambda _: replace(
            platform, review=Review(direct_pushes=True)))
        catalogue.teach(self.store, ENGINEER, {})
        accounts.prepare(instance)
        self.status = StatusStore(instance.database_url)
        self.status.migrate()
        self.url = f"http://{instance.edge_address}:{instance.ports['edge']}"
        self._tokens: dict[str, str] = {}

    def customer(self, name: str, seats: int = 5) -> None:
        changes.create_customer(self.store, ENGINEER, name, name.title(), seats)
        accounts.ensure(self.instance, f"ann@{name}.test", PASSWORD, customer=name, role="owner")

    def start(self, *names: str) -> None:
        for name in names or processes.NAMES:
            processes.start(self.instance.data, name)

    def stop(self, *names: str) -> None:
        for name in names or processes.NAMES:
            began = time.monotonic()
            processes.stop(self.instance.data, name)
            # Else it had to be killed, and nobody would know.
            assert time.monotonic() - began < 28, f"{name} did not end by itself"

    def kill(self, name: str = "reconciler") -> None:
        pid = processes.pid_of(self.instance.data, name)
        assert pid is not None
        os.kill(pid, 9)
        os.waitpid(pid, 0)

    def iw(self, *arguments: str, check: bool = True) -> Any:
        """./iw … --json, decoded."""
        done = subprocess.run([str(ROOT / "iw"), "--data", str(self.instance.data), *arguments,
                               "--json"], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def get(self, host: str, path: str = "/", token: str | None = None, **headers: str
            ) -> requests.Response:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return requests.get(self.url + path, timeout=10, allow_redirects=False, headers={
            "Host": f"{host}:{self.instance.ports['edge']}", **headers})

    def api(self, customer: str, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"{self.url}/api/v1{path}", json=body, timeout=10, headers={
            "Host": self.instance.app_host, "Authorization": f"Bearer {self.token(customer)}"})

    def upload(self, customer: str, path: str, data: bytes, **headers: str) -> requests.Response:
        return requests.put(f"{self.url}/api/v1{path}", data=data, timeout=60, headers={
            "Host": self.instance.app_host, "Authorization": f"Bearer {self.token(customer)}",
            **headers})

    def token(self, customer: str) -> str:
        """An API token of the customer's owner, made once through the API."""
        if customer not in self._tokens:
            with requests.Session() as session:
                session.headers["Host"] = self.instance.app_host
                signed = session.post(f"{self.url}/api/v1/session", timeout=10, json={
                    "email": f"ann@{customer}.test", "password": PASSWORD})
                cookie = f"iw_session={signed.cookies.get('iw_session')}"
                made = session.post(f"{self.url}/api/v1/tokens", json={"name": "tests"}, timeout=10,
                                    headers={"X-CSRF-Token": signed.json()["csrf_token"],
                                             "Cookie": cookie})
                self._tokens[customer] = made.json()["token"]
        return self._tokens[customer]

    def answers(self, employee: str, customer: str = "acme") -> bool:
        try:
            return self.get(self.instance.chat_host(employee), "/healthz",
                            self.token(customer)).status_code == 200
        except requests.RequestException:
            return False

    def is_synced(self) -> bool:
        """The newest commit is taken, and every stack and employee as wanted and working. Who
        vanished stays reported until somebody acts, so it does not count."""
        loop = self.status.stack("loop")
        return loop is not None and loop.revision == self.store.head() and all(
            s.sync_status == "Synced" for s in self.status.stacks()) and all(
            e.sync_status == "Synced" and e.health_status in ("Healthy", "Suspended")
            for e in self.status.employees() if e.desired_state != "vanished")

    def drift(self) -> list[dict[str, Any]]:
        """What `iw drift` says, without a process for each look."""
        url = "/v1/drift"
        return ask(door_for(self.instance.socket, url), "GET", url)["items"]

    def ask(self, employee: str, text: str) -> str:
        """What it answers to one message, without a page."""
        url = f"/v1/employees/{employee}/ask"
        return ask(door_for(self.instance.socket, url), "POST", url, {"text": text})["text"]

    def containers(self) -> list[str]:
        """Names of the employees' containers."""
        return sorted(docker("ps", "-a", "--format", "{{.Names}}", "--filter",
                             f"label=instantworker.instance={self.instance.id}", "--filter",
                             "label=instantworker.employee"))

    def events(self, kind: str) -> list[str]:
        return [e.message for e in self.status.events(limit=500) if e.kind == kind]

    def hire(self, customer: str = "acme", name: str = "Pulse") -> str:
        """Hires through `iw` and waits until healthy; returns the id."""
        return self.iw("hire", "--customer", customer, "--name", name, "--role", "Tester")[
            "employee"]

    def log(self) -> str:
        path: Path = self.instance.logs_path / "reconciler.log"
        return path.read_text()[-4000:] if path.exists() else ""


@contextmanager
def standing(made: House, seconds: float = 90.0) -> Iterator[House]:
    """From its start until it is removed."""
    try:
        made.start()
        until(lambda: made.status.stack("platform") and made.is_synced(), "the platform is up",
              seconds, made)
        yield made
    finally:
        made.stop()
        remove_all(made.instance)


def until(condition: Callable[[], Any], what: str, seconds: float = 45.0, house: House | None = None
          ) -> Any:
    """Waits for the condition; fails with what was awaited, and why it is not so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    why = ""
    if house is not None:
        rows = [(s.id, s.sync_status, s.health_status, s.reason) for s in house.status.stacks()]
        why = f"\n{rows}\n{house.log()}"
    raise AssertionError(f"not within {seconds:.0f} s: {what}{why}")


def clone(house: House, folder: Path) -> Path:
    """The state repo as an engineer, Eve, has it."""
    subprocess.run(["git", "clone", "-q", str(house.store.path), str(folder)], check=True)
    for key, value in (("user.name", "Eve"), ("user.email", "eve@iw.test")):
        subprocess.run(["git", "-C", str(folder), "config", key, value], check=True)
    return folder


def push(folder: Path, message: str, branch: str = "main") -> subprocess.CompletedProcess[str]:
    """Commits everything and pushes it."""
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(folder), "commit", "-qm", message], check=True)
    return subprocess.run(["git", "-C", str(folder), "push", "-q", "origin", f"HEAD:{branch}"],
                          capture_output=True, text=True, check=False)
