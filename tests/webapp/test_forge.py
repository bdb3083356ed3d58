"""Where a forge holds the state repo: the pages say where a change is reviewed, and its messages
are passed on as they are."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from werkzeug.wrappers import Request

from reconciler.api import InternalApi
from reconciler.forges.webhook import webhook_secret
from state_repo.forge import address_of
from tests.webapp.conftest import House
from tests.webapp.test_reviews import Answer, fake_plan, post, propose
from webapp.errors import Problem

PAGE = "https://git.example.com/acme/state"
REQUEST = {"number": 7, "branch": "more", "head": "a" * 40, "title": "Give <Pulse> more",
           "author": "eve", "own": True, "page": f"{PAGE}/pulls/7", "plan": "d" * 16,
           "state": "success",
           "says": "1 made anew.", "problem": ""}


@pytest.fixture
def told(house, monkeypatch):
    """What the reconciler tells of the forge; change it."""
    monkeypatch.setenv("IW_FORGE", "gitea")
    monkeypatch.setenv("IW_STATE_REMOTE", f"{PAGE}.git")
    store = house.app.extensions["iw_store"]
    known = {"kind": "gitea", "noun": "pull request", "page": PAGE, "problem": "", "left_out": 0,
             "requests_page": f"{PAGE}/pulls", "looked_at": None, "requests": [dict(REQUEST)]}

    def ask(path, method, parts, *more, **_):
        if parts == ["forge"]:
            if known.get("away"):
                raise Problem(503, "reconciler_away", "This can't be reached right now.")
            return Answer(known)
        return Answer(fake_plan(store, more[0]["change"]))
    monkeypatch.setattr("webapp.reviews.ask", ask)
    return known


def test_requests_stand_among_the_changes_and_lead_to_the_forge(house, told):
    propose(house.app.extensions["iw_store"])
    eng = house.client("eng@iw.test")
    page = eng.get("/changes").text
    assert "Give &lt;Pulse&gt; more" in page and f'href="{PAGE}/pulls/7"' in page
    assert "1 made anew." in page and 'href="/changes/more"' in page
    one = eng.get("/changes/more").text
    assert "Review pull request 7" in one and "Close without merging" not in one
    plan = eng.get("/changes/-/plan?name=more").text
    assert "spec.resources.memoryMb" in plan and "Approve this plan" not in plan
    told["requests"].clear()
    assert "Nothing waits" in eng.get("/changes").text
    assert f'href="{PAGE}/compare/main...more"' in eng.get("/changes/more").text


def test_nothing_is_approved_or_merged_here(house, told):
    wanted = propose(house.app.extensions["iw_store"])
    eng = house.client("eng@iw.test")
    before = house.app.extensions["iw_store"].head()
    for verb, more in (("approve", {}), ("withdraw", {}), ("merge", {}), ("close", {}),
                       ("comment", {"text": "well"})):
        answer = post(eng, verb, wanted | more)
        assert answer.status_code == 409 and PAGE in answer.text, verb
    assert house.app.extensions["iw_store"].head() == before


def test_what_is_in_the_way_is_said(house, told):
    told["problem"] = "https://git.example.com does not answer: refused"
    assert "does not answer: refused" in house.client("eng@iw.test").get("/changes").text
    told["away"] = True
    assert "can’t be followed" in house.client("eng@iw.test").get("/changes").text


# ---- messages ----------------------------------------------------------------------------------

class Follows:
    """Who follows the forge, as the internal API needs it."""

    def __init__(self) -> None:
        self.address = address_of("gitea", None, f"{PAGE}.git")
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def follows(house: House, monkeypatch):
    """The real internal API behind the web app's route, without the socket between."""
    follower, instance = Follows(), house.app.config["INSTANCE"]

    class Owner:
        pass
    owner = Owner()
    owner.instance = instance  # type: ignore[attr-defined]
    api = InternalApi.__new__(InternalApi)
    api._r, api._follower = owner, follower  # type: ignore[assignment]

    def ask(path, method, parts, body=None, headers=None, **_):
        assert parts == ["forge", "message"]
        request = Request.from_values(method=method, data=b"".join(body), headers=headers)
        answer = api.forge_message(request)
        if answer.status_code >= 400:
            raise Problem(answer.status_code, answer.json["code"], answer.json["error"])
        return Answer({})
    monkeypatch.setattr("webapp.forge_hook.ask", ask)
    return follower


def test_a_signed_message_wakes_who_follows_and_no_other_does(house, follows):
    secret = webhook_secret(house.app.config["INSTANCE"])
    body = b'{"ref": "refs/heads/main", "words": "\xc3\xbc"}'
    right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    stranger = house.client()
    answer = stranger.post("/webhooks/forge", data=body, headers={
        "X-Gitea-Signature": right, "X-Gitea-Event": "push", "Content-Type": "application/json"})
    assert (answer.status_code, follows.woken) == (202, 1)
    for data, signature in ((body + b" ", right), (body, "0" * 64), (body, "")):
        answer = stranger.post("/webhooks/forge", data=data, headers={
            "X-Gitea-Signature": signature})
        assert answer.status_code == 400 and "signature" in answer.json["error"]
    assert follows.woken == 1
    assert secret not in answer.text


def test_a_message_that_is_too_large_is_not_read(house, follows):
    answer = house.client().post("/webhooks/forge", data=b"x" * (4 * 1024 * 1024 + 1))
    assert answer.status_code == 413 and follows.woken == 0


def test_without_a_forge_nobody_takes_messages(house):
    assert house.client().post("/webhooks/forge", data=b"{}").status_code == 503  # nobody there
