"""GitHub, by PyGithub: https://docs.github.com/rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice

import requests
from github import Auth, Github, GithubException
from github.Repository import Repository

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


class GitHub:
    def __init__(self, address: ForgeAddress, token: str) -> None:
        self.address = address
        # A call that fails is made again by whoever follows, not by waiting here.
        self._github = Github(base_url=address.api, auth=Auth.Token(token), lazy=True,
                              timeout=round(TIMEOUT_S), retry=None, per_page=100)

    def pull_requests(self) -> list[PullRequest]:
        with self._told():
            found = islice(self._repo.get_pulls(state="open", base="main", sort="created",
                                                direction="desc"), MOST_REQUESTS + 1)
            return [PullRequest(
                one.number, one.head.ref, one.head.sha, one.title, one.user.login, one.html_url,
                # Of a fork that was removed there is no project.
                own=one.head.repo is not None and one.head.repo.id == one.base.repo.id)
                for one in found]

    def comments(self, number: int) -> list[Comment]:
        with self._told():
            return [Comment(one.id, one.body)
                    for one in self._repo.get_issue(number).get_comments()
                    if self._me is None or one.user.login == self._me]

    def add_comment(self, number: int, body: str) -> Comment:
        with self._told():
            made = self._repo.get_issue(number).create_comment(body)
            return Comment(made.id, made.body)

    def edit_comment(self, number: int, id: int, body: str) -> None:
        with self._told():
            self._repo.get_issue(number).get_comment(id).edit(body)

    def set_status(self, sha: str, state: State, description: str, page: str) -> None:
        with self._told():
            self._repo.get_commit(sha).create_status(state, page, description, CONTEXT)

    @cached_property
    def _repo(self) -> Repository:
        return self._github.get_repo(self.address.project)

    @cached_property
    def _me(self) -> str | None:
        """None: an app's token has no user (403); then what it can edit is told by its mark."""
        try:
            return self._github.get_user().login
        except GithubException as error:
            if error.status == 403:
                return None
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except GithubException as error:
            said = error.data.get("message") if isinstance(error.data, dict) else error.data
            raise ForgeError(f"{self.address.page}: {error.status} {short(said)}") from error
        except requests.RequestException as error:
            raise ForgeError(f"{self.address.url} does not answer: {error}") from error
