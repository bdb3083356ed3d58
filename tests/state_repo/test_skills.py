"""Skills: read with every mistake named by its line, kept by git, and judged wherever they come
from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.check_push import violations_of
from state_repo import changes
from state_repo.documents import TOOLS
from state_repo.git_door import BRANCH
from state_repo.layout import is_protected
from state_repo.parsing import DocumentError, dump
from state_repo.skills import MOST_BYTES, parse_skill
from state_repo.store import RejectedError, Store
from tests.state_repo.test_store import ANN, filled
from tools import catalogue

PATH = "skills/meeting-notes/SKILL.md"
GOOD = """---
name: meeting-notes
description: Turn a transcript into decisions and tasks. Use it for minutes.
license: MIT
allowed-tools: read write
metadata: {version: "1.2", example: Make minutes of meetings/today.txt.}
---

# Meeting notes

1. Read all of it.
"""


def wrong(text: str, path: str = PATH) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse_skill(text, path)
    return [str(v) for v in caught.value.violations]


def test_a_skill_is_read_whole():
    found = parse_skill(GOOD, PATH)
    assert (found.name, found.title, found.version) == ("meeting-notes", "Meeting notes", "1.2")
    assert found.uses == ("read", "write") and found.path == PATH
    assert found.text == GOOD and found.example == "Make minutes of meetings/today.txt."
    assert found.digest != parse_skill(GOOD.replace("all of", "some of"), PATH).digest


@pytest.mark.parametrize(("old", "new", "says"), [
    ("name: meeting-notes", "name: minutes", f"{PATH}:2 name: is minutes; write meeting-notes"),
    ("name: meeting-notes\n", "", f"{PATH}:2 name: is missing"),
    ("read write\n", "read bash\n", f"{PATH}:5 allowed-tools: is 'read bash'"),
    ('"1.2"', "1.2", f"{PATH}:6 metadata.version: is 1.2; write a value of type string. In quotes"),
    (", example: Make minutes of meetings/today.txt.", "",
     f"{PATH}:6 metadata.example: is missing"),
    ("license: MIT", "licence: MIT", f"{PATH}:4 licence: is not known"),
    ("into decisions", "into <b>decisions", f"{PATH}:3 description: is"),
    ("---\n\n# Meeting", "\n# Meeting", f"{PATH}:1 -: has no front matter"),
    ("---\nname", "name", f"{PATH}:1 -: has no front matter"),
    ("1. Read all of it.", "1. Read\x1b[31m it.", f"{PATH}:11 -: holds a control character"),
    ("# Meeting notes\n\n1. Read all of it.\n", "", "says nothing"),
    ("1. Read", "1." + "x" * MOST_BYTES, "keep a skill to"),
    ("MIT", "!!python/name:os MIT", "YAML tag"),
    ("license: MIT\n", "name: twice\n", f"{PATH}:4 name: stands here twice"),
])
def test_a_mistake_is_named_with_its_line_and_what_is_right(old, new, says):
    assert old in GOOD
    assert any(error.startswith(says) or says in error for error in wrong(GOOD.replace(old, new)))


@given(st.text(max_size=300) | st.text(max_size=200).map(lambda t: f"---\n{t}\n---\n{t}"))
def test_no_text_breaks_it(text):
    try:
        parse_skill(text, PATH)
    except DocumentError as error:
        assert error.violations


def test_the_first_catalogue_can_be_read_and_tells_what_it_uses():
    found = {name: parse_skill(text, f"skills/{name}/SKILL.md")
             for name, text in catalogue.shipped().items()}
    assert len(found) >= 10
    for skill in found.values():
        assert set(skill.uses) <= set(TOOLS) and "read" in skill.uses


# ---- in the state repo -------------------------------------------------------------------------

@pytest.fixture
def store(tmp_path) -> Store:
    made = filled(tmp_path)
    catalogue.teach(made, ANN, {})
    return made


def put(store: Store, path: str, text: str | None) -> str:
    return store.commit(ANN, "By hand", lambda _: {path: text})


def branch(store: Store, files: dict[str, str | None]) -> str:
    """A commit on top of main as somebody pushes it, judged by nobody yet."""
    head = store.head()
    root = store.objects.with_files(store.objects.tree_of(head), files)
    return store.draft(root, head, "Pushed", ANN)


def test_the_catalogue_is_the_platform_s_and_no_part_of_platform_yaml(store):
    platform = store.platform()
    assert set(platform.skills) == set(catalogue.shipped())
    assert "skills" not in dump(platform)
    changes.set_platform(store, ANN, "Days", lambda p: replace(p, grace_days=3))
    assert set(store.platform().skills) == set(catalogue.shipped())
    assert set(Store(store.path).snapshot().platform.skills) == set(catalogue.shipped())


def test_who_names_a_skill_names_one_that_there_is(store):
    with pytest.raises(RejectedError, match=r"spec.skills: names 'juggling'.*but: blog-draft"):
        changes.hire(store, ANN, "acme", "Pulse", "M", skills=("juggling",))
    made, _ = changes.hire(store, ANN, "acme", "Pulse", "M", skills=("meeting-notes",))
    assert made.skills == ("meeting-notes",)


def test_a_skill_that_somebody_has_does_not_go(store):
    made, _ = changes.hire(store, ANN, "acme", "Pulse", "M", skills=("meeting-notes",))
    with pytest.raises(RejectedError, match=f"{made.id}.yaml spec.skills: names 'meeting-notes'"):
        put(store, PATH, None)
    pushed = branch(store, {PATH: None})
    assert [v.field for v in violations_of(store, store.head(), pushed)] == ["spec.skills"]
    assert not violations_of(store, store.head(), branch(
        store, {"skills/lead-list/SKILL.md": None})), "nobody has that one"
    changes.change(store, ANN, "acme", made.id, skills=())
    put(store, PATH, None)
    assert "meeting-notes" not in store.platform().skills


@pytest.mark.parametrize(("path", "text", "says"), [
    (PATH, GOOD.replace("read write", "sudo"), f"{PATH}:5 allowed-tools"),
    (PATH, "no front matter", f"{PATH}:1 -: has no front matter"),
    ("skills/meeting-notes/run.sh", "x", "is no part of a skill here"),
    ("skills/Meeting!/SKILL.md", GOOD, "is no skill's name"),
    ("skills/notes", "x", "is a file"), ("skills/new/other.md", "x", "holds no SKILL.md"),
    ("skills", "x", "skills -: is a file"),
])
def test_a_push_of_a_broken_skill_is_refused_by_file_and_line(store, path, text, says):
    found = "\n".join(map(str, violations_of(store, store.head(), branch(store, {path: text}))))
    assert says in found, found
    assert not violations_of(store, store.head(), branch(store, {PATH: GOOD}))


def test_a_broken_skill_that_came_past_the_hooks_is_missing_and_everything_else_is_read(store):
    made = branch(store, {PATH: "broken", "README.md": "x"})
    store._door.run("update-ref", BRANCH, made)
    snapshot = store.snapshot()
    assert set(snapshot.platform.skills) == set(catalogue.shipped()) - {"meeting-notes"}
    assert not snapshot.customers["acme"].violations
    # What is wrong already keeps nobody from other changes, and is mended like anything.
    changes.hire(store, ANN, "acme", "Pulse", "M", skills=("lead-list",))
    put(store, PATH, GOOD)
    assert store.platform().skills["meeting-notes"].version == "1.2"


def test_a_skill_is_everybody_s_so_that_a_second_engineer_looks():
    assert is_protected([PATH]) and not is_protected(["customers/acme/customer.yaml"])


# ---- set-up ------------------------------------------------------------------------------------

def test_set_up_follows_what_nobody_touched_and_leaves_the_rest(tmp_path, monkeypatch):
    store = filled(tmp_path)
    old = catalogue.shipped()
    last = catalogue.teach(store, ANN, {})
    head = store.head()
    assert catalogue.teach(store, ANN, last) == last and store.head() == head
    mine = old["lead-list"].replace("# Lead list", "# Our lead list")
    put(store, "skills/lead-list/SKILL.md", mine)
    put(store, "skills/web-research/SKILL.md", None)
    newer = {name: text + "\nMore.\n" for name, text in old.items()} | {"meeting-minutes": (
        GOOD.replace("meeting-notes", "meeting-minutes"))}
    monkeypatch.setattr(catalogue, "shipped", lambda: newer)
    catalogue.teach(store, ANN, last)
    found = store.platform().skills
    assert found["meeting-notes"].text.endswith("More.\n") and "meeting-minutes" in found
    assert found["lead-list"].text == mine and "web-research" not in found
    head = store.head()
    catalogue.teach(store, ANN, {})
    assert store.head() == head, "a catalogue that another machine set up is left alone"
