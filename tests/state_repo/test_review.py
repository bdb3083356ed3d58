"""Changes: branches, what they differ in, how they become part of main, and how that is taken
back. Real git, pushed as an engineer does."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from state_repo import changes
from state_repo.documents import employee_path
from state_repo.layout import is_protected
from state_repo.parsing import dump
from state_repo.review import ChangeConflictError, Changes, NoChangeError
from state_repo.store import Author, ConflictError, RejectedError, Store
from tests.state_repo.test_push import push
from tests.state_repo.test_store import ANN, filled, git

EVE = Author("Eve", "eve@x.test")


@pytest.fixture
def store(tmp_path) -> Store:
    made = filled(tmp_path)
    changes.hire(made, ANN, "acme", "Pulse", "Marketing")
    made.install_hooks()
    return made


@pytest.fixture
def clone(store, tmp_path) -> Path:
    path = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store.path), str(path))
    for key, value in (("user.name", EVE.name), ("user.email", EVE.email)):
        git(path, "config", key, value)
    return path


def employees(store: Store) -> list:
    return list(store.snapshot().customers["acme"].employees.values())


def proposed(clone: Path, branch: str, path: str, old: str, new: str, subject: str = "Change"
             ) -> subprocess.CompletedProcess[str]:
    """Pushes a branch off origin's main that replaces some text of one file."""
    git(clone, "fetch", "-q")
    git(clone, "switch", "-qC", branch, "origin/main")
    text = (clone / path).read_text()
    assert old in text
    (clone / path).write_text(text.replace(old, new))
    git(clone, "commit", "-qam", subject)
    return push(clone, f"+HEAD:{branch}")


def test_main_takes_no_push_and_says_what_to_do(store, clone):
    (clone / "README.md").write_text("hello")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "hello")
    refused = push(clone)
    assert refused.returncode != 0
    assert "main takes no pushes" in refused.stderr and "HEAD:<name>" in refused.stderr
    assert push(clone, "HEAD:hello").returncode == 0


def test_a_branch_with_a_mistake_is_refused_with_its_line(store, clone):
    (pulse,) = employees(store)
    refused = proposed(clone, "big", pulse.path, "memoryMb: 3072", "memoryMb: plenty")
    assert refused.returncode != 0
    assert f"{pulse.path}:" in refused.stderr and "memoryMb: is 'plenty'" in refused.stderr
    assert Changes(store).names() == []


def test_what_a_change_differs_in_is_told_by_field(store, clone):
    (pulse,) = employees(store)
    assert proposed(clone, "team/more-memory", pulse.path, "memoryMb: 3072", "memoryMb: 4096",
                    "Give Pulse more memory").returncode == 0
    made = Changes(store)
    assert made.names() == ["team/more-memory"]
    change = made.find("team/more-memory")
    assert [c.subject for c in change.commits] == ["Give Pulse more memory"]
    assert change.authors == {"eve@x.test"} and change.main == store.head()
    (file,) = made.files(change.main, made.merged(change))
    assert file.path == pulse.path
    assert file.fields() == [("spec.resources.memoryMb", 3072, 4096)]
    assert "-    memoryMb: 3072" in file.diff() and "+    memoryMb: 4096" in file.diff()
    assert not is_protected([file.path]) and is_protected(["platform.yaml"])


def test_a_document_that_comes_or_goes_has_all_its_fields(store, clone):
    (pulse,) = employees(store)
    made = Changes(store)
    other = replace(pulse, id="other-aaaaaa", name="Other")
    git(clone, "switch", "-qc", "two", "origin/main")
    (clone / other.path).write_text(dump(other))
    (clone / pulse.path).unlink()
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "Swap")
    assert push(clone, "HEAD:two").returncode == 0
    change = made.find("two")
    by_path = {file.path: file for file in made.files(change.main, made.merged(change))}
    assert ("metadata.name", None, "Other") in by_path[other.path].fields()
    assert ("metadata.name", "Pulse", None) in by_path[pulse.path].fields()


def test_a_merge_is_one_commit_on_main_by_its_author_with_trailers(store, clone):
    (pulse,) = employees(store)
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 4096", "First")
    (clone / pulse.path).write_text((clone / pulse.path).read_text().replace(
        "cpus: 1.0", "cpus: 2.0"))
    git(clone, "commit", "-qam", "Second")
    assert push(clone, "HEAD:more").returncode == 0
    changes.hire(store, ANN, "acme", "Spark", "Sales")  # main goes on beside it
    made, before = Changes(store), store.head()
    change = made.find("more")
    sha = made.merge(change, None, [
        ("Change", "more"), ("Approved-by", "Ann\n<ann@acme.test>")])
    assert store.head() == sha and store.objects.parent_of(sha) == before
    info = store.commit_info(sha)
    assert (info.subject, info.author_email) == ("Second", "eve@x.test")
    told = git(store.path, "log", "-1", "--format=%B", sha)
    assert "- Second\n- First" in told
    assert git(store.path, "log", "-1", "--format=%(trailers:key=Approved-by,valueonly)", sha
               ) == "Ann <ann@acme.test>"
    by_name = {e.name: e for e in employees(store)}
    assert by_name["Pulse"].resources.memory_mb == 4096 and by_name["Pulse"].resources.cpus == 2
    assert "Spark" in by_name, "what main did meanwhile is there as well"
    assert made.names() == [] and git(store.path, "cat-file", "-t", change.head) == "commit"
    assert git(store.path, "rev-parse", f"refs/reviewed/{change.head}") == change.head
    with pytest.raises(NoChangeError, match="merged or closed"):
        made.find("more")


