"""Where a forge's pages and its API are, by the settings."""

from __future__ import annotations

import pytest

from state_repo.forge import ForgeAddressError, address_of
from state_repo.instance import Instance


@pytest.mark.parametrize(("kind", "url", "remote", "page", "api"), [
    ("github", None, "git@github.com:acme/state.git", "https://github.com/acme/state",
     "https://api.github.com"),
    ("github", None, "https://ghe.example.com/acme/state", "https://ghe.example.com/acme/state",
     "https://ghe.example.com/api/v3"),
    ("gitlab", None, "ssh://git@gitlab.example.com:2222/a/b/state.git",
     "https://gitlab.example.com/a/b/state", "https://gitlab.example.com"),
    ("forgejo", "http://10.0.0.7:3000/", "git@10.0.0.7:acme/state.git",
     "http://10.0.0.7:3000/acme/state", "http://10.0.0.7:3000/api/v1"),
    ("gitea", None, "http://token@127.0.0.1:3000/acme/state.git",
     "http://127.0.0.1:3000/acme/state", "http://127.0.0.1:3000/api/v1"),
    ("gitea", "https://example.com/git", "https://example.com/git/acme/state.git",
     "https://example.com/git/acme/state", "https://example.com/git/api/v1"),
])
def test_addresses(kind, url, remote, page, api):
    found = address_of(kind, url, remote)
    assert (found.page, found.api) == (page, api)
    assert found.requests_page.startswith(f"{page}/")


@pytest.mark.parametrize(("kind", "url", "remote", "names"), [
    ("bitbucket", None, "git@x.example:a/b.git", "IW_FORGE is 'bitbucket'"),
    ("github", None, None, "IW_STATE_REMOTE is not set"),
    ("github", None, "/srv/state.git", "IW_STATE_REMOTE is /srv/state.git"),
    ("gitlab", None, "https://gitlab.com/state.git", "names no owner/name"),
    ("gitea", "git.example.com", "git@x.example:a/b.git", "IW_FORGE_URL is git.example.com"),
])
def test_settings_that_cant_be_right_are_named(kind, url, remote, names):
    with pytest.raises(ForgeAddressError, match=names):
        address_of(kind, url, remote)


def test_a_new_request_of_a_branch_is_one_click_away():
    github = address_of("github", None, "git@github.com:acme/state.git")
    assert github.new_request("team/more") == (
        "https://github.com/acme/state/compare/main...team/more")
    gitlab = address_of("gitlab", None, "git@gitlab.com:acme/state.git")
    assert gitlab.noun == "merge request" and gitlab.new_request("more") == (
        "https://gitlab.com/acme/state/-/merge_requests/new?merge_request%5Bsource_branch%5D=more")


def test_the_environment_wins_over_what_set_up_wrote(tmp_path, monkeypatch):
    made = Instance(id="0badcafe", data=tmp_path, remote="git@a.example:x/y.git", forge="gitea")
    assert made.state_forge is not None and made.state_forge.url == "https://a.example"
    monkeypatch.setenv("IW_FORGE", "gitlab")
    assert made.state_forge.kind == "gitlab"
    monkeypatch.delenv("IW_FORGE")
    assert Instance(id="0badcafe", data=tmp_path, remote="/srv/x.git").state_forge is None
