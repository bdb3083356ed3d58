"""Everything a company has, as one ZIP archive, made while it is sent.

It is never whole anywhere on this machine: an employee's files may be larger than memory and disk
allow. What could not be reached is named in MANIFEST.json, and in words in README.txt, the last two
entries: an export never leaves something out silently.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Response, stream_with_context
from sqlalchemy import select

from state_repo.documents import Customer
from state_repo.parsing import dump
from state_repo.snapshot import CustomerState
from state_repo.status import as_json
from webapp import people, team
from webapp.access import me
from webapp.api import operation
from webapp.errors import Problem
from webapp.models import db, now
from webapp.quizzes import Quiz
from webapp.reconciler_api import ask

_MOST_ROWS = 10_000  # the status tables keep no more
_UNDER_WAY: set[str] = set()
_GUARD = threading.Lock()
Pieces = Iterable[bytes]
WORDS = """Everything that {company} has at InstantWorker, made {at} for {by}.

company.yaml, employees/*/employee.yaml   what you asked for, as it is kept
employees/*/files.zip                     each employee's files, with its memory
knowledge/                                the documents that you uploaded, as you uploaded them
lessons.json, quizzes.json, members.json, invitations.json, receipts.json, events.json
MANIFEST.json                             every entry with its size and SHA-256, and what is missing

{missing}
"""


@dataclass
class Sink:
    """Where the archive is written to: gives back what has been written so far."""

    _held: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._held = b"".join(self._held), []
        return taken


def archive(customer: str, by: str) -> Iterator[bytes]:
    """The archive, piece by piece."""
    sink = Sink()
    contents: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    stored = (".zip", ".png", ".jpg", ".pdf", ".docx", ".xlsx")
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:

        def add(name: str, pieces: Pieces) -> Iterator[bytes]:
            entry = zipfile.ZipInfo(name, now().timetuple()[:6])
            entry.compress_type = (zipfile.ZIP_STORED if name.lower().endswith(stored)
                                   else zipfile.ZIP_DEFLATED)
            size, digest = 0, hashlib.sha256()
            with made.open(entry, "w", force_zip64=True) as file:
                for piece in pieces:
                    file.write(piece)
                    size += len(piece)
                    digest.update(piece)
                    yield sink.take()
            contents.append({"name": name, "bytes": size, "sha256": digest.hexdigest()})

        for name, get in _parts(customer, missing):
            try:
                pieces = get()
                yield from add(name, pieces)
            except (Problem, OSError, http.client.HTTPException) as error:
                missing.append({"what": name, "why": str(error)})
        manifest = {"company": customer, "made_at": now().isoformat(timespec="seconds"),
                    "made_for": by, "contents": list(contents), "missing": missing}
        yield from add("MANIFEST.json", [_json(manifest)])
        said = "Nothing is missing." if not missing else "MISSING:\n" + "\n".join(
            f"  {m['what']}: {m['why']}" for m in missing)
        yield from add("README.txt", [WORDS.format(
            company=customer, at=manifest["made_at"], by=by, missing=said).encode()])
    yield sink.take()


def _parts(customer: str, missing: list[dict[str, str]]
           ) -> Iterator[tuple[str, Callable[[], Pieces]]]:
    """Entries by name, and what gets their bytes."""
    head = team.store().head()
    state = team.store().read_customer(head, customer) if head else None
    company = state.customer if state is not None else None
    if state is None or company is None:
        missing.append({"what": "company.yaml", "why": "its document can't be read"})
        return
    for name, data in _tables(customer, state, company):
        yield name, lambda data=data: [data]  # type: ignore[misc]
    for employee in state.employees.values():
        if employee.state != "warm":
            folder = f"employees/{employee.id}"
            yield f"{folder}/employee.yaml", lambda e=employee: [dump(e).encode()]  # type: ignore[misc]
            yield f"{folder}/files.zip", lambda e=employee: _fetch(  # type: ignore[misc]
                "employees", e.id, "files", "archive")
    try:
        documents = ask(team.instance().socket, "GET", ["customers", customer, "knowledge"]
                        ).json()["documents"]
    except Problem as error:
        missing.append({"what": "knowledge/", "why": error.message})
        return
    for document in documents:
        safe = document["name"].replace("\\", "/").rpartition("/")[2] or "document"
        yield f"knowledge/{safe}", lambda n=document["name"]: _fetch(  # type: ignore[misc]
            "customers", customer, "knowledge", "content", name=n)


def _tables(customer: str, state: CustomerState, company: Customer
            ) -> list[tuple[str, bytes]]:
    status = team.status()
    lessons = [{"id": x.id, "employee": x.employee, "state": x.state, "lesson": x.lesson,
                "evidence": x.evidence, "learned_on": x.learned_on}
               for x in state.lessons.values()]
    found = [
        ("company.yaml", dump(company).encode()),
        ("lessons.json", _json(lessons)),
        ("quizzes.json", _json([as_json(q) for q in db.session.scalars(
            select(Quiz).where(Quiz.customer == customer).order_by(Quiz.id))])),
        ("members.json", _json([people.member_json(m) for m in people.members(customer)])),
        ("invitations.json", _json([people.invitation_json(i)
                                    for i in people.invitations(customer)])),
        ("receipts.json", _json([as_json(r) for r in status.receipts(customer, _MOST_ROWS)])),
        ("events.json", _json([as_json(e) for e in status.events(customer, 0, _MOST_ROWS)]))]
    db.session.remove()  # holds no connection while the large parts are sent
    return found


def _fetch(*parts: str, **query: str) -> Iterator[bytes]:
    answer = ask(team.instance().socket, "GET", parts, query)
    expected, got = answer.headers.get("Content-Length"), 0
    for piece in answer.pieces():
        got += len(piece)
        yield piece
    if expected is not None and got != int(expected):
        raise OSError(f"only {got} of {expected} bytes arrived")


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


@operation("GET", "/customers/<customer>/export", "account",
           "Everything the company has, as one .zip.", role="owner")
def export_company(customer: str) -> Response:
    team.seats(customer)
    with _GUARD:
        if customer in _UNDER_WAY:
            raise Problem(409, "under_way", "An export of this company is being made already. "
                          "Try again when it is done.")
        _UNDER_WAY.add(customer)
    response = Response(stream_with_context(archive(customer, me().email)),
                        mimetype="application/zip")
    response.call_on_close(lambda: _UNDER_WAY.discard(customer))
    response.headers["Content-Disposition"] = (
        f'attachment; filename="{customer}-{now():%Y-%m-%d}.zip"')
    response.headers["Cache-Control"] = "no-store"
    return response