def test_a_branch_or_a_main_that_moved_is_not_merged(store, clone):
    (pulse,) = employees(store)
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 4096")
    made = Changes(store)
    change = made.find("more")
    changes.hire(store, ANN, "acme", "Spark", "Sales")
    before = store.head()
    with pytest.raises(ConflictError, match="main moved"):
        made.merge(change, None, ())
    seen = made.find("more")
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 5120")
    with pytest.raises(ConflictError, match="pushed again"):
        made.merge(seen, None, ())
    with pytest.raises(ConflictError, match="pushed again"):
        made.close(seen)
    assert store.head() == before and made.names() == ["more"]


def test_what_is_pushed_while_it_is_merged_stays_a_change(store, clone, monkeypatch):
    (pulse,) = employees(store)
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 4096")
    made, adopt = Changes(store), Store.adopt
    change = made.find("more")

    def slow(*arguments) -> str:
        (clone / pulse.path).write_text((clone / pulse.path).read_text().replace(
            "cpus: 1.0", "cpus: 2.0"))
        git(clone, "commit", "-qam", "One more")
        assert push(clone, "HEAD:more").returncode == 0
        return adopt(*arguments)
    monkeypatch.setattr(Store, "adopt", slow)
    sha = made.merge(change, None, ())
    assert store.head() == sha and made.names() == ["more"]
    (one,) = employees(store)
    assert (one.resources.memory_mb, one.resources.cpus) == (4096, 1.0)


def test_two_that_changed_the_same_are_told_apart(store, clone):
    (pulse,) = employees(store)
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 4096")
    changes.change(store, ANN, "acme", pulse.id, resources={"memory_mb": 2048})
    made = Changes(store)
    with pytest.raises(ChangeConflictError) as told:
        made.merged(made.find("more"))
    assert told.value.paths == (pulse.path,) and "git rebase" in str(told.value)


def test_a_merge_meets_the_rules_of_what_main_is_by_then(store, clone):
    (pulse,) = employees(store)
    proposed(clone, "big", pulse.path, "memoryMb: 3072", "memoryMb: 8192")
    changes.set_platform(store, ANN, "Smaller", lambda p: replace(
        p, limits=replace(p.limits, max_memory_mb=4096)))
    made, before = Changes(store), store.head()
    with pytest.raises(RejectedError, match="memoryMb"):
        made.merge(made.find("big"), None, ())
    assert store.head() == before and made.names() == ["big"]


def test_a_roll_back_is_a_change_like_any_other(store, clone):
    (pulse,) = employees(store)
    proposed(clone, "more", pulse.path, "memoryMb: 3072", "memoryMb: 4096", "More")
    made = Changes(store)
    sha = made.merge(made.find("more"), None, [("Change", "more")])
    changes.hire(store, ANN, "acme", "Spark", "Sales")
    back = made.roll_back(sha, EVE)
    assert back.subject == 'Roll back "More"' and back.authors == {"eve@x.test"}
    (file,) = made.files(back.main, made.merged(back))
    assert file.fields() == [("spec.resources.memoryMb", 4096, 3072)]
    with pytest.raises(ConflictError, match="exists already"):
        made.roll_back(sha, EVE)
    again = made.merge(back, None, ())
    assert {e.resources.memory_mb for e in employees(store)} == {3072}
    with pytest.raises(NoChangeError, match="taken back already"):
        made.roll_back(sha, EVE)
    forth = made.roll_back(again, EVE)  # a roll-back can be rolled back
    assert made.files(forth.main, made.merged(forth))[0].fields() == [
        ("spec.resources.memoryMb", 3072, 4096)]


def test_what_later_commits_changed_is_not_rolled_back_over(store):
    (pulse,) = employees(store)
    for size in (4096, 5120):
        changes.change(store, ANN, "acme", pulse.id, resources={"memory_mb": size})
    first = store.objects.parent_of(store.head())
    with pytest.raises(ChangeConflictError, match="later commits") as told:
        Changes(store).roll_back(first, EVE)
    assert told.value.paths == (employee_path("acme", pulse.id),)
    for wrong in ("f" * 40, "main", "HEAD", "--all"):
        with pytest.raises(NoChangeError):
            Changes(store).roll_back(wrong, EVE)


@pytest.mark.parametrize("name", ["main", "../x", "-d", "a b", "x" * 300, "", "x@{1}", "a..b"])
def test_no_odd_name_reaches_git(store, name):
    with pytest.raises(NoChangeError):
        Changes(store).find(name)


def test_a_draft_is_the_same_for_the_same_tree(store):
    tree = store.objects.tree_of(store.head())
    assert store.draft(tree, store.head()) == store.draft(tree, store.head())
