"""The API's OpenAPI 3.1 description, made from the same declarations as its routes.

What a declaration can't say (what a parameter means, what an answer looks like) stands in tables
here and, by route, in examples.json; a route without an entry gets an example made of its schema.
A summary names query parameters as `(?path=)` and conditions as `If-Match`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from webapp.api import OPERATIONS, Operation

_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_IN_SUMMARY = re.compile(r"\?(\w+)=")
_ASIDE = re.compile(r" ?\(\?[^)]*\)")
# The first pattern that a path contains names its group; groups are shown in this order.
TAGS: tuple[tuple[str, str, str], ...] = (
    ("Employees", r"/employees|/skills", "Hire, change, pause and retire. Each change is a "
     "commit; the answer names it, and the employee’s status says how far it has come."),
    ("Files", r"/employees/{employee}/files", "What an employee works on. Paths are below its "
     "workspace; large files stream."),
    ("Memory and lessons", r"/employees/{employee}/memory|/lessons", "What an employee remembers, "
     "and what it proposes to remember for everybody."),
    ("Quizzes", r"/quiz\b", "What an employee knows of your answers and documents."),
    ("Knowledge", r"/knowledge", "Documents that every employee of a company can read."),
    ("What happened", r"/(events|receipts|status|activity|uptime|progress)\b", "Follow a change "
     "until it is true, live or afterwards."),
    ("Onboarding", r"/onboarding", "A hire by questions, with answers that are kept meanwhile."),
    ("Usage and billing", r"/(usage|billing|subscription|plans|checkout|portal|invoices|seats)\b",
     "What models cost, and what you pay."),
    ("Company", r"/customers", "The companies that you see, and their seats."),
    ("People", r"/(members|invitations)", "Who works with your employees, and as what."),
    ("Session and tokens", r"/api/v1/(session|sessions|token|tokens|account|passwords)\b",
     "Who you are to this API."),
)
_MOST_SPECIFIC = ("Onboarding", "Files", "Memory and lessons", "Quizzes", "Knowledge",
                  "What happened", "Usage and billing", "People", "Employees", "Company",
                  "Session and tokens")
OTHER = "More"
# name -> what it means, an example
PARAMETERS: dict[str, tuple[str, Any]] = {
    "customer": ("The company’s id.", "acme"),
    "employee": ("The employee’s id; it never changes and is never used again.", "pulse-7f3k2a"),
    "lesson": ("The lesson’s id, from the employee’s lessons.", "lesson-1"),
    "token": ("The token’s id (not its secret).", "0123456789abcdef"),
    "path": ("A path within the workspace, with / between folders.", "reports/prices.csv"),
    "to": ("The new path.", "reports/2026/prices.csv"),
    "name": ("The document’s file name.", "handbook.md"),
    "encoding": ("Of a text whose encoding was guessed wrong, by its usual name; without it, it is "
                 "found out again.", "windows-1252"),
    "version": ("One of the document’s earlier versions, by its number.", 3),
    "address": ("Of a page of the web; without https:// it is added.",
                "https://example.com/prices"),
    "q": ("Words that a document has to hold, all of them; where none does, those with the rarest "
          "come.", "opening hours"),
    "month": ("A month, in UTC; without it, this one.", "2026-11"),
    "limit": ("How many at most, 1 to 500.", 20),
    "after": ("Only events with a greater id: the last one that you have seen.", 0),
    "revision": ("Only this commit.", None),
    "member": ("The person’s id.", "2"), "invitation": ("The invitation’s id.", "3"),
    "session": ("The session’s id.", "0123456789abcdef"),
    "If-Match": ("The ETag that you read: if the file changed meanwhile, 412 and nothing is "
                 "written.", None),
    "If-None-Match": ("`*`: only if there is no such file yet.", None),
}
_MORE_QUERY = {"/receipts": ("limit", "revision"), "/events": ("after", "limit")}
_OPTIONAL = ("/files", "/files/archive", "/usage")
_OPTIONAL_NAMES = frozenset({("POST", "encoding"), ("GET", "version")})
_BINARY = {"/content": "application/octet-stream", "/archive": "application/octet-stream",
           "/text": "text/plain", "/export": "application/zip", "/thumbnail": "image/jpeg"}
FIELDS: dict[str, str] = {
    "name": "What people call it.", "role": "Its job in a few words.",
    "instructions": "What the job is, in your own words; part of every conversation.",
    "skills": "Names of skills of the catalogue (GET /api/v1/skills).",
    "resources": "Its share of the machine, within the platform’s limits.",
    "email": "The e-mail address.", "password": "The password.", "seats": "How many employees.",
    "state": "What you decided.", "scope": "What it may: only read, or change things too.",
    "days": "How long it is valid.", "kind": "Which of its pages.", "model": "Its monthly budget.",
    "code": "From your authenticator, if you use a second factor.",
    "version": "Counts your changes.", "step": "Where you are.", "answers": "What you said.",
    "id": "Lowercase letters, digits and dashes; never changed.",
}
_SAMPLES: dict[str, Any] = {
    "name": "Pulse", "role": "Marketing assistant", "email": "sam@acme.example",
    "password": "correct horse battery", "id": "acme", "seats": 3,
    "instructions": "Collect the opening hours of the shops in suppliers.csv.",
}
ERRORS = {
    400: "The request can’t be understood.", 401: "Nobody is signed in, or the token is not valid.",
    403: "Your role or your token is not enough.", 404: "There is no such thing, or it is not "
    "yours.", 409: "Not possible as things are, such as when all seats are taken.",
    412: "The file changed since you read it.", 413: "Too large.",
    422: "Some fields are not right; `violations` names each, and what would be right.",
    429: "Too many attempts.", 503: "A part does not answer right now; nothing was changed.",
}


def description(url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(template(operation), {})[operation.method.lower()] = _describe(operation)
    used = {tag for methods in paths.values() for o in methods.values() for tag in o["tags"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "InstantWorker", "version": "1",
                 "description": "Hire and manage AI employees. A change is a commit in the state "
                                "repo; the answer names it, and receipts tell what became of it."},
        "servers": [{"url": url}],
        "tags": [{"name": name, "description": text} for name, _, text in TAGS if name in used],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "iw_session"}},
            "schemas": {"Error": {
                "type": "object", "required": ["error"], "properties": {"error": {
                    "type": "object", "required": ["code", "message", "violations"],
                    "properties": {
                        "code": {"type": "string"}, "message": {"type": "string"},
                        "violations": {"type": "array", "items": {
                            "type": "object", "properties": {
                                name: {"type": "string"}
                                for name in ("field", "message", "fix")}}}}}}}},
        },
    }


def template(operation: Operation) -> str:
    return _PARAMETER.sub(r"{\1}", operation.path)


def _describe(operation: Operation) -> dict[str, Any]:
    path = template(operation)
    title, more = _title(operation.summary)
    example = _examples().get(f"{operation.method} {path}", {})
    described: dict[str, Any] = {
        "operationId": slug(operation.method, path), "tags": [_tag(path)],
        "summary": title, "parameters": _parameters(operation, path, example),
        "responses": _responses(operation, path, example),
        "security": [] if operation.level == "public" else (
            [{"session": []}] if operation.person or "person" in example
            else [{"token": []}, {"session": []}]),
    }
    texts = [text for text in (more, _takes(operation)) if text]
    if texts:
        described["description"] = " ".join(texts)
    if operation.body:
        properties = {name: ({"description": FIELDS[name]} if name in FIELDS else {}) | schema
                      for name, schema in operation.body.items()}
        sample = example.get("body") or {
            name: _sample(name, schema) for name, schema in operation.body.items()
            if name in operation.required or not operation.required}
        described["requestBody"] = {"required": True, "content": {"application/json": {
            "schema": {"type": "object", "properties": properties, "additionalProperties": False,
                       "required": list(operation.required)}, "example": sample}}}
    elif operation.method == "PUT" and path.endswith("/content"):
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {
            "schema": {"type": "string", "format": "binary"}}}}
    return described


def _takes(operation: Operation) -> str:
    """Who may, where it is not what one would expect: a viewer reads, a manager changes."""
    if operation.level == "engineer":
        return "For engineers alone."
    usual = "viewer" if operation.method == "GET" else "manager"
    least = operation.role or usual
    if operation.person:
        who = "an owner who is signed in" if least == "owner" else "a signed-in person"
        return f"Takes {who}; a token can’t do it."
    return "Takes an owner." if least == "owner" != usual else ""


def _title(summary: str) -> tuple[str, str]:
    """A summary's first clause, and the rest as a sentence."""
    title, *rest = re.split(r"(?:[.;:]) ", _ASIDE.sub("", summary).rstrip("."), maxsplit=1)
    return title, f"{rest[0][0].upper()}{rest[0][1:]}." if rest else ""


