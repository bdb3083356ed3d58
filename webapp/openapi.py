"""The API's OpenAPI 3.1 description, made from the same declarations as its routes."""

from __future__ import annotations

import re
from typing import Any

from webapp.api import OPERATIONS, Operation

_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


def description(url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "InstantWorker", "version": "1",
                 "description": "Hire and manage AI employees. A change is a commit in the state "
                                "repo; the answer names it, and receipts tell what became of it."},
        "servers": [{"url": url}],
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


def _describe(operation: Operation) -> dict[str, Any]:
    error = {"description": "What went wrong, in one shape.", "content": {"application/json": {
        "schema": {"$ref": "#/components/schemas/Error"}}}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [{"name": name, "in": "path", "required": True,
                        "schema": {"type": "string"}}
                       for name in _PARAMETER.findall(operation.path)],
        "responses": {"2XX": {"description": "Done."}, "4XX": error},
        "security": [] if operation.level == "public" else [{"token": []}, {"session": []}],
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {
            "type": "object", "properties": operation.body, "additionalProperties": False,
            "required": list(operation.required)}}}}
    return described
