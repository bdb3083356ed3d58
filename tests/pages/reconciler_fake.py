"""A fake reconciler for pages: the real API of files, memory and lessons over folders of the test,
behind the real socket; made-up usage and screens. No container, no Docker."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waitress.server import create_server
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from reconciler import content
from reconciler.api import as_json
from stacks import StackError
from state_repo.documents import Platform
from state_repo.instance import Instance


@dataclass
class FakeReconciler:
    """`usage`: what /usage answers. `screens`: employee to the bytes of its picture. `asked`:
    what came in."""

    instance: Instance
    volumes: Path
    usage: dict[str, Any] = field(default_factory=lambda: {
        "month": "2026-11", "employees": {}, "volume_bytes": {}, "volume_limit_bytes": 5 << 30,
        "customer": {"settled_usd": 0.0, "reserved_usd": 0.0, "calls": 0, "tokens": 0}})
    screens: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def folder(self, employee: str) -> Path:
        """An employee's files; made at first use."""
        made = self.volumes / self.instance.employee_volume(employee) / "workspace"
        made.mkdir(parents=True, exist_ok=True)
        return made

    def spends(self, employee: str, usd: float, answering: bool = False, calls: int = 12) -> None:
        self.usage["employees"][employee] = {
            "settled_usd": usd, "reserved_usd": 0.1 if answering else 0.0, "calls": calls,
            "tokens": calls * 1800}

    def rules(self) -> list[Any]:
        real = [rule for rule in content.Content(SimpleNamespace(  # type: ignore[arg-type]
            instance=self.instance, book=SimpleNamespace(platform=Platform(images={}))
            )).rules() if not str(rule.rule).endswith("/usage")]
        return [*real, Rule("/v1/customers/<customer>/usage", endpoint=self._usage),
                Rule("/v1/employees/<employee>/thumbnail", endpoint=self._screen),
                Rule("/v1/notify", endpoint=lambda _: as_json({}, 202), methods=["POST"])]

    def _usage(self, request: Request, customer: str) -> Response:
        return as_json(self.usage)

    def _screen(self, request: Request, employee: str) -> Response:
        return Response(self.screens.get(employee, b""), mimetype="image/jpeg")

    def wsgi(self) -> Any:
        rules = Map(self.rules())

        @Request.application
        def application(request: Request) -> Response:
            self.asked.append(f"{request.method} {request.path}")
            try:
                endpoint, arguments = rules.bind_to_environ(request.environ).match()
                return endpoint(request, **arguments)
            except HTTPException as error:
                return as_json({"error": error.description}, error.code or 500)
            except StackError as error:
                return content.answer_to(error)
        return application


@pytest.fixture
def reconciler(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = FakeReconciler(site.instance, tmp_path / "volumes")
    monkeypatch.setattr(content, "volume_folder", lambda name: made.volumes / name)
    monkeypatch.setattr(content, "UID", os.getuid())
    path = site.instance.socket
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    server = create_server(made.wsgi(), sockets=[listener], threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield made
    server.close()
    thread.join(5)