def _parameters(operation: Operation, path: str, example: dict[str, Any]) -> list[dict[str, Any]]:
    found = [_parameter(name, "path", True, example) for name in
             _PARAMETER.findall(operation.path)]
    optional = operation.method == "GET" and path.endswith(_OPTIONAL)
    found += [_parameter(name, "query", not optional and (operation.method, name) not in (
                  _OPTIONAL_NAMES), example)
              for name in _IN_SUMMARY.findall(operation.summary)]
    found += [_parameter(name, "query", False, example) for end, names in _MORE_QUERY.items()
              if path.endswith(end) for name in names]
    return found + [_parameter(name, "header", False, example)
                    for name in ("If-Match", "If-None-Match") if name in operation.summary]


def _parameter(name: str, where: str, required: bool, example: dict[str, Any]) -> dict[str, Any]:
    text, usual = PARAMETERS.get(name, ("", "1"))
    described = {"name": name, "in": where, "required": required, "description": text,
                 "schema": {"type": "integer" if isinstance(usual, int) else "string"}}
    value = example.get("query", {}).get(name, usual)
    return described | ({"example": value} if value is not None else {})


def _responses(operation: Operation, path: str, example: dict[str, Any]) -> dict[str, Any]:
    binary = next((kind for end, kind in _BINARY.items() if path.endswith(end)
                   and operation.method == "GET"), None)
    if binary:
        content: dict[str, Any] = {binary: {}}
    elif path.endswith("/stream"):
        content = {"text/event-stream": {"example": example["answer"]}
                   if "answer" in example else {}}
    else:
        content = {"application/json": {"example": example["answer"]} if "answer" in example
                   else {}}
    error = {"description": "What went wrong, in one shape.", "content": {"application/json": {
        "schema": {"$ref": "#/components/schemas/Error"}}}}
    return {str(example.get("status", "2XX")): {"description": "Done.", "content": content},
            "4XX": error, "5XX": error}


def _sample(name: str, schema: dict[str, Any]) -> Any:
    if name in _SAMPLES and schema.get("type") in ("string", "integer"):
        return _SAMPLES[name]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {key: _sample(key, value) for key, value in schema.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return "…"


def _tag(path: str) -> str:
    patterns = {name: pattern for name, pattern, _ in TAGS}
    return next((name for name in _MOST_SPECIFIC if re.search(patterns[name], path)), OTHER)


def slug(method: str, path: str) -> str:
    """A route's name in addresses and for generators: post-customers-customer-employees."""
    return "-".join([method.lower(), *re.findall(r"[a-z0-9]+", path.removeprefix("/api/v1"))])


@cache
def _examples() -> dict[str, dict[str, Any]]:
    return json.loads(Path(__file__).with_name("examples.json").read_text())
