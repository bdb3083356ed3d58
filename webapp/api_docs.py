"""/api/docs: the OpenAPI description, readable. Examples are curl commands that run as they stand,
once IW_TOKEN holds a token; who is signed in sees their own company and employee in them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as in_address
from urllib.parse import urlencode

from flask import Blueprint, render_template
from markupsafe import Markup, escape

from webapp import openapi, team
from webapp.access import access, visitor
from webapp.errors import Problem

api_docs = Blueprint("api_docs", __name__)
_TEXTUAL = {"application/json", "text/event-stream"}
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation as the page shows it; `fields` and `parameters` as rows of a table."""

    id: str
    method: str
    path: str
    title: Markup
    text: Markup
    parameters: list[dict[str, Any]]
    fields: list[dict[str, Any]]
    curl: str
    answer: str
    status: str
    public: bool
    words: str


@api_docs.get("/api/docs")
@access("public")
def page() -> str:
    return render_template("api_docs.html", url=team.instance().app_url, groups=groups(),
                           errors={n: _marked(text) for n, text in openapi.ERRORS.items()})


def groups() -> list[tuple[str, str, list[Entry]]]:
    """Name, text and operations of each group, in the description's order."""
    described, own = openapi.description(team.instance().app_url), _own()
    found: dict[str, list[Entry]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append(
                _entry(described["servers"][0]["url"], method.upper(), path, operation, own))
    texts = {tag["name"]: tag["description"] for tag in described["tags"]}
    return [(name, texts.get(name, ""), found[name])
            for name in [*texts, openapi.OTHER] if name in found]


def curl(url: str, method: str, path: str, operation: dict[str, Any], own: dict[str, str]) -> str:
    """The command of an operation's example; `own` replaces examples by real values."""
    values = {p["name"]: own.get(p["name"], p.get("example", "")) for p in operation["parameters"]
              if p["in"] == "path"}
    query = {p["name"]: p["example"] for p in operation["parameters"]
             if p["in"] == "query" and "example" in p}
    address = url + re.sub(r"{(\w+)}", lambda m: in_address(str(values[m[1]]), safe=""), path)
    parts = ["curl" if method == "GET" else f"curl -X {method}"]
    if "text/event-stream" in _content(operation):
        parts[0] += " --no-buffer"
    if {"token": []} in operation["security"]:
        parts.append('-H "Authorization: Bearer $IW_TOKEN"')
    elif operation["security"]:
        parts.append("-b cookies.txt")
        if method != "GET":
            parts.append('-H "X-CSRF-Token: $IW_CSRF"')
    elif path.endswith("/session"):
        parts.append("-c cookies.txt")
    body = operation.get("requestBody", {}).get("content", {})
    if "application/json" in body:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {quote(json.dumps(body['application/json']['example']))}")
    elif body:
        parts[0] = parts[0].replace(" -X PUT", "")
        parts.append(f"-T {quote(_file(query))}")
    elif not _TEXTUAL & set(_content(operation)):
        parts.append(f"-o {quote(_saved(path, query))}")
    parts.append(quote(f"{address}?{urlencode(query, safe='/')}" if query else address))
    return " \\\n  ".join(parts)


def _entry(url: str, method: str, path: str, operation: dict[str, Any], own: dict[str, str]
           ) -> Entry:
    status = next(iter(operation["responses"]))
    example = next((c["example"] for c in _content(operation).values() if "example" in c), None)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    title, text = operation["summary"], operation.get("description", "")
    return Entry(
        operation["operationId"], method, path, _marked(title), _marked(text),
        [p | {"text": _marked(p["description"])} for p in operation["parameters"]],
        _fields(body.get("schema", {})), curl(url, method, path, operation, own),
        example if isinstance(example, str) else (
            json.dumps(example, indent=2, ensure_ascii=False) if example is not None else ""),
        status if status.isdigit() else "200", not operation["security"],
        f"{title} {text} {method} {path}".lower())


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [{"name": name, "required": name in required, "kind": _kind(value),
             "text": _marked(value.get("description", ""))}
            for name, value in schema.get("properties", {}).items()]


def _kind(schema: dict[str, Any]) -> str:
    """A field's type and limits in a few words."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "object":
        inner = ", ".join(schema.get("properties", {}))
        return f"object: {inner}" if inner else "object"
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}s"
    limits = [f"{word} {schema[key]:,}" for key, word in
              (("minimum", "at least"), ("maximum", "at most")) if key in schema]
    if "maxLength" in schema:
        limits.append(f"up to {schema['maxLength']:,} characters")
    return ", ".join([{"string": "text", "boolean": "true or false"}.get(kind, kind), *limits])


def _content(operation: dict[str, Any]) -> dict[str, Any]:
    return next(iter(operation["responses"].values())).get("content", {})


def _file(query: dict[str, Any]) -> str:
    """A local file's name for an example."""
    return str(query.get("path") or query.get("name") or "file").rpartition("/")[2]


def _saved(path: str, query: dict[str, Any]) -> str:
    """Where an example puts what it downloads."""
    last = path.rpartition("/")[2]
    return {"archive": f"{_file(query)}.zip", "export": "export.zip", "thumbnail": "screen.jpg",
            "text": f"{_file(query)}.txt"}.get(last, _file(query))


def _marked(text: str) -> Markup:
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _own() -> dict[str, str]:
    """The ids of whoever is signed in, for examples that can be copied and run."""
    who = visitor()
    if who is None or who.account.customer is None:
        return {}
    customer = who.account.customer
    try:
        there = team.employees(customer)
    except Problem:
        there = []
    return {"customer": customer} | ({"employee": there[0]["id"]} if there else {})
