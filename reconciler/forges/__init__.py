"""A FORGE'S REVIEW: where a forge holds the state repo, changes are reviewed and merged there.

Law of this room: a module a kind of forge, which alone imports that forge's library; all of them
are the protocol `Forge`. `follow` plans each open request and says there what would happen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from reconciler import ReconcilerError
from state_repo.forge import ForgeAddress

State = Literal["pending", "success", "failure", "error"]
CONTEXT = "instantworker/plan"  # what the commit's status is called
TIMEOUT_S = 20.0  # how long one call may take
MOST_REQUESTS = 200  # that are looked at; more are said to be left out


class ForgeError(ReconcilerError):
    """The forge does not answer, or refuses; the message says what, in its own words."""


def short(said: object) -> str:
    """A refusal in one line: proxies in front of a forge answer whole pages."""
    return " ".join(re.sub(r"<[^>]*>", " ", str(said or "")).split())[:200]


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One open request to change main. `head`: the newest commit of its branch. `own`: its branch
    is in the same project, not in a fork of it."""

    number: int
    branch: str
    head: str
    title: str
    author: str
    page: str
    own: bool = True


@dataclass(frozen=True, slots=True)
class Comment:
    id: int
    body: str


class Forge(Protocol):
    """One project on a forge. Every method raises ForgeError."""

    address: ForgeAddress

    def pull_requests(self) -> list[PullRequest]:
        """The open ones into main, the newest first; at most MOST_REQUESTS + 1."""

    def comments(self, number: int) -> list[Comment]:
        """Of one request, those that this account wrote."""

    def add_comment(self, number: int, body: str) -> Comment: ...

    def edit_comment(self, number: int, id: int, body: str) -> None: ...

    def set_status(self, sha: str, state: State, description: str, page: str) -> None:
        """What CONTEXT says of a commit. `description`: at most 140 characters."""


def open_forge(address: ForgeAddress, token: str) -> Forge:
    """Speaks with nobody yet. A library is loaded where it is used: most have no forge."""
    if address.kind == "github":
        from reconciler.forges.github import GitHub
        return GitHub(address, token)
    if address.kind == "gitlab":
        from reconciler.forges.gitlab import GitLab
        return GitLab(address, token)
    from reconciler.forges.gitea import Gitea
    return Gitea(address, token)
