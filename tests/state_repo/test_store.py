"""Commits: none lost, none doubled, the seat limit never passed, whoever writes at once."""

from __future__ import annotations

import subprocess
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policies.documents import check_customer
from state_repo import changes
from state_repo.documents import Platform, Review, employee_path
from state_repo.git_door import GitDoor
from state_repo.instance import Instance
from state_repo.parsing import DocumentError, dump
from state_repo.store import Author, RejectedError, Store

ANN = Author("Ann <x>\nEvil", "ann@acme.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"


def git(path: Path, *arguments: str, check: bool = True) -> str:
    return subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True,
                          check=check).stdout.strip()


def filled(data: Path, seats: int = 10) -> Store:
    store = Store.open_or_create(Instance(id="0badcafe", data=data), check_customer)
    changes.set_platform(store, ANN, "Platform", lambda _: Platform(images={"employee": IMAGE}))
    changes.create_customer(store, ANN, "acme", "Acme", seats)
    return store


def open_main(store: Store) -> None:
    """Lets main itself take pushes."""
    changes.set_platform(store, ANN, "Open", lambda p: replace(p, review=Review(True)))


def test_a_hire_is_one_commit_by_its_author_that_git_finds_sound(tmp_path):
    store = filled(tmp_path)
    made, sha = changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    info = store.commit_info(sha)
    assert info.subject == "Hire Pulse for acme"
    assert (info.author_name, info.author_email) == ("Ann xEvil", "ann@acme.test")
    changed = git(store.path, "show", "--name-only", "--format=", sha)
    assert changed == employee_path("acme", made.id)
    assert git(store.path, "fsck", "--strict") == ""
    assert store.snapshot().customers["acme"].employees[made.id] == made


def _hire_from_another_process(path: str) -> str:
    store = Store(Path(path), rules=check_customer)
    try:
        return changes.hire(store, ANN, "acme", "Pulse", "Marketing")[0].id
    except RejectedError:
        return ""


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_fifty_parallel_hires_fill_the_seats_exactly(tmp_path, pool):
    store = filled(tmp_path, seats=40)
    with pool(8) as workers:
        hired = [i for i in workers.map(_hire_from_another_process, [str(store.path)] * 50) if i]
    found = Store(store.path).snapshot().customers["acme"].employees
    assert len(hired) == len(set(hired)) == 40
    assert set(found) == set(hired)
    assert int(git(store.path, "rev-list", "--count", "main")) == 42


def test_two_clones_of_a_remote_lose_nothing(tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    stores = []
    for name in ("one", "two"):
        instance = Instance(id="0badcafe", data=tmp_path / name, remote=str(remote))
        stores.append(Store.open_or_create(instance, check_customer))
    changes.set_platform(stores[0], ANN, "P", lambda _: Platform(images={"employee": IMAGE}))
    stores[1].fetch()
    changes.create_customer(stores[1], ANN, "acme", "Acme", 100)
    stores[0].fetch()

    def hire_ten(store: Store) -> None:
        for _ in range(10):
            changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(hire_ten, stores))
    stores[0].fetch()
    assert len(stores[0].snapshot().customers["acme"].employees) == 20
    assert git(remote, "rev-list", "--count", "main") == "22"


def test_what_the_rules_refuse_is_not_committed(tmp_path):
    store = filled(tmp_path, seats=1)
    changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    head = store.head()
    with pytest.raises(RejectedError, match="2 employees would hold a seat"):
        changes.hire(store, ANN, "acme", "Echo", "Sales")
    assert store.head() == head


def test_the_verbs_and_what_makes_no_sense(tmp_path):
    store = filled(tmp_path, seats=1)
    made, _ = changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    assert changes.pause(store, ANN, "acme", made.id)[0].state == "paused"
    assert changes.resume(store, ANN, "acme", made.id)[0].state == "running"
    assert changes.retry(store, ANN, "acme", made.id)[0].restarts == 1
    retired, sha = changes.retire(store, ANN, "acme", made.id, now=datetime(2026, 5, 1, tzinfo=UTC))
    assert retired.retired_at == "2026-05-01T00:00:00+00:00"
    assert changes.retire(store, ANN, "acme", made.id)[1] == sha, "a second time changes nothing"
    with pytest.raises(changes.ChangeError, match="hire anew"):
        changes.resume(store, ANN, "acme", made.id)
    with pytest.raises(changes.NotFoundError):
        changes.pause(store, ANN, "acme", "nobody-aaaaaa")
    with pytest.raises(changes.NotFoundError):
        changes.hire(store, ANN, "bolt", "Pulse", "Marketing")
    changes.hire(store, ANN, "acme", "Echo", "Sales")  # the retired one's seat is free


