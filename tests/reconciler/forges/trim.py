"""Cuts out of a forge's published description of its API what we use of it, for the fake.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python -m tests.reconciler.forges.trim github package/generated/api.github.com.json
    python -m tests.reconciler.forges.trim gitea <Gitea>/templates/swagger/v1_json.tmpl

GitLab's is not at hand as a file of a package; `descriptions/gitlab.json` holds the attributes and
examples of the pages that it names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "descriptions"
_REPO = "/repos/{owner}/{repo}"
OPERATIONS = {
    "github": [("get", f"{_REPO}/pulls"), ("get", f"{_REPO}/issues/{{issue_number}}/comments"),
               ("post", f"{_REPO}/issues/{{issue_number}}/comments"),
               ("get", f"{_REPO}/issues/comments/{{comment_id}}"),
               ("patch", f"{_REPO}/issues/comments/{{comment_id}}"),
               ("post", f"{_REPO}/statuses/{{sha}}"), ("get", "/user")],
    "gitea": [("get", f"{_REPO}/pulls"), ("get", f"{_REPO}/issues/{{index}}/comments"),
              ("post", f"{_REPO}/issues/{{index}}/comments"),
              ("patch", f"{_REPO}/issues/comments/{{id}}"), ("post", f"{_REPO}/statuses/{{sha}}"),
              ("get", "/user")],
}
_WORDS = {"description", "example", "examples", "title", "externalDocs", "deprecated",
          "discriminator", "readOnly", "xml"}


def trim(kind: str, source: dict[str, Any]) -> dict[str, Any]:
    schemas = source.get("definitions") or source["components"]["schemas"]
    defs: dict[str, Any] = {}

    def plain(schema: Any) -> Any:
        """As JSON Schema: without words, with null where it may be, with what it refers to."""
        if isinstance(schema, list):
            return [plain(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in defs:
                defs[name] = {}
                defs[name] = plain(schemas[name])
            return {"$ref": f"#/$defs/{name}"}
        found = {key: ({name: plain(one) for name, one in value.items()}
                       if key == "properties" else plain(value))
                 for key, value in schema.items()
                 if key not in _WORDS and not key.startswith("x-") and key != "nullable"}
        # Swagger 2 says nowhere what may be null, and Go writes it for what is empty.
        if schema.get("nullable") or (kind == "gitea" and "type" in schema):
            found = {"anyOf": [found, {"type": "null"}]}
        return found

    operations = {}
    for method, path in OPERATIONS[kind]:
        one = source["paths"][path][method]
        answers, example, body = {}, None, None
        for status, answer in one["responses"].items():
            answer = _resolved(source, answer)
            content = answer.get("content", {}).get("application/json", answer)
            if status.startswith("2") and "schema" in content:
                answers[status] = plain(content["schema"])
                for known in content.get("examples", {}).values():
                    if isinstance(known, dict):
                        example = _resolved(source, known).get("value", example)
        query = []
        for parameter in (_resolved(source, p) for p in one.get("parameters", ())):
            if parameter["in"] == "query":
                query.append(parameter["name"])
            elif parameter["in"] == "body":
                body = plain(parameter["schema"])
        if "requestBody" in one:
            body = plain(one["requestBody"]["content"]["application/json"]["schema"])
        operations[f"{method.upper()} {path}"] = {
            "query": query, "body": body, "answers": answers, "example": example}
    return {"source": source["info"].get("title", kind), "operations": operations, "$defs": defs}


def _resolved(source: Any, value: dict[str, Any]) -> Any:
    if "$ref" not in value:
        return value
    for part in value["$ref"].removeprefix("#/").split("/"):
        source = source[part]
    return source


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    made = trim(kind, json.loads(Path(path).read_text()))
    (FOLDER / f"{kind}.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
