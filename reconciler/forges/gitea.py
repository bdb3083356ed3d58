"""Gitea and Forgejo. Of the libraries for them, the one that is kept reads a file `.env` from the
folder it is imported in into the process's environment; so these five calls are made by `requests`.

https://docs.gitea.com/api (the same paths on Forgejo: https://forgejo.org/docs/latest/user/api-usage)
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import quote

import requests

from reconciler.forges import (
    CONTEXT,
    MOST_REQUESTS,
    TIMEOUT_S,
    Comment,
    ForgeError,
    PullRequest,
    State,
    short,
)
from state_repo.forge import ForgeAddress

_A_PAGE = 50  # what both serve at most, unless they are set up otherwise


class Gitea:
    def __init__(self, address: ForgeAddress, token: str) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {token}"

    def pull_requests(self) -> list[PullRequest]:
        found = [one for one in self._all("pulls", state="open")
                 if one["base"]["ref"] == "main"]
        return [PullRequest(
            one["number"], one["head"]["ref"], one["head"]["sha"], one["title"],
            one["user"]["login"], one["html_url"],
            own=one["head"]["repo_id"] == one["base"]["repo_id"]) for one in found]

    def comments(self, number: int) -> list[Comment]:
        return [Comment(one["id"], one["body"])
                for one in self._ask("GET", f"issues/{number}/comments").json()
                if one["user"]["login"] == self._me]

    def add_comment(self, number: int, body: str) -> Comment:
        made = self._ask("POST", f"issues/{number}/comments", json={"body": body}).json()
        return Comment(made["id"], made["body"])

    def edit_comment(self, number: int, id: int, body: str) -> None:
        self._ask("PATCH", f"issues/comments/{id}", json={"body": body})

    def set_status(self, sha: str, state: State, description: str, page: str) -> None:
        self._ask("POST", f"statuses/{sha}", json={
            "state": state, "description": description, "target_url": page, "context": CONTEXT})

    @cached_property
    def _me(self) -> str:
        return self._call("GET", f"{self.address.api}/user").json()["login"]

    def _all(self, path: str, **query: str) -> list[Any]:
        found: list[Any] = []
        for page in range(1, MOST_REQUESTS // _A_PAGE + 2):
            more = self._ask("GET", path, params=query | {"page": page, "limit": _A_PAGE}).json()
            found += more
            if not more or len(found) > MOST_REQUESTS:
                break
        return found

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        return self._call(
            method, f"{self.address.api}/repos/{quote(self.address.project)}/{path}", **more)

    def _call(self, method: str, url: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(method, url, timeout=TIMEOUT_S, **more)
        except requests.RequestException as error:
            raise ForgeError(f"{self.address.url} does not answer: {error}") from error
        if not answer.ok:
            try:
                said = answer.json().get("message", "")
            except (ValueError, AttributeError):
                said = answer.text
            raise ForgeError(f"{method} {url}: {answer.status_code} {short(said)}")
        return answer
