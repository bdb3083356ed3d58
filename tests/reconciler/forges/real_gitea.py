"""Gitea itself, with a project for a state repo: one process, one folder, SQLite."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from tests.conftest import free_ports

BOT, PASSWORD = "instantworker", "correct horse battery"
SCOPES = "write:repository,write:issue,read:user"  # what docs/review.md says of its token


class Gitea:
    """`built`: see `tools.machine.gitea`. People: boss owns everything, BOT is ours, eve and max
    are engineers. The project is acme/state, private, with a protected main."""

    def __init__(self, built: Path, folder: Path) -> None:
        self._program, self._folder = str(built / "gitea"), folder
        port = free_ports()["app"]
        self.url = f"http://127.0.0.1:{port}"
        self._config = folder / "app.ini"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(f"""
RUN_MODE = prod
WORK_PATH = {folder}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {self.url}/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = {built}
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = {secrets.token_hex(16)}
PASSWORD_HASH_ALGO = pbkdf2
[webhook]
ALLOWED_HOST_LIST = *
[service]
DISABLE_REGISTRATION = true
[actions]
ENABLED = false
[log]
MODE = file
ROOT_PATH = {folder}/log
""")
        self._environment = os.environ | {"GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true"}
        self._server: subprocess.Popen[bytes] | None = None
        self.start()
        for name in ("boss", BOT, "eve", "max"):
            self._admin("user", "create", "--username", name, "--password", PASSWORD, "--email",
                        f"{name}@iw.test", "--must-change-password=false",
                        *(["--admin"] if name == "boss" else []))
        self.token = self._admin("user", "generate-access-token", "--username", BOT, "--scopes",
                                 SCOPES, "--raw").strip().splitlines()[-1]
        self.ask("boss", "POST", "orgs", {"username": "acme"})
        self.ask("boss", "POST", "orgs/acme/repos", {
            "name": "state", "private": True, "default_branch": "main"})
        for name in (BOT, "eve", "max"):
            self.ask("boss", "PUT", f"repos/acme/state/collaborators/{name}", {
                "permission": "write"})

    @property
    def remote(self) -> str:
        return f"{self.url}/acme/state.git"

    def start(self) -> None:
        with (self._folder / "out.log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._program, "web", "--config", str(self._config)], stdout=log, stderr=log,
                env=self._environment)
        until = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{self.url}/api/v1/version", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            assert self._server.poll() is None and time.monotonic() < until, (
                (self._folder / "out.log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
            self._server = None

    def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """As that person, by the API; raises what it refuses."""
        answer = requests.request(method, f"{self.url}/api/v1/{path}", json=body, timeout=30,
                                  auth=(who, PASSWORD))
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.text else None

    def protect(self) -> None:
        """Main: only ours pushes to it, and what is merged needs the plan's status."""
        self.ask("boss", "POST", "repos/acme/state/branch_protections", {
            "rule_name": "main", "enable_push": True, "enable_push_whitelist": True,
            "push_whitelist_usernames": [BOT], "enable_status_check": True,
            "status_check_contexts": ["instantworker/plan"]})

    def _admin(self, *arguments: str) -> str:
        return subprocess.run([self._program, "admin", *arguments, "--config", str(self._config)],
                              check=True, capture_output=True, text=True,
                              env=self._environment).stdout
