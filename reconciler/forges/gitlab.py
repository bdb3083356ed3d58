"""GitLab, by python-gitlab: https://docs.gitlab.com/api."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import gitlab
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

# https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
_STATES: dict[State, str] = {"pending": "pending", "success": "success", "failure": "failed",
                             "error": "failed"}


class GitLab:
    def __init__(self, address: ForgeAddress, token: str) -> None:
        self.address = address
        self._gitlab = gitlab.Gitlab(address.api, private_token=token, timeout=TIMEOUT_S,
                                     per_page=100)

    def pull_requests(self) -> list[PullRequest]:
        with self._told():
            found = islice(self._project.mergerequests.list(
                state="opened", target_branch="main", order_by="created_at", sort="desc",
                iterator=True), MOST_REQUESTS + 1)
            return [PullRequest(
                one.iid, one.source_branch, one.sha, one.title, one.author["username"],
                one.web_url, own=one.source_project_id == one.target_project_id)
                for one in found]

    def comments(self, number: int) -> list[Comment]:
        with self._told():
            return [Comment(one.id, one.body) for one in self._request(number).notes.list(
                sort="asc", iterator=True)
                if not one.system and one.author["username"] == self._me]

    def add_comment(self, number: int, body: str) -> Comment:
        with self._told():
            made = self._request(number).notes.create({"body": body})
            return Comment(made.id, made.body)

    def edit_comment(self, number: int, id: int, body: str) -> None:
        with self._told():
            self._request(number).notes.update(id, {"body": body})

    def set_status(self, sha: str, state: State, description: str, page: str) -> None:
        with self._told():
            try:
                self._project.commits.get(sha, lazy=True).statuses.create({
                    "state": _STATES[state], "description": description, "target_url": page,
                    "context": CONTEXT})
            except gitlab.GitlabCreateError as error:
                # It knows no way from a state to itself.
                if "Cannot transition status" not in str(error.error_message):
                    raise

    @cached_property
    def _project(self) -> Any:
        return self._gitlab.projects.get(self.address.project, lazy=True)

    def _request(self, number: int) -> Any:
        return self._project.mergerequests.get(number, lazy=True)

    @cached_property
    def _me(self) -> str:
        self._gitlab.auth()
        assert self._gitlab.user is not None  # auth raises otherwise
        return str(self._gitlab.user.username)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except gitlab.GitlabError as error:
            raise ForgeError(f"{self.address.page}: {error.response_code or ''} "
                             f"{short(error.error_message)}") from error
        except requests.RequestException as error:
            raise ForgeError(f"{self.address.url} does not answer: {error}") from error