def test_customers_get_subnets_of_their_own(tmp_path):
    store = filled(tmp_path)
    other, _ = changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    assert store.snapshot().customers["acme"].customer.subnet != other.subnet
    with pytest.raises(changes.ChangeError, match="exists already"):
        changes.create_customer(store, ANN, "bolt", "Bolt", 3)


def commit_file(store: Store, path: str, text: str | None) -> None:
    Store(store.path).commit(ANN, "by hand", lambda _: {path: text})


def test_a_corrupt_file_is_told_and_hides_nobody_else(tmp_path):
    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    made, _ = changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    commit_file(store, made.path, "kind: Employee\nspec: [\n")
    snapshot = store.snapshot()
    assert str(snapshot.customers["acme"].violations[0]).startswith(f"{made.path}:3")
    assert snapshot.customers["bolt"].violations == ()


@pytest.mark.parametrize(("path", "says"), [
    ("customers/acme/employees/other-aaaaaa.yaml", "is not its file's name"),
    ("customers/bolt/employees/{id}.yaml", "write bolt"),
    ("customers/acme/employees/notes.txt", "is no document"),
])
def test_a_document_in_the_wrong_place_is_told(tmp_path, path, says):
    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    made, _ = changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    text = git(store.path, "show", f"main:{made.path}") + "\n"
    commit_file(store, path.format(id=made.id), text)
    customer = path.split("/")[1]
    assert any(says in str(v) for v in store.snapshot().customers[customer].violations)


def test_without_a_platform_there_is_no_snapshot(tmp_path):
    store = Store.open_or_create(Instance(id="0badcafe", data=tmp_path))
    with pytest.raises(DocumentError, match="make run"):
        store.snapshot()


def test_a_push_meets_the_same_rules(tmp_path):
    store = filled(tmp_path, seats=1)
    open_main(store)
    store.install_hooks()
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store.path), str(clone))
    for key, value in (("user.name", "Eve"), ("user.email", "eve@x.test")):
        git(clone, "config", key, value)
    path = clone / "customers/acme/customer.yaml"
    good = path.read_text()

    def push(text: str, branch: str) -> subprocess.CompletedProcess[str]:
        path.write_text(text)
        git(clone, "commit", "-qam", "change")
        return subprocess.run(["git", "-C", str(clone), "push", "origin", f"HEAD:{branch}"],
                              capture_output=True, text=True, check=False)
    refused = push(good.replace("maxEmployees: 1", "maxEmployees: lots"), "proposal")
    assert refused.returncode != 0
    assert "customer.yaml:7 spec.maxEmployees: is 'lots'" in refused.stderr
    assert push(good.replace("maxEmployees: 1", "maxEmployees: 5"), "main").returncode == 0
    assert store.snapshot().customers["acme"].customer.max_employees == 5


def test_unchanged_customers_are_not_read_again(tmp_path, monkeypatch):
    store = filled(tmp_path)
    store.snapshot()
    read = []
    original = Store._read_state
    monkeypatch.setattr(Store, "_read_state", lambda self, name, tree: (
        read.append(name), original(self, name, tree))[1])
    changes.create_customer(store, ANN, "bolt", "Bolt", 1)
    assert set(store.snapshot().customers) == {"acme", "bolt"}
    assert read == ["bolt"]


def test_what_all_share_is_read_without_reading_everybody(tmp_path, monkeypatch):
    filled(tmp_path)
    store = Store.open_or_create(Instance(id="0badcafe", data=tmp_path))
    monkeypatch.setattr(Store, "_read_state", lambda *_: pytest.fail("a customer was read"))
    assert store.platform().images == {"employee": IMAGE}
    head = store.head()
    assert list(store.customers(head)) == ["acme"]
    assert store.customers(head)["acme"] == git(store.path, "rev-parse", "main:customers/acme")


def test_minted_ids_are_safe_names():
    for name in ("Pulse", "Ünïcode Ärger", "123", "x" * 200, "!!!", "日本"):
        made = changes.mint_id(name)
        assert len(made) <= 40 and made[0].isalpha() and "--" not in made
        assert made.replace("-", "").isalnum() and made == made.lower() and made.isascii()


def test_an_author_can_not_forge_a_header():
    assert str(replace(ANN, name="A\ncommitter B <b@x> 1 +0000")) == (
        "Acommitter B b@x 1 +0000 <ann@acme.test>")


