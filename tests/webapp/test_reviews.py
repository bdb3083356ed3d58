"""Reviewing by the web app: who may approve and merge what. The plan is the reconciler's: here it
is faked from the branch itself; git is real."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from state_repo import changes
from state_repo.documents import Freeze, Review
from state_repo.parsing import dump
from state_repo.review import Changes
from state_repo.store import Author
from tests.webapp.conftest import PASSWORD
from webapp import accounts

EVE = Author("Eve", "eve@iw.test")
REALITY = {"is": ""}


def fake_plan(store, name: str, changed: list | None = None, notes: list | None = None) -> dict:
    """As `reconciler.plans` makes it, of the documents alone; REALITY stands for the engine's."""
    made = Changes(store)
    change = made.find(name)
    draft = store.draft(bytes.fromhex(made.merged(change)), change.main)
    parts = {"documents": [{"path": f.path, "does": "changed", "diff": f.diff(), "fields": [
        {"field": n, "old": o, "new": v} for n, o, v in f.fields()]}
        for f in made.files(change.main, draft)],
        "stacks": [{"stack": "customer/acme", "changes": changed or [], "problems": [
            REALITY["is"]] if REALITY["is"].startswith("refused") else [], "notes": notes or [],
            "employees": [{"employee": c["name"].removeprefix("employee-"),
                           "does": "is interrupted"} for c in changed or []]}],
        "problems": []}
    digest = hashlib.sha256((json.dumps(parts, sort_keys=True) + REALITY["is"]).encode())
    return {"change": name, "head": change.head, "main": change.main,
            "digest": digest.hexdigest()[:16], **parts}


class Answer:
    def __init__(self, value) -> None:
        self.json = lambda: value


@pytest.fixture
def store(house, monkeypatch):
    made = house.app.extensions["iw_store"]
    REALITY["is"] = ""
    monkeypatch.setattr("webapp.reviews.ask", lambda *asked, **_: Answer(
        fake_plan(made, asked[3]["change"])))
    for email in ("eve@iw.test", "max@iw.test", "ida@iw.test"):
        accounts.ensure(house.app.config["INSTANCE"], email, PASSWORD, customer=None,
                        role="engineer")
    return made


def propose(store, name: str = "more", memory: int = 4096, path: str | None = None,
            text: str | None = None, by: Author = EVE) -> dict:
    """A branch, as a push leaves it; returns what its page's forms hold."""
    (pulse, *_) = store.snapshot().customers["acme"].employees.values()
    head = store.head()
    tree = store.objects.with_files(store.objects.tree_of(head), {
        path or pulse.path: text or dump(replace(pulse, resources=replace(
            pulse.resources, memory_mb=memory)))})
    store._door.run("update-ref", f"refs/heads/{name}", store.draft(tree, head, "More", by))
    return form(store, name)


def form(store, name: str) -> dict:
    plan = fake_plan(store, name)
    return {"name": name, "head": plan["head"], "plan": plan["digest"]}


def post(client, verb: str, data: dict):
    return client.post(f"/changes/-/{verb}", data=data | {
        "csrf_token": client.environ_base["HTTP_X_CSRF_TOKEN"]})


def memory(store) -> int:
    return next(iter(store.snapshot().customers["acme"].employees.values())).resources.memory_mb


def test_from_a_branch_to_main_by_two_people(house, store):
    eve, max_ = house.client("eve@iw.test"), house.client("max@iw.test")
    wanted = propose(store)
    page = eve.get("/changes").text
    assert "Nothing waits" not in page and 'href="/changes/more"' in page
    assert "1 commit by Eve" in page
    shown = eve.get("/changes/-/plan?name=more").text
    assert "spec.resources.memoryMb" in shown and "0 of 1 approvals" in shown
    refused = post(eve, "merge", wanted)
    assert refused.status_code == 409 and "0 of 1 approvals" in refused.text
    assert post(eve, "approve", wanted).status_code == 303, "its author's word counts for nothing"
    assert post(eve, "merge", wanted).status_code == 409
    assert post(max_, "approve", wanted).location == "/changes/more?done=approved"
    assert "Max" in max_.get("/changes/more").text or "max" in max_.get("/changes/more").text
    merged = post(eve, "merge", wanted)
    assert merged.status_code == 303 and "done=merged" in merged.location
    assert memory(store) == 4096
    told = store._door.run("log", "-1", "--format=%B").stdout
    assert "Change: more" in told and f"Plan: {wanted['plan']}" in told
    assert told.count("Approved-by:") == 1 and "<max@iw.test>" in told
    assert "Merged-by:" in told and "<eve@iw.test>" in told
    told = [e.message for e in house.status.events(limit=50) if e.kind == "Review"]
    assert any("max@iw.test) approved the change more at" in line for line in told)
    assert any(f"merged the change more at {wanted['head'][:10]}: commit" in line for line in told)
    assert not [e for e in house.status.events("acme", limit=50) if e.kind == "Review"]
    after = eve.get("/changes/more").text
    assert "merged or closed" in after and "merged it" in after
    assert post(eve, "merge", wanted).status_code == 404


