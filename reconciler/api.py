"""The internal API: what only the reconciler can reach.

On a unix socket (mode 0600), JSON for the web app and `iw`; on a loopback port, what Prometheus
reads: /metrics, /healthz, and /targets for its HTTP service discovery.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waitress.server import create_server
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from reconciler import ReconcilerError
from reconciler.answers import Answers
from reconciler.content import Content, answer_to
from reconciler.loop import Reconciler
from reconciler.turns import MOST_AT_ONCE, Turns
from stacks import StackError

log = logging.getLogger(__name__)
Handler = Callable[..., Response]


def as_json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, default=str), status, mimetype="application/json")


class InternalApi:
    def __init__(self, reconciler: Reconciler) -> None:
        self._r, self._answers = reconciler, Answers(reconciler)
        self._turns = Turns(reconciler.fleet, reconciler.rest)
        self._public = Map([
            Rule("/metrics", endpoint=self.metrics), Rule("/healthz", endpoint=self.healthz),
            Rule("/targets", endpoint=self.targets),
        ])
        self._internal = Map([
            Rule("/healthz", endpoint=self.healthz),
            Rule("/targets", endpoint=self.targets),
            Rule("/v1/info", endpoint=self.info), Rule("/v1/status", endpoint=self.status),
            Rule("/v1/plan", endpoint=self.plan), Rule("/v1/drift", endpoint=self.drift),
            Rule("/v1/employees/<employee>/logs", endpoint=self.logs),
            Rule("/v1/employees/<employee>/wake", endpoint=self.wake, methods=["POST"]),
            Rule("/v1/employees/<employee>/thumbnail", endpoint=self.thumbnail,
                 methods=["GET"]),
            Rule("/v1/employees/<employee>/disconnect", endpoint=self.disconnect,
                 methods=["POST"]),
            Rule("/v1/employees/<employee>/ask", endpoint=self.ask, methods=["POST"]),
            *Content(reconciler).rules(),
            Rule("/v1/retry", endpoint=self.retry, methods=["POST"]),
            Rule("/v1/notify", endpoint=self.notify, methods=["POST"]),
            Rule("/v1/confirm", endpoint=self.confirm, methods=["POST"]),
            Rule("/v1/restore", endpoint=self.restore, methods=["POST"]),
        ])

    def metrics(self, request: Request) -> Response:
        return Response(self._r.metrics.render(), mimetype="text/plain; version=0.0.4")

    def healthz(self, request: Request) -> Response:
        """503 when the loop has not turned for a while, or nobody works: a dead loop must not
        look alive."""
        found, well = self._answers.healthz()
        return as_json(found, 200 if well else 503)

    def targets(self, request: Request) -> Response:
        return as_json(self._answers.targets())

    def info(self, request: Request) -> Response:
        return as_json(self._answers.info())

    def status(self, request: Request) -> Response:
        return as_json(self._answers.status())

    def plan(self, request: Request) -> Response:
        return as_json(self._answers.plan(request.args.get("customer")))

    def drift(self, request: Request) -> Response:
        return as_json(self._answers.drift())

    def logs(self, request: Request, employee: str) -> Response:
        try:
            tail = min(max(int(request.args.get("tail", "200")), 1), 10_000)
        except ValueError as error:
            raise BadRequest("tail: a number of lines, from 1 to 10000") from error
        text = self._answers.logs(employee, tail)
        if text is None:
            raise NotFound(f"employee {employee} has no container; see its reason in `iw status`")
        return Response(text, mimetype="text/plain; charset=utf-8")

    def wake(self, request: Request, employee: str) -> Response:
        return as_json({"slept": self._answers.wake(employee)})

    def thumbnail(self, request: Request, employee: str) -> Response:
        picture = self._answers.thumbnail(employee)
        return Response(picture or b"", 200 if picture else 204, mimetype="image/jpeg")

    def disconnect(self, request: Request, employee: str) -> Response:
        self._answers.disconnect(employee)
        return as_json({})

    def ask(self, request: Request, employee: str) -> Response:
        return as_json(self._turns.ask(employee, _field(request, "text")))

    def retry(self, request: Request) -> Response:
        customer = _field(request, "customer")
        self._answers.retry(customer)
        return as_json({"queued": customer}, 202)

    def notify(self, request: Request) -> Response:
        self._r.wake()
        return as_json({}, 202)

    def confirm(self, request: Request) -> Response:
        return as_json({"confirmed": self._answers.confirm(_field(request, "commit"))})

    def restore(self, request: Request) -> Response:
        source = _field(request, "from")
        if source not in ("backup", "nothing"):
            raise BadRequest('from: "backup" or "nothing"')
        body = request.get_json()
        return as_json({"done": self._answers.restore(
            body.get("employee"), body.get("customer"), from_backup=source == "backup")})

    def wsgi(self, rules: Map) -> Callable[..., Any]:
        @Request.application
        def application(request: Request) -> Response:
            try:
                endpoint, arguments = rules.bind_to_environ(request.environ).match()
                return endpoint(request, **arguments)
            except HTTPException as error:
                return as_json({"error": error.description}, error.code or 500)
            except StackError as error:
                return answer_to(error)
            except ReconcilerError as error:
                return as_json({"error": str(error)}, 409)
            except Exception as error:
                log.exception("%s %s", request.method, request.path)
                return as_json({"error": f"{type(error).__name__}: {error}"}, 500)
        return application

    def serve(self, path: Path, port: int) -> Callable[[], None]:
        """Serves both doors in threads of their own; returns what closes them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old)
        servers = [
            create_server(self.wsgi(self._internal), sockets=[listener],
                          threads=4 + MOST_AT_ONCE, ident="reconciler"),
            create_server(self.wsgi(self._public), host="127.0.0.1", port=port, threads=2,
                          ident="reconciler"),
        ]
        for server in servers:
            threading.Thread(target=server.run, name="api", daemon=True).start()

        def close() -> None:
            for server in servers:
                server.close()
            path.unlink(missing_ok=True)
        return close


def _field(request: Request, name: str) -> str:
    body = request.get_json(silent=True)
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise BadRequest(f'send JSON with the field "{name}"')
    return value
