"""Each forge's own ways, against a fake that knows its published description."""

from __future__ import annotations

import pytest

from reconciler.forges import CONTEXT, MOST_REQUESTS, ForgeError, open_forge
from state_repo.forge import ForgeAddress
from tests.reconciler.forges.fake_forge import ME, TOKEN, FakeForge

HEAD = "a" * 40


@pytest.fixture(params=["github", "gitlab", "gitea"])
def fake(request):
    made = FakeForge(request.param)
    yield made
    made.close()
    assert made.wrong == []


def opened(fake: FakeForge, token: str = TOKEN, project: str = "acme/state"):
    return open_forge(ForgeAddress(fake.kind, fake.url, project), token)  # type: ignore[arg-type]


def test_what_is_open_is_told_alike_whatever_the_forge(fake):
    fake.pull(7, "more-memory", HEAD)
    fake.pull(8, "from-a-fork", "b" * 40, own=False)
    fake.pull(9, "elsewhere", "c" * 40, into="develop")
    fork, mine = opened(fake).pull_requests()
    assert (mine.number, mine.branch, mine.head, mine.author, mine.own) == (
        7, "more-memory", HEAD, "ann", True)
    assert mine.title == "Give Pulse more memory" and mine.page.startswith(fake.url)
    assert (fork.number, fork.own) == (8, False)


def test_many_are_read_page_by_page_up_to_a_limit(fake):
    for number in range(1, 231):
        fake.pull(number, f"b{number}", HEAD)
    found = opened(fake).pull_requests()
    assert len(found) > MOST_REQUESTS
    assert [r.number for r in found[:MOST_REQUESTS]] == list(range(230, 30, -1))


def test_a_comment_is_added_found_again_and_edited(fake):
    forge = opened(fake)
    fake.say(7, "Looks good", "ann")
    made = forge.add_comment(7, "The plan | `x`\n\n- é")
    assert [c.id for c in forge.comments(7)] == [made.id], "of others nothing is told"
    forge.edit_comment(7, made.id, "Another plan")
    (known,) = forge.comments(7)
    assert known.body == "Another plan"
    assert [c["author"] for c in fake.comments[7]] == ["ann", ME]
    with pytest.raises(ForgeError, match="404"):
        forge.edit_comment(7, 99, "gone")


def test_a_status_is_set_and_set_again(fake):
    forge = opened(fake)
    page = "https://app.example.com/changes/more-memory"
    forge.set_status(HEAD, "pending", "It is being planned.", page)
    forge.set_status(HEAD, "failure", "1 thing to correct first.", page)
    forge.set_status(HEAD, "failure", "2 things to correct first.", page)
    assert [s["state"] for s in fake.statuses][:2] == [
        "pending", "failed" if fake.kind == "gitlab" else "failure"]
    assert {s["context"] for s in fake.statuses} == {CONTEXT}
    assert fake.statuses[0]["target_url"] == page


def test_what_a_forge_refuses_is_told_in_its_words(fake):
    with pytest.raises(ForgeError, match=r"401.*Bad credentials"):
        opened(fake, "wrong").pull_requests()
    with pytest.raises(ForgeError, match="404"):
        opened(fake, project="acme/other").pull_requests()
    fake.refuses = lambda _: 502
    with pytest.raises(ForgeError, match="502"):
        opened(fake).set_status(HEAD, "success", "fine", "https://x.example")
    assert len(fake.calls) == 3, "nothing is tried again behind our back"


def test_a_forge_that_is_away_is_told_as_such(fake):
    forge = opened(fake)
    fake.close()
    with pytest.raises(ForgeError, match="does not answer"):
        forge.pull_requests()


def test_an_apps_token_has_no_user_of_its_own():
    fake = FakeForge("github")
    fake.refuses = lambda call: 403 if call.endswith("/user") else None
    fake.say(7, "mine")
    assert [c.body for c in opened(fake).comments(7)] == ["mine"]
    fake.close()
