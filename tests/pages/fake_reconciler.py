"""A fake reconciler for tests of pages: its internal API over the instance's own socket, as far as
pages use it. Files, documents and figures are kept in memory; an employee's answers come from
`answer`. The real one is exercised in tests/e2e.

A document named *.txt, *.md or *.csv "is read" as it is; any other gives no text and says so.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class FakeReconciler:
    """Listens until `close`. `calls`: method and path of every request."""

    def __init__(self, path: Path) -> None:
        self.calls: list[str] = []
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}  # customer -> name -> document
        self.files: dict[str, dict[str, bytes]] = {}  # employee -> path -> bytes
        self.usage: dict[str, Any] = {
            "month": f"{datetime.now(UTC):%Y-%m}", "employees": {}, "volume_bytes": {},
            "customer": {"settled_usd": 0.0, "reserved_usd": 0.0, "calls": 0, "tokens": 0},
            "volume_limit_bytes": 5 << 30}
        self.max_bytes, self.max_document_bytes = 2 << 30, 100 << 20
        self.pause_s = 0.0  # before each answer
        self.page = [1, 1]  # where a document is that is being read until `go_on` is set
        self.go_on = threading.Event()
        self.go_on.set()
        self.ignored: list[str] = []  # what may differ, in words
        self.fail_with: tuple[int, str, str] | None = None  # status, code, sentence
        self.answer: Callable[[str, str], str] = _no_idea
        self.forge: dict[str, Any] | None = None  # what /v1/forge tells
        self.plan: Callable[[str], dict[str, Any]] = lambda _: {}  # of a change
        self.journal: list[dict[str, Any]] = []
        self.uptime: list[float | None] = [None] * 12 + [0.5, 1.0]
        self.services: list[dict[str, Any]] = [
            {"service": name, "now": True, "days": [None] * 10 + [1.0, 0.97, 0.5, 1.0]}
            for name in ("dashboard", "employees", "thinking", "hiring")]
        self.overview: dict[str, Any] = {
            "fleet": {"customers": 2, "working": 3, "asleep": 4, "starting": 0, "unwell": 1,
                      "paused": 0, "blank": 1},
            "problem": None, "runs": [{"kind": "commit", "result": "succeeded", "count": 7}],
            "drift": 3, "loop": {
                "loop_age_s": 0.5, "workers": 4, "wedged": {}, "oldest_action_s": 0.0, "queue": 0,
                "database": "ok", "well": True, "commit": "a" * 40, "halted": None,
                "unreachable": {}},
            "alerts": {"receivers": [{"kind": "email", "target": "night@iw.test"}],
                       "heartbeat": True, "firing": [], "problem": None},
            "capacity": [{"resource": "memory", "used": 20 << 30, "total": 24 << 30,
                          "runs_out_s": None},
                         {"resource": "disk", "used": 95 << 30, "total": 100 << 30,
                          "runs_out_s": 200_000},
                         {"resource": "networks", "used": 2, "total": 512, "runs_out_s": None}]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        owner = self

        class Handler(_Handler):
            house = owner

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, customer: str, name: str, data: bytes, by: str = "") -> dict[str, Any]:
        """Adds a document, as an upload would."""
        kind = name.rpartition(".")[2].lower()
        is_read, guessed = kind in ("txt", "md", "csv", "html"), False
        try:
            data.decode()
        except UnicodeDecodeError:
            guessed = is_read
        document = {
            "name": name, "kind": kind, "size": len(data), "etag": f'"{len(data)}"', "by": by,
            "uploaded": datetime.now(UTC).isoformat(), "truncated": False, "left_out": [],
            "encoding": "koi8-r" if guessed else "", "guessed": guessed, "said_encoding": "",
            "state": "extracted" if is_read else "failed", "begins": "",
            "why": "" if is_read else "It is damaged, or not what its name says; open it, save it "
                                      "anew, and upload that."}
        known = self.documents.setdefault(customer, {})
        earlier = known.get(name, {}).get("earlier", [])
        if name in known:
            earlier = [{"data": known[name]["data"], "version": len(earlier) + 1,
                        "size": known[name]["size"], "by": known[name]["by"],
                        "uploaded": known[name]["uploaded"],
                        "replaced": document["uploaded"]}, *earlier]
        document["versions"] = len(earlier)
        known[name] = document | {"data": data, "earlier": earlier}
        return document


def _no_idea(employee: str, text: str) -> str:
    return "I don't know."


def _earlier(document: dict[str, Any], query: dict[str, str]) -> bytes:
    return next((one["data"] for one in document["earlier"]
                 if str(one["version"]) == query.get("version")), b"")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    house: FakeReconciler

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in
                 parse_qs(address.query, keep_blank_values=True).items()}
        parts = [unquote(part) for part in address.path.split("/")[2:]]
        self.house.calls.append(f"{self.command} {address.path}")
        time.sleep(self.house.pause_s)
        if self.house.fail_with and parts != ["notify"]:
            status, code, sentence = self.house.fail_with
            self._json({"error": sentence, "code": code}, status)
            return
        match [self.command, *parts]:
            case ["POST", "notify"] | ["POST", "employees", _, "disconnect" | "wake"]:
                self._json({})
            case ["GET", "forge"]:
                self._json(self.house.forge)
            case ["GET", "drift"]:
                self._json({"items": [], "unknown": {}, "ignored": self.house.ignored})
            case ["GET", "overview"]:
                self._json(self.house.overview)
            case ["GET", "charts"]:
                at = [1.7e9 + 60 * n for n in range(61)]
                lines = {line: [n / 61 for n in range(61)] for line in ("one", "two")}
                charts = ("capacity", "employees", query["span"])
                self._json({"at": at, "charts": dict.fromkeys(charts, lines)})
            case ["GET", "services"]:
                self._json(self.house.services)
            case ["GET", "journal"]:
                about = query.get("about", "")
                self._json([line for line in self.house.journal if about in json.dumps(line)])
            case ["GET", "employees", _, "logs"]:
                self._bytes(b"what it printed\n", kind="text/plain")
            case ["GET", "employees", _, "uptime"]:
                self._json(self.house.uptime)
            case ["GET", "plan"]:
                self._json(self.house.plan(query["change"]))
            case ["GET", "customers", _, "usage"]:
                self._json(self.house.usage)
            case [_, "customers", customer, "knowledge", *rest]:
                self._knowledge(customer, rest, query, body)
            case [_, "employees", employee, "files" | "memory", *rest]:
                self._files(employee, rest, query, body)
            case ["GET", "employees", _, "lessons"]:
                self._json({"lessons": []})
            case ["POST", "employees", employee, "ask"]:
                self._json({"text": self.house.answer(employee, json.loads(body)["text"]),
                            "seconds": 0.1})
            case _:
                self._json({"error": f"{self.command} {self.path} is not faked"}, 404)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def _knowledge(self, customer: str, rest: list[str], query: dict[str, str], body: bytes
                   ) -> None:
        known, name = self.house.documents.setdefault(customer, {}), query.get("name", "")
        match [self.command, *rest]:
            case ["GET"]:
                self._json({"documents": [
                    {k: v for k, v in d.items() if k not in ("data", "earlier")}
                    for _, d in sorted(known.items())],
                    "bytes": sum(d["size"] for d in known.values()),
                    "max_bytes": self.house.max_bytes,
                    "max_document_bytes": self.house.max_document_bytes,
                    "readable": ["pdf", "docx", "html", "csv", "md", "txt"]})
            case ["GET", "search"]:
                words = query.get("q", "").lower().split()
                self._json({"matches": [
                    {"document": n, "line": number, "excerpt": line,
                     "page": 12 if n.endswith(".md") else None, "all_words": all(
                         word in d["data"].decode(errors="replace").lower() for word in words)}
                    for n, d in sorted(known.items()) if d["state"] == "extracted"
                    for number, line in enumerate(
                        d["data"].decode(errors="replace").splitlines(), 1)
                    if words and any(word in line.lower() for word in words)]})
            case ["PUT", "content"]:
                used = sum(d["size"] for n, d in known.items() if n != name)
                if len(body) > self.house.max_document_bytes:
                    self._json({"error": "the file is too large", "code": "too_large"}, 413)
                elif used + len(body) > self.house.max_bytes:
                    self._json({"error": "there is no space left", "code": "no_space"}, 507)
                else:
                    made = self.house.put(customer, name, body, query.get("by", ""))
                    state = made["state"]
                    known[name] |= {"state": "reading", "page": self.house.page}
                    self.house.go_on.wait(20)
                    known[name] |= {"state": state, "page": None}
                    self._json(made, 201)
            case ["POST", "page"] if "nowhere" in query.get("address", ""):
                self._json({"error": f"{query['address']} is not there for us: it answers 404 "
                                     "(Not Found).", "code": "no_page"}, 422)
            case ["POST", "page"]:
                self.house.go_on.wait(20)
                made = self.house.put(customer, "example.com-prices.html", b"<p>Prices of today",
                                      query.get("by", ""))
                known[made["name"]]["address"] = made["address"] = query.get("address", "")
                self._json(made, 201)
            case [_, "content" | "text" | "versions" | "restore"] if name not in known:
                self._json({"error": f"there is no {name}", "code": "not_found"}, 404)
            case [_, "restore"] if not _earlier(known[name], query):
                self._json({"error": "there is no such version", "code": "not_found"}, 404)
            case ["GET", "versions"]:
                self._json({"versions": [{k: v for k, v in one.items() if k != "data"}
                                         for one in known[name]["earlier"]]})
            case ["POST", "restore"]:
                self._json(self.house.put(customer, name, _earlier(known[name], query),
                                          query.get("by", "")))
            case ["GET", "content"] if "version" in query:
                self._bytes(_earlier(known[name], query))
            case ["GET", "content" | "text"]:
                self._bytes(known[name]["data"])
            case ["POST", "text"]:
                said = query.get("encoding", "")
                known[name] |= {"said_encoding": said, "guessed": not said}
                self._json({k: v for k, v in known[name].items() if k not in ("data", "earlier")})
            case ["DELETE", "content"]:
                del known[name]
                self._json({"removed": name, "backup": None})

    def _files(self, employee: str, rest: list[str], query: dict[str, str], body: bytes) -> None:
        files, path = self.house.files.setdefault(employee, {}), query.get("path", "")
        match [self.command, *rest]:
            case ["GET"]:
                below = f"{path}/" if path else ""
                self._json({"cut_off": False, "entries": [
                    {"path": p, "name": p.rpartition("/")[2], "kind": "file", "size": len(data),
                     "modified": datetime.now(UTC).isoformat(), "etag": f'"{len(data)}"'}
                    for p, data in sorted(files.items())
                    if p.startswith(below) and "/" not in p[len(below):]]})
            case ["PUT", "content"]:
                files[path] = body
                self._json({"path": path, "name": path.rpartition("/")[2], "kind": "file",
                            "size": len(body)})
            case [_, "content"] if path not in files:
                self._json({"error": f"there is no {path}", "code": "not_found"}, 404)
            case ["GET", "content"]:
                self._bytes(files[path])
            case ["DELETE", "content"]:
                del files[path]
                self._json({"removed": path})
            case _:
                self._json({}, 201)

    def _json(self, value: Any, status: int = 200) -> None:
        self._bytes(json.dumps(value).encode(), status, "application/json")

    def _bytes(self, data: bytes, status: int = 200, kind: str = "application/octet-stream"
               ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
