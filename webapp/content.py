"""The public API for what lies in the volumes: files, memory, lessons, knowledge, usage.

The web app checks whose they are and passes bytes on; only the reconciler reaches a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from flask import Response, jsonify, request
from flask_babel import gettext

from state_repo import changes
from state_repo.documents import Lesson, LessonState
from webapp import team
from webapp.access import me
from webapp.api import given, operation
from webapp.errors import Problem
from webapp.models import db
from webapp.reconciler_api import Answer, ask

MOST_UPLOAD = 1024 * 1024 * 1024
_LONGEST_S = 300.0  # that a document waits for those before it, and is read
_EMPLOYEE = "/customers/<customer>/employees/<employee>"
_KNOWLEDGE = "/customers/<customer>/knowledge"
_CONDITIONS = ("If-Match", "If-None-Match")


# ---- an employee's files, and its memory apart -----------------------------------------------

def _area(area: str, what: str) -> None:
    """The routes of one area of the workspace."""
    def add(method: str, path: str, summary: str, view: Callable[[str, str], Response]) -> None:
        view.__name__ = f"{method.lower()}_{area}{path.replace('/', '_')}"
        operation(method, f"{_EMPLOYEE}/{area}{path}", "account", summary)(view)

    def listing(customer: str, employee: str) -> Response:
        return jsonify(_ask_employee(customer, employee, "GET", area).json())

    def read(customer: str, employee: str) -> Response:
        return _download(_ask_employee(customer, employee, "GET", area, "content"),
                         request.args.get("path", ""))

    def write(customer: str, employee: str) -> Response:
        answer = _ask_employee(customer, employee, "PUT", area, "content", upload=True)
        response = jsonify(answer.json())
        response.headers["ETag"] = answer.headers.get("ETag", "")
        return response

    def remove(customer: str, employee: str) -> Response:
        return jsonify(_ask_employee(customer, employee, "DELETE", area, "content").json())

    add("GET", "", f"What is in {what} (?path= of a folder).", listing)
    add("GET", "/content", "A file's bytes (?path=), with its ETag.", read)
    add("PUT", "/content", "Write a file (?path=). If-Match: its ETag; If-None-Match: * for a "
        "new one.", write)
    add("DELETE", "/content", "Remove a file or folder (?path=).", remove)


_area("files", "the workspace")
_area("memory", "the employee's memory")


@operation("POST", f"{_EMPLOYEE}/files/folder", "account", "Make a folder (?path=).")
def make_folder(customer: str, employee: str) -> tuple[Response, int]:
    return jsonify(_ask_employee(customer, employee, "POST", "files", "folder").json()), 201


@operation("POST", f"{_EMPLOYEE}/files/move", "account", "Move or rename (?path=, ?to=).")
def move_file(customer: str, employee: str) -> Response:
    return jsonify(_ask_employee(customer, employee, "POST", "files", "move").json())


@operation("GET", f"{_EMPLOYEE}/files/archive", "account", "A folder as .zip (?path=).")
def archive_files(customer: str, employee: str) -> Response:
    return _download(_ask_employee(customer, employee, "GET", "files", "archive"),
                     f"{employee}.zip")


# ---- lessons ---------------------------------------------------------------------------------

@operation("GET", f"{_EMPLOYEE}/lessons", "account",
           "What the employee noted, and what was decided about it.")
def lessons(customer: str, employee: str) -> Response:
    decided = _lessons(customer)
    noted = _ask_employee(customer, employee, "GET", "lessons").json()["lessons"]
    for lesson in noted:
        known = decided.get(lesson["id"])
        lesson["state"] = known.state if known else "new"
    return jsonify(lessons=noted)


@operation("GET", "/customers/<customer>/lessons", "account",
           "The lessons that were decided about; approved ones reach every employee.")
def decided_lessons(customer: str) -> Response:
    return jsonify(lessons=[
        {"id": x.id, "employee": x.employee, "state": x.state, "lesson": x.lesson,
         "evidence": x.evidence, "learned_on": x.learned_on}
        for x in sorted(_lessons(customer).values(), key=lambda x: (x.learned_on, x.id))])


@operation("POST", f"{_EMPLOYEE}/lessons/<lesson>", "account",
           "Approve a lesson for the whole team, or reject it.",
           {"state": {"enum": ["approved", "rejected"]}}, ("state",))
def decide_lesson(customer: str, employee: str, lesson: str) -> Response:
    team.find(customer, employee)
    state: LessonState = given()["state"]
    known = _lessons(customer).get(lesson)
    if known is None:
        noted = next((x for x in _ask_employee(customer, employee, "GET", "lessons").json()[
            "lessons"] if x["id"] == lesson), None)
        if noted is None:
            raise Problem(404, "not_found", gettext("There is no lesson %(lesson)s.",
                                                    lesson=lesson))
        known = Lesson(lesson, customer, employee, state, noted["lesson"], noted["evidence"],
                       noted["learned_on"])
    sha = changes.decide_lesson(team.store(), team.author(me()), Lesson(
        known.id, customer, known.employee, state, known.lesson, known.evidence,
        known.learned_on))
    return jsonify(lesson=lesson, state=state, commit=team.committed(sha))


# ---- knowledge and usage ---------------------------------------------------------------------

@operation("GET", _KNOWLEDGE, "account", "The company's documents, and whether they were read.")
def documents(customer: str) -> Response:
    return jsonify(_ask_customer(customer, "GET", "knowledge").json())


@operation("GET", f"{_KNOWLEDGE}/search", "account", "Lines of documents with all words, or else "
           "with the rarest of them (?q=).")
def search_knowledge(customer: str) -> Response:
    return jsonify(_ask_customer(customer, "GET", "knowledge", "search").json())


@operation("GET", f"{_KNOWLEDGE}/content", "account",
           "A document's original (?name=), or an earlier one (?version=).")
def read_document(customer: str) -> Response:
    return _download(_ask_customer(customer, "GET", "knowledge", "content"),
                     request.args.get("name", ""))


@operation("GET", f"{_KNOWLEDGE}/versions", "account",
           "What a document was before it was replaced (?name=), the newest first.")
def document_versions(customer: str) -> Response:
    return jsonify(_ask_customer(customer, "GET", "knowledge", "versions").json())


@operation("POST", f"{_KNOWLEDGE}/restore", "account",
           "Make a document (?name=) again what it was (?version=); what it is now is kept.")
def restore_document(customer: str) -> Response:
    return jsonify(document=_ask_customer(customer, "POST", "knowledge", "restore",
                                          signed=True).json())


@operation("GET", f"{_KNOWLEDGE}/text", "account", "What employees read of a document (?name=).")
def document_text(customer: str) -> Response:
    answer = _ask_customer(customer, "GET", "knowledge", "text")
    return Response(answer.pieces(), mimetype="text/plain")


@operation("PUT", f"{_KNOWLEDGE}/content", "account",
           "Upload a document (?name=); every employee can read it at once.")
def put_document(customer: str) -> tuple[Response, int]:
    return jsonify(document=_ask_customer(customer, "PUT", "knowledge", "content",
                                          upload=True).json()), 201


@operation("POST", f"{_KNOWLEDGE}/page", "account",
           "Fetch a page of the web as a document (?address=), for the first time or anew.")
def fetch_page(customer: str) -> tuple[Response, int]:
    return jsonify(document=_ask_customer(customer, "POST", "knowledge", "page",
                                          signed=True).json()), 201


@operation("POST", f"{_KNOWLEDGE}/text", "account",
           "Read a document anew (?name=), in the encoding that you name (?encoding=).")
def read_document_again(customer: str) -> Response:
    return jsonify(document=_ask_customer(customer, "POST", "knowledge", "text").json())


@operation("DELETE", f"{_KNOWLEDGE}/content", "account", "Remove a document (?name=).")
def remove_document(customer: str) -> Response:
    return jsonify(_ask_customer(customer, "DELETE", "knowledge", "content").json())


@operation("GET", "/customers/<customer>/usage", "account",
           "What was spent on models in a month (?month=2026-01; else this one), in all and by "
           "employee.")
def model_usage(customer: str) -> Response:
    return jsonify(_ask_customer(customer, "GET", "usage").json())


# ---- small things ----------------------------------------------------------------------------

def _ask_employee(customer: str, employee: str, method: str, *rest: str, upload: bool = False
                  ) -> Answer:
    """Asks the reconciler about an employee that is this customer's."""
    team.find(customer, employee)
    return _ask(method, "employees", employee, *rest, upload=upload)


