"""Where the state repo lives when a forge holds it: GitHub, GitLab, Gitea or Forgejo.

Addresses alone; who speaks with it is the reconciler (`reconciler.forges`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import quote, urlencode, urlsplit

from state_repo import StateRepoError

Kind = Literal["github", "gitlab", "gitea", "forgejo"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOKEN, WEBHOOK_SECRET = "forge-token", "forge-webhook"  # files below <data>/secrets
_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)")  # git@host:owner/name.git


class ForgeAddressError(StateRepoError):
    """The settings of the forge can't be right; the message says which, and what would be."""


@dataclass(frozen=True, slots=True)
class ForgeAddress:
    """`url`: its web address, without a slash at the end. `project`: owner/name, on GitLab with
    its groups."""

    kind: Kind
    url: str
    project: str

    @property
    def noun(self) -> str:
        return "merge request" if self.kind == "gitlab" else "pull request"

    @property
    def api(self) -> str:
        """The address that its API's paths begin with. GitHub's:
        https://docs.github.com/rest, for an Enterprise Server /api/v3."""
        if self.kind == "github":
            return "https://api.github.com" if self.url == "https://github.com" else (
                f"{self.url}/api/v3")
        return self.url if self.kind == "gitlab" else f"{self.url}/api/v1"

    @property
    def page(self) -> str:
        return f"{self.url}/{self.project}"

    @property
    def requests_page(self) -> str:
        return f"{self.page}/{'-/merge_requests' if self.kind == 'gitlab' else 'pulls'}"

    def as_json(self) -> dict[str, str]:
        """What pages and `iw` tell of it."""
        return {"kind": self.kind, "noun": self.noun, "page": self.page,
                "requests_page": self.requests_page}

    def new_request(self, branch: str) -> str:
        """The page that makes a request of a branch."""
        if self.kind == "gitlab":
            return f"{self.requests_page}/new?" + urlencode(
                {"merge_request[source_branch]": branch})
        return f"{self.page}/compare/main...{quote(branch)}"


def address_of(kind: str, url: str | None, remote: str | None) -> ForgeAddress:
    """`kind`: see KINDS. `url`: its web address, None for that of the remote. `remote`: git's.

    Raises:
        ForgeAddressError: one of them is missing or wrong.
    """
    if kind not in KINDS:
        raise ForgeAddressError(f"IW_FORGE is {kind!r}; it is one of: {', '.join(KINDS)}")
    if not remote:
        raise ForgeAddressError(f"IW_FORGE is {kind}, and IW_STATE_REMOTE is not set; name the "
                                "repo there, as git reaches it")
    parts = urlsplit(remote)
    if "://" in remote:
        host, path = parts.netloc.rpartition("@")[2], parts.path
        if parts.scheme not in ("http", "https"):
            host = host.partition(":")[0]  # that is ssh's port
    elif scp := _SCP.fullmatch(remote):
        host, path = scp[1], scp[2]
    else:
        raise ForgeAddressError(f"IW_STATE_REMOTE is {remote}, which no forge serves; write its "
                                "address there, such as git@github.com:acme/state.git")
    project = path.strip("/").removesuffix(".git")
    if "/" not in project:
        raise ForgeAddressError(f"IW_STATE_REMOTE is {remote}, which names no owner/name")
    scheme = parts.scheme if parts.scheme in ("http", "https") else "https"
    found = (url or f"{scheme}://{host}").rstrip("/")
    if urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).netloc:
        raise ForgeAddressError(f"IW_FORGE_URL is {url}; write its address in a browser, such as "
                                "https://git.example.com")
    below = urlsplit(found).path.strip("/")
    if below and project.startswith(f"{below}/"):  # a forge that is served below a path
        project = project.removeprefix(f"{below}/")
    return ForgeAddress(kind, found, project)  # type: ignore[arg-type]