def test_packing_loses_nothing_and_commits_go_on(tmp_path, monkeypatch):
    store = filled(tmp_path, seats=100)
    git(store.path, "config", "gc.auto", "1")
    for _ in range(5):
        changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    git(store.path, "gc", "--quiet", "--prune=now")
    store.pack()
    assert store.head() == git(store.path, "rev-parse", "main")
    assert not (store.path / "refs/heads/main").exists(), "the branch is packed too"
    fresh = Store(store.path)
    with monkeypatch.context() as patch:
        patch.setattr(GitDoor, "run", lambda *_, **__: pytest.fail("a process for each look"))
        assert fresh.head() == store.head()
    assert len(fresh.snapshot().customers["acme"].employees) == 5
    changes.hire(store, ANN, "acme", "Echo", "Sales")
    assert len(Store(store.path).snapshot().customers["acme"].employees) == 6


def test_the_commits_of_one_customer_are_told_from_anothers(tmp_path):
    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    before = store.head()
    first = changes.hire(store, ANN, "acme", "Pulse", "Marketing")[1]
    other = changes.hire(store, ANN, "bolt", "Echo", "Sales")[1]
    second = changes.hire(store, ANN, "acme", "Nova", "Support")[1]
    last = changes.hire(store, ANN, "bolt", "Iris", "Sales")[1]
    found = store.commits_touching("customers/acme", before, last)
    assert [c.sha for c in found] == [second, first]
    assert [c.subject for c in found] == ["Hire Nova for acme", "Hire Pulse for acme"]
    nova, pulse = (path.removeprefix("customers/acme/employees/").removesuffix(".yaml")
                   for commit in found for path in commit.paths)
    assert found[0].concerns(nova) and not found[0].concerns(pulse)
    (company,) = store.commits_touching("customers/bolt", None, before)
    assert company.concerns(nova), "what changes the company may change anybody"
    assert replace(company, paths=()).concerns(nova), "so may a merge, of which git names no paths"
    assert [c.sha for c in store.commits_touching("customers/acme", second, last)] == []
    assert [c.sha for c in store.commits_touching("customers/bolt", before, second)] == [other]
    assert store.commits_touching("customers/nobody", None, last) == []


def test_what_people_write_into_a_commit_breaks_no_reading(tmp_path):
    store = filled(tmp_path)
    before = store.head()
    odd = Author("A\x1enn \x1f", "ann@acme.test")
    made = changes.hire(store, odd, "acme", "Pulse", "Marketing")[0]
    sha = store.commit(odd, "odd \x1e\x1f subject", lambda _: {
        made.path: dump(replace(made, role="Sales"))}, "acme")
    (newest, _) = store.commits_touching("customers/acme", before, sha)
    assert (newest.sha, newest.paths) == (sha, (made.path,))
    assert newest.subject.startswith("odd") and newest.subject.endswith("subject")


def limits(**values: int):
    return lambda old: replace(old, limits=replace(old.limits, **values))


def test_a_change_of_the_platform_says_whom_it_breaks(tmp_path):
    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    made = changes.hire(store, ANN, "bolt", "Echo", "Sales")[0]
    head = store.head()
    tight = limits(max_memory_mb=1024)
    with pytest.raises(RejectedError) as refused:
        changes.set_platform(store, ANN, "Tighter", lambda old: replace(
            tight(old), defaults=replace(old.defaults, memory_mb=512)))
    assert [v.path for v in refused.value.violations] == [made.path]
    assert store.head() == head


def in_violation(tmp_path) -> tuple[Store, str]:
    """Two employees that are larger than the platform (changed behind the rules) allows."""
    store = filled(tmp_path, seats=2)
    ids = [changes.hire(store, ANN, "acme", name, "Sales")[0].id for name in ("Pulse", "Echo")]
    changes.set_platform(Store(store.path), ANN, "Behind the rules", limits(max_memory_mb=1024))
    return store, ids[0]


def test_who_is_in_violation_can_be_paused_and_made_smaller_and_not_larger(tmp_path):
    store, pulse = in_violation(tmp_path)
    assert changes.pause(store, ANN, "acme", pulse)[0].state == "paused"
    smaller = changes.change(store, ANN, "acme", pulse, resources={"memory_mb": 2048})[0]
    assert smaller.resources.memory_mb == 2048, "less is allowed, though it is still too much"
    with pytest.raises(RejectedError, match="is 4096"):
        changes.change(store, ANN, "acme", pulse, resources={"memory_mb": 4096})
    with pytest.raises(RejectedError, match="3 employees would hold a seat"):
        changes.change(store, ANN, "acme", pulse, resources={"memory_mb": 512})
        changes.hire(store, ANN, "acme", "Nova", "Sales")


