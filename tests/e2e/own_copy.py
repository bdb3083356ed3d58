"""A copy of this code in a git of its own, and what it runs: for tests that change the code, or
begin where a newcomer begins."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from policies.documents import check_customer
from state_repo import changes
from state_repo.database import revision_of
from state_repo.instance import Instance
from state_repo.store import Store
from tests.conftest import ROOT
from tests.e2e.house import ENGINEER
from webapp.models import VERSION_TABLE


class OwnCopy:
    """A copy of the code in a git of its own, and the instance that it runs. `settings`: of the
    environment, for every verb."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.code, self.data = folder / "code", folder / "data"
        self.settings = {"IW_DATA": str(self.data), "IW_PORT": "0",
                         "IW_PREFIX": f"u{secrets.token_hex(2)}", **settings}
        files = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached",
                                "--others", "--exclude-standard"], check=True,
                               capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, files):
            (self.code / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, self.code / name)
        for shared in (".venv", ".build"):
            (self.code / shared).symlink_to(ROOT / shared)
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", "-C", str(self.code), "-c", "user.name=x", "-c",
                               "user.email=x@x", *arguments], check=True, capture_output=True,
                              text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "code")
        return self.git("rev-parse", "HEAD")

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.settings, **more}

    def setup(self, *verb: str, check: bool = True, **more: str) -> str:
        done = subprocess.run([sys.executable, "-m", "tools.setup", *verb], cwd=self.code,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=self.environment(**more), timeout=400, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def instance(self) -> Instance:
        return Instance.load(self.data)

    def iw(self, *arguments: str, check: bool = True) -> Any:
        done = subprocess.run([str(self.code / "iw"), "--data", str(self.data), *arguments,
                               "--json"], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def store(self) -> Store:
        return Store.open_or_create(self.instance, check_customer)

    def hires_light_ones(self, images: dict[str, str]) -> None:
        """From now on employees that have no agent, and none that nobody asked for."""
        changes.set_platform(self.store, ENGINEER, "Light ones", lambda p: replace(
            p, images={**p.images, "employee": images["light"]}, warm_per_customer=0))

    def hire(self) -> str:
        """Pulse, for acme; returns its id."""
        return self.iw("hire", "--customer", "acme", "--name", "Pulse", "--role", "T")["employee"]

    def page(self, host: str | None = None, path: str = "/", trust: ssl.SSLContext | None = None,
             **headers: str) -> str:
        """What the edge shows of a host (the dashboard's), "" while it does not. `trust`: it is
        asked in https, and whom it is believed."""
        instance = self.instance
        host = host or instance.app_host
        connection = http.client.HTTPConnection(host, instance.ports["edge"], timeout=5)
        try:
            connection.sock = socket.create_connection(
                (instance.edge_address, instance.ports["edge"]), timeout=5)
            if trust is not None:
                connection.sock = trust.wrap_socket(connection.sock, server_hostname=host)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def purge(self) -> None:
        if (self.data / "instance.json").exists():
            self.setup("purge", check=False, IW_PURGE=self.instance.id)

    def revision(self) -> str | None:
        return revision_of(self.instance.database_url, VERSION_TABLE)
