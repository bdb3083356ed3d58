"""What lies in the volumes, over the internal API: an employee's files, memory and lessons, and a
company's knowledge. Whoever asks has checked whose they are.

Paths travel in the query (`?path=notes/a.md`), bodies as plain bytes, ETags as HTTP has them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, BinaryIO

from werkzeug.exceptions import BadRequest
from werkzeug.routing import Rule, RuleFactory
from werkzeug.wrappers import Request, Response

from reconciler import lessons
from reconciler.loop import Reconciler
from stacks import StackError, web_page, workspace
from stacks.employee_files import UID, NotMadeYet, volume_folder
from stacks.knowledge import Knowledge
from stacks.model_usage import usage
from stacks.readers import kinds
from stacks.workspace import Workspace
from state_repo.documents import Platform, Storage

PIECE = 256 * 1024
MOST_FILE = 1024 * 1024 * 1024
MOST_DOCUMENT = 100 * 1024 * 1024
MEMORY = ("MEMORY.md", "USER.md", "memory")
_STATUS = {workspace.PathRefused: (400, "path_refused"), workspace.NotFound: (404, "not_found"),
           workspace.Conflict: (412, "changed_meanwhile"), workspace.TooLarge: (413, "too_large"),
           workspace.NoSpace: (507, "no_space"), NotMadeYet: (503, "not_made_yet"),
           web_page.PageError: (422, "no_page")}


class Content:
    def __init__(self, reconciler: Reconciler) -> None:
        self._r = reconciler
        # Where a reader is, by company and document: (page, of).
        self._reading: dict[tuple[str, str], tuple[int, int]] = {}

    def rules(self) -> list[RuleFactory]:
        employee, customer = "/v1/employees/<employee>", "/v1/customers/<customer>"
        return [
            Rule(f"{employee}/<any(files, memory):area>", endpoint=self.listing, methods=["GET"]),
            Rule(f"{employee}/<any(files, memory):area>/content", endpoint=self.read,
                 methods=["GET"]),
            Rule(f"{employee}/<any(files, memory):area>/content", endpoint=self.write,
                 methods=["PUT"]),
            Rule(f"{employee}/<any(files, memory):area>/content", endpoint=self.remove,
                 methods=["DELETE"]),
            Rule(f"{employee}/files/folder", endpoint=self.make_folder, methods=["POST"]),
            Rule(f"{employee}/files/move", endpoint=self.move, methods=["POST"]),
            Rule(f"{employee}/files/archive", endpoint=self.archive, methods=["GET"]),
            Rule(f"{employee}/lessons", endpoint=self.lessons, methods=["GET"]),
            Rule(f"{customer}/usage", endpoint=self.usage, methods=["GET"]),
            Rule(f"{customer}/knowledge", endpoint=self.documents, methods=["GET"]),
            Rule(f"{customer}/knowledge/search", endpoint=self.search, methods=["GET"]),
            Rule(f"{customer}/knowledge/content", endpoint=self.read_document, methods=["GET"]),
            Rule(f"{customer}/knowledge/versions", endpoint=self.versions, methods=["GET"]),
            Rule(f"{customer}/knowledge/restore", endpoint=self.restore_version,
                 methods=["POST"]),
            Rule(f"{customer}/knowledge/text", endpoint=self.read_text, methods=["GET"]),
            Rule(f"{customer}/knowledge/content", endpoint=self.put_document, methods=["PUT"]),
            Rule(f"{customer}/knowledge/page", endpoint=self.fetch_page, methods=["POST"]),
            Rule(f"{customer}/knowledge/text", endpoint=self.read_again, methods=["POST"]),
            Rule(f"{customer}/knowledge/content", endpoint=self.remove_document,
                 methods=["DELETE"]),
        ]

    # ---- an employee's files -----------------------------------------------------------------

    def listing(self, request: Request, employee: str, area: str) -> Response:
        files = self._workspace(employee)
        try:
            if area == "memory":
                return _json({"entries": [_shown(e) for e in _memory(files)], "cut_off": False})
            found = files.list(_below(_path(request, "")))
        except workspace.NotFound:
            if _path(request, ""):
                raise
            return _json({"entries": [], "cut_off": False})  # nothing was written yet
        return _json({"entries": [_shown(e) for e in found.entries], "cut_off": found.cut_off})

    def read(self, request: Request, employee: str, area: str) -> Response:
        entry, file = self._workspace(employee).open(_in_area(area, _path(request)))
        return _stream(file, entry.size, entry.etag, entry.name)

    def write(self, request: Request, employee: str, area: str) -> Response:
        entry = self._workspace(employee).write(
            _in_area(area, _path(request)), _chunks(request), _header(request, "If-Match"),
            request.headers.get("If-None-Match") == "*")
        return _json(asdict(entry) | {"path": _path(request)}, etag=entry.etag)

    def remove(self, request: Request, employee: str, area: str) -> Response:
        self._workspace(employee).delete(_in_area(area, _path(request)),
                                         _header(request, "If-Match"))
        return _json({"removed": _path(request)})

    def make_folder(self, request: Request, employee: str) -> Response:
        self._workspace(employee).make_folder(_below(_path(request)))
        return _json({"made": _path(request)}, 201)

    def move(self, request: Request, employee: str) -> Response:
        source, target = _path(request), _path(request, name="to")
        self._workspace(employee).move(_below(source), _below(target))
        return _json({"moved": source, "to": target})

    def archive(self, request: Request, employee: str) -> Response:
        """A .zip of a folder, made in a file without a name: it may be larger than memory."""
        made = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the answer is sent
        self._workspace(employee).archive(_below(_path(request, "")), made.write)
        size = made.tell()
        made.seek(0)
        return _stream(made, size, None, f"{employee}.zip")

    def lessons(self, request: Request, employee: str) -> Response:
        try:
            _, file = self._workspace(employee).open(f"workspace/{lessons.LOG}")
        except workspace.NotFound:
            return _json({"lessons": []})
        with file:
            found = lessons.parse(file.read(lessons.MOST_BYTES).decode(errors="replace"))
        return _json({"lessons": [asdict(item) for item in found]})

    # ---- a company ---------------------------------------------------------------------------

    def usage(self, request: Request, customer: str) -> Response:
        month = request.args.get("month") or datetime.now(UTC).strftime("%Y-%m")
        if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", month):
            raise BadRequest("month: write it as 2026-01")
        spent = usage(self._r.instance, customer, month)
        rows, used = self._r.fleet.rows(), self._r.storage.used()
        return _json(spent | {"volume_bytes": {e: size for e, size in used.items()
                                               if rows.get(e, {}).get("customer") == customer},
                              "volume_limit_bytes": self._storage().employee_mb << 20})

    def documents(self, request: Request, customer: str) -> Response:
        knowledge = self._knowledge(customer)
        found, earlier = knowledge.list(), knowledge.version_counts()
        return _json({"documents": [asdict(d) | {
                          "versions": earlier.get(d.name, 0),
                          "page": self._reading.get((customer, d.name)) if (
                              d.state == "reading") else None} for d in found],
                      "bytes": sum(d.size for d in found),
                      "max_bytes": self._storage().knowledge_mb << 20,
                      "max_document_bytes": MOST_DOCUMENT, "readable": sorted(kinds.ENDINGS)})

    def search(self, request: Request, customer: str) -> Response:
        found = self._knowledge(customer).search(request.args.get("q", ""))
        return _json({"matches": [asdict(m) for m in found]})

    def read_document(self, request: Request, customer: str) -> Response:
        name = _path(request, name="name")
        if "version" in request.args:
            size, earlier = self._knowledge(customer).open_version(name, _version(request))
            return _stream(earlier, size, None, name)
        entry, file = self._knowledge(customer).open(name)
        return _stream(file, entry.size, entry.etag, entry.name)

    def versions(self, request: Request, customer: str) -> Response:
        found = self._knowledge(customer).versions(_path(request, name="name"))
        return _json({"versions": [asdict(version) for version in found]})

    def restore_version(self, request: Request, customer: str) -> Response:
        made = self._knowledge(customer).restore(
            _path(request, name="name"), _version(request), request.args.get("by", ""),
            datetime.now(UTC), MOST_DOCUMENT, self._storage().knowledge_mb << 20)
        return _json(asdict(made))

    def read_text(self, request: Request, customer: str) -> Response:
        text = self._knowledge(customer).text(_path(request, name="name"))
        return Response(text, mimetype="text/plain; charset=utf-8")

    def put_document(self, request: Request, customer: str) -> Response:
        made = self._knowledge(customer).put(
            _path(request, name="name"), _chunks(request), request.args.get("by", ""),
            datetime.now(UTC), MOST_DOCUMENT, self._storage().knowledge_mb << 20)
        return _json(asdict(made), 201)

    def fetch_page(self, request: Request, customer: str) -> Response:
        """Fetches a page of the web, for the first time or anew."""
        platform = self._r.book.platform
        if platform is None:
            raise BadRequest("nothing was applied yet; try again in a minute")
        page = self._r.world.fetch_page(customer, platform.images["employee"],
                                        request.args.get("address", ""))
        made = self._knowledge(customer).put(
            page.name, [page.data], request.args.get("by", ""), datetime.now(UTC), MOST_DOCUMENT,
            self._storage().knowledge_mb << 20, page.address)
        return _json(asdict(made), 201)

    def read_again(self, request: Request, customer: str) -> Response:
        made = self._knowledge(customer).read_again(_path(request, name="name"),
                                                    request.args.get("encoding") or None)
        return _json(asdict(made))

    def remove_document(self, request: Request, customer: str) -> Response:
        self._knowledge(customer).remove(_path(request, name="name"))
        backup = self._r.world.backup_of_knowledge(customer)
        return _json({"removed": _path(request, name="name"), "backup": backup})

    # ---- small things ------------------------------------------------------------------------

    def _storage(self) -> Storage:
        return (self._r.book.platform or Platform(images={})).storage

    def _workspace(self, employee: str) -> Workspace:
        root = volume_folder(self._r.instance.employee_volume(employee))
        return Workspace(root, UID, UID, MOST_FILE, self._storage().employee_mb << 20)

    def _knowledge(self, customer: str) -> Knowledge:
        def at(name: str, page: int, of: int) -> None:
            while len(self._reading) >= 1000:
                self._reading.pop(next(iter(self._reading)), None)
            self._reading[customer, name] = (page, of)
        platform = self._r.book.platform or Platform(images={})
        return Knowledge(volume_folder(self._r.instance.knowledge_volume(customer)), at,
                         platform.ocr_languages)


def answer_to(error: StackError) -> Response:
    """An error of these as HTTP says it."""
    status, code = next((known for kind, known in _STATUS.items() if isinstance(error, kind)),
                        (409, "not_possible"))
    return _json({"error": str(error), "code": code}, status)


def _shown(entry: workspace.Entry) -> dict[str, Any]:
    """With the path by which it is read: below the workspace."""
    return asdict(entry) | {"path": entry.path.partition("/")[2]}


def _memory(files: Workspace) -> Iterator[workspace.Entry]:
    top = files.list("workspace").entries
    yield from (e for e in top if e.kind == "file" and e.name in MEMORY)
    if any(e.kind == "folder" and e.name == "memory" for e in top):
        yield from (e for e in files.list("workspace/memory").entries if e.kind == "file")


def _below(path: str) -> str:
    workspace.checked(path)
    return f"workspace/{path}".rstrip("/")


def _in_area(area: str, path: str) -> str:
    if area == "memory" and path.partition("/")[0] not in MEMORY:
        raise workspace.PathRefused(f"{path!r} is no memory; memory is {', '.join(MEMORY)}/…")
    return _below(path)


def _path(request: Request, default: str | None = None, name: str = "path") -> str:
    found = request.args.get(name, default)
    if found is None:
        raise BadRequest(f"{name}: name it in the query, as ?{name}=…")
    return found


def _version(request: Request) -> int:
    found = request.args.get("version", "")
    if not re.fullmatch(r"[0-9]{1,9}", found):
        raise BadRequest("version: name it in the query, as ?version=3")
    return int(found)


def _header(request: Request, name: str) -> str | None:
    return request.headers.get(name) or None


def _chunks(request: Request) -> Iterator[bytes]:
    while piece := request.stream.read(PIECE):
        yield piece


def _stream(file: BinaryIO | Any, size: int, etag: str | None, name: str) -> Response:
    def pieces() -> Iterator[bytes]:
        left = size
        with file:
            while left > 0 and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece
    response = Response(pieces(), mimetype="application/octet-stream", direct_passthrough=True)
    response.headers["Content-Length"] = str(size)
    if etag:
        response.headers["ETag"] = etag
    return response


def _json(value: Any, status: int = 200, etag: str | None = None) -> Response:
    response = Response(json.dumps(value, default=_plain), status, mimetype="application/json")
    if etag:
        response.headers["ETag"] = etag
    return response


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