def _ask_customer(customer: str, method: str, *rest: str, upload: bool = False,
                  signed: bool = False) -> Answer:
    return _ask(method, "customers", customer, *rest, upload=upload, signed=signed)


def _ask(method: str, *parts: str, upload: bool, signed: bool = False) -> Answer:
    """`signed`: it is told who does it, as with an upload."""
    query = {name: value for name, value in request.args.items()
             if name in (
                 "path", "to", "name", "q", "month", "encoding", "version", "address")}
    headers = {name: request.headers[name] for name in _CONDITIONS if name in request.headers}
    body = None
    if upload:
        request.max_content_length = MOST_UPLOAD
        if request.content_length is None:
            raise Problem(411, "length_required", "Say how long the file is (Content-Length).")
        headers["Content-Length"] = str(request.content_length)
        body = _body()
    if upload or signed:
        query["by"] = me().email
    db.session.remove()  # a transfer may take minutes; it holds no connection
    return ask(team.instance().socket, method, parts, query, body, headers, timeout_s=_LONGEST_S)


def _body() -> Iterator[bytes]:
    while piece := request.stream.read(256 * 1024):
        yield piece


def _download(answer: Answer, name: str) -> Response:
    """The bytes, as something to save: a page of an employee's must not run as one of ours."""
    response = Response(answer.pieces(), mimetype="application/octet-stream")
    for header in ("ETag", "Content-Length"):
        if header in answer.headers:
            response.headers[header] = answer.headers[header]
    last = name.rpartition("/")[2] or "file"
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(last)}"
    response.headers["Cache-Control"] = "no-store"
    return response


def _lessons(customer: str) -> dict[str, Any]:
    head = team.store().head()
    return dict(team.store().read_customer(head, customer).lessons) if head else {}
