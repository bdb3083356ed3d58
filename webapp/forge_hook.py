"""The messages of the forge that holds the state repo. They are passed on as they are: the secret
that proves them is the reconciler's, and this process knows none of it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request

from webapp import team
from webapp.access import access
from webapp.errors import Problem
from webapp.reconciler_api import ask

MOST_BYTES = 4 * 1024 * 1024
_PROOFS = ("x-hub-", "x-github-", "x-gitea-", "x-forgejo-", "x-gitlab-", "webhook-")
forge_hook = Blueprint("forge_hook", __name__)


@forge_hook.post("/webhooks/forge")
@access("public")
def forge_message() -> Any:
    """202: taken. 400: it proves nothing. 404: no forge is set up. 503: send it again."""
    request.max_content_length = MOST_BYTES
    body = request.get_data(cache=False)
    headers = {name: value for name, value in request.headers
               if name.lower().startswith(_PROOFS)}
    try:
        ask(team.instance().socket, "POST", ["forge", "message"], body=[body],
            headers=headers | {"Content-Length": str(len(body))}, timeout_s=10.0).json()
    except Problem as problem:
        return jsonify(error=problem.message), problem.status
    return jsonify(received=True), 202
