"""Static files, under addresses that hold their content's hash, and so are kept for ever.

The hash is one of all files and stands in the path: what a module imports by `./base.js`, and a
style sheet by `url(…)`, then lies under the same address as what a page names itself.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from flask import Flask, Response

from webapp.access import access

_VERSIONED = re.compile(r"([0-9a-f]{12})/(.+)")
_FOR_EVER = "public, max-age=31536000, immutable"


def register(app: Flask) -> None:
    """Serves the app's static files; `url_for("static", …)` names them by their hash."""
    version = _version(Path(app.static_folder or ""))

    def static(filename: str) -> Response:
        found = _VERSIONED.fullmatch(filename)
        response = app.send_static_file(found[2] if found else filename)
        # A page of yesterday's asks by yesterday's hash: it gets today's file, and keeps it not.
        response.headers["Cache-Control"] = _FOR_EVER if found and found[1] == version else (
            "no-cache")
        return response
    app.view_functions["static"] = access("public")(static)

    @app.url_defaults
    def name_by_hash(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["filename"] = f"{version}/{values['filename']}"


def _version(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