def test_larger_subnets_break_no_customer_that_has_a_smaller_one(tmp_path):
    store = filled(tmp_path)
    changes.set_platform(store, ANN, "Larger", lambda old: replace(
        old, network=replace(old.network, prefix_length=24)))
    changes.set_seats(store, ANN, "acme", max_employees=11)
    with pytest.raises(RejectedError, match=r"spec\.network\.subnet"):
        changes.set_seats(store, ANN, "acme", max_employees=500)


def test_a_broken_platform_is_mended_by_a_push_and_by_set_up(tmp_path):
    store = filled(tmp_path)
    store.install_hooks()
    good = git(store.path, "show", "main:platform.yaml") + "\n"
    commit_past_all_rules(store, "platform.yaml", "kind: Platform\nspec: [\n")
    with pytest.raises(DocumentError):
        store.snapshot()
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store.path), str(clone))
    (clone / "platform.yaml").write_text(good)
    done = subprocess.run(["git", "-C", str(clone), "-c", "user.name=E", "-c", "user.email=e@x.y",
                           "commit", "-qam", "mend"], capture_output=True, check=False)
    assert done.returncode == 0
    pushed = subprocess.run(["git", "-C", str(clone), "push", "origin", "HEAD:main"],
                            capture_output=True, text=True, check=False)
    assert pushed.returncode == 0, pushed.stderr
    assert store.snapshot().platform.images == {"employee": IMAGE}
    assert store.restore_platform(ANN) is None
    commit_past_all_rules(store, "platform.yaml", "spec: ]\n")
    commit_past_all_rules(store, "platform.yaml", "kind: Nothing\n")
    assert store.restore_platform(ANN)
    assert store.snapshot().platform.images == {"employee": IMAGE}


def commit_past_all_rules(store: Store, path: str, text: str) -> None:
    """What somebody with a shell on the machine can do."""
    head = store.head()
    root = store.objects.with_files(store.objects.tree_of(head), {path: text})
    made = store._write_commit(head, root, ANN, "by hand")
    git(store.path, "update-ref", "refs/heads/main", made)


def test_what_was_applied_survives_a_rewrite_and_a_collection(tmp_path):
    store = filled(tmp_path)
    changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    applied = store.head()
    store.keep(applied)
    git(store.path, "update-ref", "refs/heads/main", git(store.path, "rev-parse", "main~2"))
    git(store.path, "reflog", "expire", "--expire=now", "--all")
    git(store.path, "gc", "--quiet", "--prune=now")
    assert Store(store.path).read_customer(applied, "acme").customer is not None


def test_a_push_reads_only_whom_it_touches(tmp_path, monkeypatch):
    from policies.check_push import violations_of

    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    before = store.head()
    changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    fresh, read = Store(store.path, rules=check_customer), []
    original = Store._read_state
    monkeypatch.setattr(Store, "_read_state", lambda self, name, tree: (
        read.append(name), original(self, name, tree))[1])
    assert violations_of(fresh, before, store.head()) == []
    assert set(read) == {"acme"}


def test_who_was_retired_long_ago_is_forgotten_and_nobody_else(tmp_path):
    store = filled(tmp_path)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    ids = {}
    for name, days in (("Ancient", 105), ("Recent", 103), ("Working", None)):
        ids[name] = changes.hire(store, ANN, "acme", name, "Sales")[0].id
        if days is not None:
            changes.retire(store, ANN, "acme", ids[name], now=now - timedelta(days=days))
    assert changes.forget_retired(store, ANN, "acme", now)
    left = store.snapshot().customers["acme"].employees
    assert set(left) == {ids["Recent"], ids["Working"]}
    head = store.head()
    assert changes.forget_retired(store, ANN, "acme", now) is None and store.head() == head


def test_an_id_of_another_customer_is_refused_at_commit_and_on_a_push(tmp_path):
    from policies.check_push import violations_of

    store = filled(tmp_path)
    changes.create_customer(store, ANN, "bolt", "Bolt", 3)
    made = changes.hire(store, ANN, "acme", "Pulse", "Marketing")[0]
    copy = {employee_path("bolt", made.id): git(
        store.path, "show", f"main:{made.path}").replace("customer: acme", "customer: bolt")}
    with pytest.raises(RejectedError) as refused:
        store.commit(ANN, "theft", lambda _: copy, "bolt")
    (violation,) = refused.value.violations
    assert violation.path == employee_path("bolt", made.id) and violation.line == 4
    assert f"acme's already ({made.path}:4)" in violation.message
    before = store.head()
    root = store.objects.with_files(store.objects.tree_of(before), copy)
    pushed = store._write_commit(before, root, ANN, "theft")
    (told,) = violations_of(Store(store.path, rules=check_customer), before, pushed)
    assert made.path in told.message
    assert changes.pause(store, ANN, "acme", made.id)[0].state == "paused", "its owner goes on"
