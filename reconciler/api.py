"""The internal API: what only the reconciler can reach.

On a unix socket (mode 0660), JSON for the web app and `iw`; on a loopback port, what Prometheus
reads: /metrics, /healthz, and /targets for its HTTP service discovery.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from waitress.server import create_server
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from reconciler import ReconcilerError
from reconciler.answers import Answers
from reconciler.content import Content, answer_to
from reconciler.forges.follow import Follower
from reconciler.forges.webhook import ForgedError, verify, webhook_secret
from reconciler.loop import Reconciler
from reconciler.plans import Planner
from reconciler.world import Source
from stacks import StackError, edge
from state_repo import journal, logbook
from state_repo.instance import BULK_SOCKET
from state_repo.review import NoChangeError

log = logging.getLogger(__name__)
Handler = Callable[..., Response]
BULK_THREADS, OF_ONE = 24, 6
MOST_LINES, NEWEST_BYTES = 200, 4 << 20
_SOURCES: dict[str, Source] = {"backup": "backup", "nothing": "nothing", "disk": "disk"}


def as_json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, default=str), status, mimetype="application/json")


class InternalApi:
    """`follower`: of the forge that holds the state repo, where one does."""

    def __init__(self, reconciler: Reconciler, planner: Planner,
                 follower: Follower | None = None) -> None:
        self._r, self._answers = reconciler, Answers(reconciler)
        self._planner, self._follower = planner, follower
        self._public = Map([
            Rule("/metrics", endpoint=self.metrics), Rule("/healthz", endpoint=self.healthz),
            Rule("/targets", endpoint=self.targets),
            Rule("/metrics/edge", endpoint=self.edge_metrics),
        ])
        self._internal = Map([
            Rule("/healthz", endpoint=self.healthz),
            Rule("/targets", endpoint=self.targets),
            Rule("/v1/info", endpoint=self.info), Rule("/v1/status", endpoint=self.status),
            Rule("/v1/overview", endpoint=self.overview),
            Rule("/v1/charts", endpoint=self.charts),
            Rule("/v1/services", endpoint=self.services),
            Rule("/v1/journal", endpoint=self.journal),
            Rule("/v1/employees/<employee>/uptime", endpoint=self.uptime),
            Rule("/v1/plan", endpoint=self.plan), Rule("/v1/drift", endpoint=self.drift),
            Rule("/v1/forge", endpoint=self.forge),
            Rule("/v1/forge/message", endpoint=self.forge_message, methods=["POST"]),
            Rule("/v1/employees/<employee>/logs", endpoint=self.logs),
            Rule("/v1/employees/<employee>/wake", endpoint=self.wake, methods=["POST"]),
            Rule("/v1/employees/<employee>/thumbnail", endpoint=self.thumbnail,
                 methods=["GET"]),
            Rule("/v1/employees/<employee>/disconnect", endpoint=self.disconnect,
                 methods=["POST"]),
            Rule("/v1/employees/<employee>/ask", endpoint=self.ask, methods=["POST"]),
            *Content(reconciler).rules(),
            Rule("/v1/rollout", endpoint=self.rollout, methods=["GET"]),
            Rule("/v1/rollout", endpoint=self.roll_out, methods=["POST"]),
            Rule("/v1/retry", endpoint=self.retry, methods=["POST"]),
            Rule("/v1/notify", endpoint=self.notify, methods=["POST"]),
            Rule("/v1/confirm", endpoint=self.confirm, methods=["POST"]),
            Rule("/v1/restore", endpoint=self.restore, methods=["POST"]),
            Rule("/v1/models/<name>/ask", endpoint=self.ask_model, methods=["POST"]),
            Rule("/v1/certificate", endpoint=self.certificate, methods=["GET"]),
            Rule("/v1/certificate", endpoint=self.renew, methods=["POST"]),
            Rule("/v1/backups", endpoint=self.backups, methods=["GET"]),
            Rule("/v1/backups", endpoint=self.back_up, methods=["POST"]),
            Rule("/v1/backups/restore", endpoint=self.put_back, methods=["POST"]),
            Rule("/v1/alerts", endpoint=self.alerts, methods=["GET"]),
            Rule("/v1/alerts/test", endpoint=self.test_alerts, methods=["POST"]),
        ])

    def metrics(self, request: Request) -> Response:
        return Response(self._r.metrics.render(), mimetype="text/plain; version=0.0.4")

    def edge_metrics(self, request: Request) -> Response:
        """What Caddy counts; its own door is a socket that Prometheus can't ask."""
        return Response(edge.figures(self._r.instance), mimetype="text/plain; version=0.0.4")

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

    def overview(self, request: Request) -> Response:
        return as_json(self._answers.overview())

    def charts(self, request: Request) -> Response:
        return as_json(self._answers.charts(request.args.get("span", "")))

    def services(self, request: Request) -> Response:
        return as_json(self._answers.services())

    def uptime(self, request: Request, employee: str) -> Response:
        return as_json(self._answers.uptime(employee))

    def journal(self, request: Request) -> Response:
        """The newest lines of what both processes logged about `about`, or about anything; of at
        least `level`."""
        about, level = request.args.get("about"), request.args.get("level") or logbook.LEVELS[0]
        if level not in logbook.LEVELS:
            raise BadRequest(f"level is one of {', '.join(logbook.LEVELS)}")
        wanted = logbook.names(self._r.store, about) if about else None
        found = logbook.lines_of(self._r.instance, wanted, None if about else NEWEST_BYTES)
        return as_json([line for line in found if logbook.is_at_least(line, level)][-MOST_LINES:])

    def plan(self, request: Request) -> Response:
        """Of a change under review (`change`), or of the newest commit."""
        change = request.args.get("change")
        return as_json(self._planner.change(change) if change is not None
                       else self._planner.newest(request.args.get("customer")))

    def drift(self, request: Request) -> Response:
        return as_json(self._answers.drift())

    def forge(self, request: Request) -> Response:
        """What is known of the forge and its open requests; null without one."""
        return as_json(self._follower and self._follower.as_json())

    def forge_message(self, request: Request) -> Response:
        """A message of the forge's, as the web app got it: its headers, its body. What proves to be
        the forge's wakes who follows it."""
        if self._follower is None:
            raise NotFound("no forge holds the state repo; IW_FORGE names one")
        body = request.get_data(cache=False)
        headers = {name.lower(): value for name, value in request.headers}
        try:
            verify(self._follower.address, webhook_secret(self._r.instance), headers, body)
        except ForgedError as error:
            log.warning("a message in the forge's name proves nothing and was dropped: %s", error)
            return as_json({"error": str(error), "code": "forged"}, 400)
        self._follower.wake()
        return as_json({}, 202)

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
        return as_json(self._r.turns.ask(employee, _field(request, "text")))

    def rollout(self, request: Request) -> Response:
        """The last roll-out of an image; null when there was none."""
        return as_json(self._r.rollouts.as_json())

    def roll_out(self, request: Request) -> Response:
        """Rolls the platform's image out to whoever is behind: how many that are."""
        return as_json({"behind": self._r.rollouts.begin_again()}, 202)

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
        source = _SOURCES.get(_field(request, "from"))
        if source is None:
            raise BadRequest('from: "backup", "nothing" or "disk"')
        body = request.get_json()
        return as_json({"done": self._answers.restore(
            body.get("employee"), body.get("customer"), source)})

    def ask_model(self, request: Request, name: str) -> Response:
        body = request.get_json(silent=True)
        question = body.get("question") if isinstance(body, dict) else None
        if question is not None and not isinstance(question, str):
            raise BadRequest("question: some text")
        return as_json(self._answers.ask_model(name, question))

    def certificate(self, request: Request) -> Response:
        return as_json(self._answers.certificate())

    def renew(self, request: Request) -> Response:
        self._answers.renew()
        return as_json({}, 202)

    def backups(self, request: Request) -> Response:
        return as_json(self._answers.backups())

    def back_up(self, request: Request) -> Response:
        what = _field(request, "what")
        if what not in ("run", "drill"):
            raise BadRequest('what: "run" or "drill"')
        self._answers.back_up(what)
        return as_json({}, 202)

    def put_back(self, request: Request) -> Response:
        body = request.get_json()
        try:
            at = datetime.fromisoformat(body["at"]) if body.get("at") else None
        except (ValueError, TypeError) as error:
            raise BadRequest("at: a time such as 2026-11-28T06:00:00Z") from error
        return as_json({"done": self._answers.put_back(
            _field(request, "customer"), body.get("employee"), at)})

    def alerts(self, request: Request) -> Response:
        return as_json(self._answers.alerts())

    def test_alerts(self, request: Request) -> Response:
        return as_json(self._answers.test_alerts())

    def wsgi(self, rules: Map, doors: Doors | None = None) -> Callable[..., Any]:
        @Request.application
        def application(request: Request) -> Response:
            with journal.about(trace=journal.trace_of(request.headers.get(journal.HEADER))):
                return answered(request)

        def answered(request: Request) -> Response:
            try:
                if doors is not None:
                    return doors.through(request, rules)
                endpoint, arguments = rules.bind_to_environ(request.environ).match()
                return endpoint(request, **arguments)
            except HTTPException as error:
                return as_json({"error": error.description}, error.code or 500)
            except StackError as error:
                return answer_to(error)
            except NoChangeError as error:
                return as_json({"error": str(error), "code": "no_change"}, 404)
            except ReconcilerError as error:
                return as_json({"error": str(error)}, 409)
            except Exception as error:
                log.exception("%s %s", request.method, request.path)
                return as_json({"error": f"{type(error).__name__}: {error}"}, 500)
        return application

    def serve(self, path: Path, port: int) -> Callable[[], None]:
        """Serves both doors in threads of their own; returns what closes them."""
        bulk = path.with_name(BULK_SOCKET)
        servers = [
            create_server(self.wsgi(self._internal), sockets=[_listen(path)], threads=8,
                          ident="reconciler"),
            create_server(self.wsgi(self._internal, Doors(self._whose)), sockets=[_listen(bulk)],
                          threads=BULK_THREADS, ident="reconciler"),
            create_server(self.wsgi(self._public), host="127.0.0.1", port=port, threads=2,
                          ident="reconciler"),
        ]
        for server in servers:
            threading.Thread(target=server.run, name="api", daemon=True).start()

        def close() -> None:
            for server in servers:
                server.close()
            for door in (path, bulk):
                door.unlink(missing_ok=True)
        return close

    def _whose(self, arguments: Mapping[str, Any]) -> str:
        """The customer that a request is about, as far as it can be told."""
        employee = arguments.get("employee")
        row = self._r.fleet.rows().get(employee) if employee else None
        return row["customer"] if row else str(arguments.get("customer") or employee or "")