def test_what_moved_is_asked_again_and_old_approvals_count_no_more(house, store):
    eve, max_ = house.client("eve@iw.test"), house.client("max@iw.test")
    wanted = propose(store)
    post(max_, "approve", wanted)
    before = store.head()
    REALITY["is"] = "somebody stopped it by hand"
    refused = post(eve, "merge", wanted)
    assert refused.status_code == 409 and "not what you looked at" in refused.text
    again = form(store, "more")
    assert "0 of 1" in post(eve, "merge", again).text, "the approval was for another plan"
    REALITY["is"] = ""
    fresh = propose(store, memory=5120)  # pushed again
    assert post(max_, "approve", wanted).status_code == 409
    assert post(eve, "merge", wanted).status_code == 409
    assert post(eve, "close", wanted).status_code == 409
    assert store.head() == before
    post(max_, "approve", fresh)
    post(max_, "withdraw", fresh)
    assert post(eve, "merge", fresh).status_code == 409
    post(max_, "approve", fresh)
    assert post(eve, "merge", fresh).status_code == 303 and memory(store) == 5120


def test_main_may_go_on_where_it_is_no_matter(house, store):
    eve, max_ = house.client("eve@iw.test"), house.client("max@iw.test")
    wanted = propose(store)
    post(max_, "approve", wanted)
    changes.hire(store, EVE, "bolt", "Other", "Tester")
    assert post(eve, "merge", wanted).status_code == 303


def test_the_platform_takes_somebody_who_neither_wrote_nor_merges_it(house, store):
    eve, max_, ida = (house.client(f"{name}@iw.test") for name in ("eve", "max", "ida"))
    changes.set_platform(store, EVE, "Alone", lambda p: replace(p, review=Review(approvals=0)))
    text = dump(replace(store.platform(), grace_days=3))
    wanted = propose(store, path="platform.yaml", text=text)
    assert "neither wrote nor merges" in post(eve, "merge", wanted).text
    post(max_, "approve", wanted)
    assert post(max_, "merge", wanted).status_code == 409, "not by whoever approved alone"
    post(ida, "approve", wanted)
    assert post(max_, "merge", wanted).status_code == 303
    assert store.platform().grace_days == 3


def test_what_policies_refuse_is_not_merged(house, store):
    eve, max_ = house.client("eve@iw.test"), house.client("max@iw.test")
    REALITY["is"] = "refused: privileged"
    wanted = propose(store)
    post(max_, "approve", wanted)
    assert "has to be corrected" in post(eve, "merge", wanted).text


def test_a_commit_is_taken_back_by_a_change(house, store):
    eve, max_ = house.client("eve@iw.test"), house.client("max@iw.test")
    wanted = propose(store)
    post(max_, "approve", wanted)
    post(eve, "merge", wanted)
    sha = store.head()
    made = post(max_, "roll-back", {"commit": sha})
    assert made.status_code == 303 and made.location.startswith(f"/changes/roll-back-{sha[:10]}")
    name = f"roll-back-{sha[:10]}"
    back = form(store, name)
    post(eve, "approve", back)
    assert post(max_, "merge", back).status_code == 303 and memory(store) == 3072
    assert post(max_, "roll-back", {"commit": sha}).status_code == 409
    assert post(max_, "roll-back", {"commit": "HEAD"}).status_code == 409


def test_what_is_said_is_kept_and_shown_as_text(house, store):
    eve = house.client("eve@iw.test")
    wanted = propose(store)
    assert post(eve, "comment", wanted | {"text": "<b>Why?</b>"}).status_code == 303
    assert post(eve, "comment", wanted | {"text": "  "}).status_code == 422
    assert post(eve, "comment", wanted | {"text": "x" * 5000}).status_code == 422
    page = eve.get("/changes/more").text
    assert "&lt;b&gt;Why?&lt;/b&gt;" in page
    assert post(eve, "close", wanted).status_code == 303
    assert "Why?" in eve.get("/changes/more").text
    assert eve.get("/changes/never-was").status_code == 404
    for odd in ("main", "-x", "..", "a b"):
        assert post(eve, "comment", {"name": odd, "text": "x"}).status_code == 404


def test_it_is_the_engineers_alone(house, store):
    propose(store)
    for client in (house.client(), house.client("ann@acme.test")):
        for path in ("/changes", "/changes/more", "/changes/-/plan?name=more"):
            assert client.get(path).status_code in (302, 401, 403), path
        assert client.post("/changes/-/merge", data={"name": "more"}).status_code in (401, 403)
    assert "Changes" not in house.client("ann@acme.test").get("/").text
    assert 'href="/changes"' in house.client("eve@iw.test").get("/").text


def test_what_is_frozen_is_said_to_engineers(house, store):
    eve = house.client("eve@iw.test")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "frozen until" not in eve.get("/changes").text
    changes.set_freeze(store, EVE, "acme", Freeze("we move its disk", soon))
    page = eve.get("/changes").text
    assert "acme is frozen until" in page and "we move its disk" in page
    changes.set_freeze(store, EVE, None, Freeze("we upgrade", soon))
    assert "Everything is frozen until" in eve.get("/changes").text


def test_history_is_told_by_company_and_employee(house, store):
    eve = house.client("eve@iw.test")
    (pulse, *_) = store.snapshot().customers["acme"].employees.values()
    changes.pause(store, EVE, "acme", pulse.id)
    assert f"Pause {pulse.id}" in eve.get("/changes").text
    assert f"Pause {pulse.id}" in eve.get("/changes?customer=acme").text
    assert f"Pause {pulse.id}" not in eve.get("/changes?customer=bolt").text
    assert "Hire" in eve.get(f"/changes?customer=acme&employee={pulse.id}").text
    assert eve.get("/changes?customer=nobody").status_code == 404
