"""A fake of the few endpoints that we use of GitHub, GitLab and Gitea, over real HTTP.

Each holds what it is asked and what it answers against that forge's published description (see
`trim`): an unknown parameter, a body that does not fit, or an answer that the forge would not give
is an error of the test. It pages as they do.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

FOLDER = Path(__file__).parent / "descriptions"
ME, TOKEN = "instantworker", "the-token"
_PREFIX = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
_A_PAGE = {"github": "per_page", "gitlab": "per_page", "gitea": "limit"}


@dataclass
class FakeForge:
    """`requests`: what is open, as `pull` makes them. `wrong`: what did not fit."""

    kind: str
    project: str = "acme/state"
    requests: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refuses: Callable[[str], int | None] = lambda _: None  # a status to answer with

    def __post_init__(self) -> None:
        self.told = json.loads((FOLDER / f"{self.kind}.json").read_text())
        self._server = make_server("127.0.0.1", 0, Request.application(self._answer),
                                   threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pull(self, number: int, branch: str, head: str, *, own: bool = True, into: str = "main",
             title: str = "Give Pulse more memory") -> None:
        self.requests.insert(0, {"number": number, "branch": branch, "head": head, "own": own,
                                 "into": into, "title": title})

    def say(self, number: int, body: str, author: str = ME) -> int:
        id = 1000 + sum(map(len, self.comments.values()))
        self.comments.setdefault(number, []).append({"id": id, "body": body, "author": author})
        return id

    # ---- the door ----------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        path = request.path
        raw = request.environ.get("RAW_URI", request.path).partition("?")[0]
        if not path.startswith(_PREFIX[self.kind]):
            return self._error(404, "Not Found")
        if self.kind == "gitlab":  # the project's name is one part of the path, encoded
            path = raw
        path = path.removeprefix(_PREFIX[self.kind])
        call = f"{request.method} {unquote(path)}"
        self.calls.append(call)
        key = request.headers.get("Authorization", request.headers.get("Private-Token", ""))
        if key.split(" ")[-1] != TOKEN:
            return self._error(401, "Bad credentials")
        if status := self.refuses(call):
            return self._error(status, "it was told to refuse")
        for name, operation in self.told["operations"].items():
            method, _, pattern = name.partition(" ")
            found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
            if found and method == request.method:
                return self._do(name, operation, {
                    k: unquote(v) for k, v in found.groupdict().items()}, request)
        self.wrong.append(f"{call}: the description used here has no such operation")
        return self._error(404, "Not Found")

    def _do(self, name: str, operation: dict[str, Any], at: dict[str, str], request: Request
            ) -> Response:
        project = at.get("id", f"{at.get('owner')}/{at.get('repo')}") if (
            self.kind == "gitlab") else f"{at.get('owner')}/{at.get('repo')}"
        if "user" not in name and project != self.project:
            return self._error(404, "Not Found")
        for given in request.args:
            if given not in operation["query"]:
                self.wrong.append(f"{name}: there is no query parameter {given}")
        body = request.get_json(silent=True) if request.data else None
        if operation["body"] is not None:
            self._hold(f"{name}, its body", operation["body"], body)
        made: Any = getattr(self, f"_{self.kind}")(name, at, request, body)
        if isinstance(made, Response):
            return made
        status, schema = next(iter(operation["answers"].items()))
        if isinstance(made, list):
            size = int(request.args.get(_A_PAGE[self.kind], 30))
            page = int(request.args.get("page", 1))
            rest = made[page * size:]
            made = made[(page - 1) * size:page * size]
        self._hold(f"{name}, the fake's answer", schema, made)
        response = Response(json.dumps(made), int(status), mimetype="application/json")
        if isinstance(made, list) and rest:
            query = "&".join([*(f"{k}={v}" for k, v in request.args.items() if k != "page"),
                              f"page={page + 1}"])
            here = f"{self.url}{request.environ['RAW_URI'].partition('?')[0]}"
            response.headers["Link"] = f'<{here}?{query}>; rel="next"'
        return response

    def _hold(self, what: str, schema: Any, value: Any) -> None:
        for error in Draft202012Validator(schema | {"$defs": self.told["$defs"]}
                                          ).iter_errors(value):
            self.wrong.append(f"{what}: {error.json_path}: {error.message[:200]}")

    def _error(self, status: int, message: str) -> Response:
        return Response(json.dumps({"message": message}), status, mimetype="application/json")

    def _like(self, name: str, /, **values: Any) -> Any:
        """The description's own example of an answer, with these values."""
        example = copy.deepcopy(self.told["operations"][name]["example"])
        return (example[0] if isinstance(example, list) else example) | values

    def _edit(self, id: int, body: str) -> dict[str, Any] | None:
        for one in (c for comments in self.comments.values() for c in comments):
            if one["id"] == id:
                one["body"] = body
                return one
        return None

    # ---- the forges --------------------------------------------------------------------------

    def _github(self, name: str, at: dict[str, str], request: Request, body: Any) -> Any:
        pulls = "GET /repos/{owner}/{repo}/pulls"
        notes = "GET /repos/{owner}/{repo}/issues/{issue_number}/comments"
        here = f"{self.url}/api/v3/repos/{self.project}"

        def note(one: dict[str, Any]) -> Any:
            like = self._like(notes, id=one["id"], body=one["body"],
                              url=f"{here}/issues/comments/{one['id']}")
            like["user"]["login"] = one["author"]
            return like
        if name == "GET /user":
            return self._like(name, login=ME)
        if name == pulls:
            found = []
            for one in self.requests:
                if request.args.get("base") not in (None, one["into"]):
                    continue
                like = self._like(pulls, number=one["number"], title=one["title"], state="open",
                                  requested_teams=[],  # its example does not fit its schema
                                  html_url=f"{self.url}/{self.project}/pull/{one['number']}")
                like["user"]["login"] = "ann"
                like["head"] |= {"ref": one["branch"], "sha": one["head"]}
                like["base"]["ref"] = one["into"]
                like["base"]["repo"]["id"] = 1
                if one["own"]:
                    like["head"]["repo"] = like["base"]["repo"]
                else:
                    like["head"]["repo"] = like["base"]["repo"] | {"id": 2}
                found.append(like)
            return found
        if name.endswith("/comments") and request.method == "GET":
            return [note(one) for one in self.comments.get(int(at["issue_number"]), [])]
        if name.endswith("/comments"):
            number = int(at["issue_number"])
            self.say(number, body["body"])
            return note(self.comments[number][-1])
        if name.endswith("{comment_id}"):
            one = next((c for cs in self.comments.values() for c in cs
                        if c["id"] == int(at["comment_id"])), None)
            if one is None:
                return self._error(404, "Not Found")
            if request.method == "PATCH":
                one["body"] = body["body"]
            return note(one)
        self.statuses.append(body | {"sha": at["sha"]})
        return self._like(name, **body)

    def _gitlab(self, name: str, at: dict[str, str], request: Request, body: Any) -> Any:
        notes = "GET /projects/{id}/merge_requests/{merge_request_iid}/notes"

        def note(one: dict[str, Any]) -> Any:
            like = self._like(notes, id=one["id"], body=one["body"],
                              system=one["author"] == "system")
            like["author"]["username"] = one["author"]
            return like
        if name == "GET /user":
            return self._like(name, username=ME)
        if name.endswith("/merge_requests"):
            found = []
            for one in self.requests:
                if request.args.get("target_branch") in (None, one["into"]):
                    like = self._like(
                        name, iid=one["number"], title=one["title"], sha=one["head"],
                        source_branch=one["branch"], target_branch=one["into"],
                        source_project_id=3 if one["own"] else 4,
                        web_url=f"{self.url}/{self.project}/-/merge_requests/{one['number']}")
                    like["author"]["username"] = "ann"
                    found.append(like)
            return found
        if name.endswith("/notes") and request.method == "GET":
            return [note(one) for one in self.comments.get(int(at["merge_request_iid"]), [])]
        if name.endswith("/notes"):
            number = int(at["merge_request_iid"])
            self.say(number, body["body"])
            return note(self.comments[number][-1])
        if name.endswith("{note_id}"):
            one = self._edit(int(at["note_id"]), body["body"])
            return note(one) if one else self._error(404, "404 Note Not Found")
        last = [s for s in self.statuses if s["sha"] == at["sha"]][-1:]
        if last and last[0]["state"] == body["state"]:  # what it says then
            return self._error(400, f"Cannot transition status via :enqueue from :{body['state']}")
        self.statuses.append(body | {"sha": at["sha"]})
        return self._like(name, sha=at["sha"], status=body["state"], name=body["context"],
                          target_url=body["target_url"], description=body["description"])

    def _gitea(self, name: str, at: dict[str, str], request: Request, body: Any) -> Any:
        def note(one: dict[str, Any]) -> Any:
            return {"id": one["id"], "body": one["body"], "user": {"id": 1,
                                                                   "login": one["author"]}}
        if name == "GET /user":
            return {"id": 1, "login": ME}
        if name.endswith("/pulls"):
            return [{"number": one["number"], "title": one["title"], "state": "open",
                     "user": {"id": 7, "login": "ann"},
                     "html_url": f"{self.url}/{self.project}/pulls/{one['number']}",
                     "head": {"ref": one["branch"], "sha": one["head"],
                              "repo_id": 1 if one["own"] else 2},
                     "base": {"ref": one["into"], "sha": "0" * 40, "repo_id": 1}}
                    for one in self.requests]
        if name.endswith("/comments") and request.method == "GET":
            return [note(one) for one in self.comments.get(int(at["index"]), [])]
        if name.endswith("/comments"):
            self.say(int(at["index"]), body["body"])
            return note(self.comments[int(at["index"])][-1])
        if name.endswith("{id}"):
            one = self._edit(int(at["id"]), body["body"])
            return note(one) if one else self._error(404, "The target couldn't be found.")
        self.statuses.append(body | {"sha": at["sha"]})
        return {"id": 1, "status": body["state"], "context": body["context"],
                "description": body["description"], "target_url": body["target_url"]}