class Doors:
    """Long work and large bodies: at most OF_ONE at once for one customer, so that whoever reads
    slowly, or asks for much, takes nobody else's turn. `whose(arguments)`: the customer."""

    def __init__(self, whose: Callable[[Mapping[str, Any]], str]) -> None:
        self._whose, self._busy, self._guard = whose, Counter[str](), threading.Lock()

    def through(self, request: Request, rules: Map) -> Response:
        endpoint, arguments = rules.bind_to_environ(request.environ).match()
        customer = self._whose(arguments)
        with self._guard:
            if self._busy[customer] >= OF_ONE:
                return as_json({"error": "Several files of this company are being sent already. "
                                "Try again in a moment.", "code": "busy"}, 503)
            self._busy[customer] += 1
        try:
            response = endpoint(request, **arguments)
        except BaseException:
            self._leave(customer)
            raise
        # Its place is given back when the last piece was taken, or nobody takes any more.
        response.call_on_close(lambda: self._leave(customer))
        return response

    def _leave(self, customer: str) -> None:
        with self._guard:
            self._busy[customer] -= 1
            if self._busy[customer] <= 0:
                del self._busy[customer]


def _listen(path: Path) -> socket.socket:
    """A unix socket for this user and its folder's group: the web app's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    os.chown(path, -1, path.parent.stat().st_gid)
    path.chmod(0o660)
    return listener


def _field(request: Request, name: str) -> str:
    body = request.get_json(silent=True)
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise BadRequest(f'send JSON with the field "{name}"')
    return value
