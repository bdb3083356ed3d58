"""Errors as the API shows them: one JSON shape, whatever went wrong."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from sqlalchemy.exc import DataError, OperationalError
from werkzeug.exceptions import HTTPException

from state_repo import StateRepoError
from state_repo.changes import ChangeError, NotFoundError
from state_repo.documents import Violation
from state_repo.git_door import GitLockedError
from state_repo.parsing import DocumentError
from state_repo.store import ConflictError, RejectedError
from webapp.models import db
from webapp.texts import said


class Problem(Exception):
    """An answer other than success: status, a stable code, a sentence, and violations if any.
    `from_server`: the sentence is the HTTP server's, not written for people."""

    from_server = False

    def __init__(self, status: int, code: str, message: str,
                 violations: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, said(message)
        self.violations = violations or []


def _violations(found: list[Violation] | tuple[Violation, ...]) -> list[dict[str, str]]:
    return [{"field": v.field, "message": v.message, "fix": v.fix} for v in found]


def as_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RejectedError):
        seats = any(v.field == "spec.maxEmployees" for v in error.violations)
        return Problem(409 if seats else 422, "seat_limit" if seats else "rejected",
                       "All seats are taken: retire an employee, or add seats." if seats
                       else "The rules refuse this change.", _violations(error.violations))
    if isinstance(error, DocumentError):
        return Problem(409, "document_invalid", "This customer's documents hold a mistake, so "
                       "nothing can be changed until it is corrected.",
                       _violations(error.violations))
    if isinstance(error, NotFoundError):
        return Problem(404, "not_found", str(error))
    if isinstance(error, ChangeError):
        return Problem(409, "not_possible", str(error))
    if isinstance(error, ConflictError):
        return Problem(503, "busy", str(error))
    if isinstance(error, GitLockedError):
        return Problem(503, "busy", "The state repo is busy, so nothing was changed. Try again in "
                       "a moment.")
    if isinstance(error, DataError):
        return Problem(422, "invalid", "It holds characters that can't be kept (such as NUL); "
                       "nothing was changed.")
    if isinstance(error, OperationalError):
        return Problem(503, "database_busy", "The database is busy or away, so nothing was "
                       "changed. Try again in a moment.")
    if isinstance(error, StateRepoError):
        return Problem(502, "state_repo", str(error))
    if isinstance(error, HTTPException):
        made = Problem(error.code or 500, (error.name or "error").lower().replace(" ", "_"),
                       error.description or "")
        made.from_server = True
        return made
    raise error


def register(app: Flask) -> None:
    def show(error: Exception) -> Any:
        problem = as_problem(error)
        if isinstance(error, OperationalError | DataError):
            app.logger.error("%s %s: %s", request.method, request.path, error)
            db.session.rollback()
        if request.path.startswith("/api/") or request.path.startswith("/edge/"):
            body = {"code": problem.code, "message": problem.message,
                    "violations": problem.violations}
            response: Response = jsonify(error=body)
            response.status_code = problem.status
            return response
        return render_template("problem.html", problem=problem), problem.status
    for kind in (Problem, StateRepoError, HTTPException, OperationalError, DataError):
        app.register_error_handler(kind, show)
