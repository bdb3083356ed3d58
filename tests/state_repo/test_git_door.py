"""Git misbehaves in many ways; each is told apart, and none loses or doubles a change."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from policies.documents import check_customer
from state_repo import changes, git_door
from state_repo.documents import Platform
from state_repo.git_door import BRANCH, GitDoor, GitError, GitLockedError, flocked
from state_repo.instance import Instance
from state_repo.store import Store
from tests.state_repo.test_store import ANN, IMAGE, filled, git


def lock(store: Store, name: str = f"{BRANCH}.lock", age_s: float = 7200) -> Path:
    path = store.path / name
    path.touch()
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def hire(store: Store) -> str:
    return changes.hire(store, ANN, "acme", "Pulse", "Marketing")[1]


@pytest.mark.parametrize("name", [f"{BRANCH}.lock", "HEAD.lock"])
def test_a_lock_of_the_dead_is_removed_and_the_change_lands(tmp_path, name, caplog):
    store = filled(tmp_path)
    left = lock(store, name)
    hire(store)
    store.free_locks()  # HEAD's lock is in nobody's way until somebody changes HEAD
    assert len(store.snapshot().customers["acme"].employees) == 1
    assert not left.exists() and f"removed {left}" in caplog.text


def test_the_loop_frees_what_a_writer_behind_walls_can_not_judge(tmp_path, monkeypatch):
    store = filled(tmp_path)
    left = [lock(store, name) for name in git_door._LOCKS]
    monkeypatch.setattr(git_door, "_sees_everybody", lambda: False)
    assert store.free_locks() == []
    monkeypatch.undo()
    assert sorted(store.free_locks()) == sorted(left)


def test_a_lock_that_goes_is_waited_for(tmp_path):
    store = filled(tmp_path)
    held = lock(store, age_s=0)
    threading.Timer(0.4, held.unlink).start()
    began = time.monotonic()
    hire(store)
    assert time.monotonic() - began >= 0.3


def test_a_live_lock_is_never_broken_and_is_named(tmp_path, monkeypatch):
    store = filled(tmp_path)
    monkeypatch.setattr(git_door, "LOCK_PATIENCE_S", 0.3)
    head = store.head()
    held = lock(store)
    with open(held):
        with pytest.raises(GitLockedError, match=r"main\.lock"):
            hire(store)
        assert held.exists() and store.head() == head
    hire(store)


def test_a_young_lock_is_not_proved_dead(tmp_path, monkeypatch):
    store = filled(tmp_path)
    monkeypatch.setattr(git_door, "LOCK_PATIENCE_S", 0.2)
    lock(store, age_s=5)
    with pytest.raises(GitLockedError, match="Nothing was changed"):
        hire(store)


def test_a_git_call_that_hangs_is_ended(tmp_path):
    store = filled(tmp_path)
    git(store.path, "config", "alias.hang", "!sleep 30")
    began = time.monotonic()
    with pytest.raises(GitError, match="did not end in"):
        GitDoor(store.path).run("hang", timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_the_lock_of_a_holder_is_named_when_it_stays(tmp_path):
    held = tmp_path / "a.lock"
    with flocked(held, 1), pytest.raises(GitLockedError, match=r"a\.lock"), flocked(held, 0.05):
        pass


@pytest.fixture
def remote(tmp_path):
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    return path


def clone_of(remote: Path, data: Path) -> Store:
    return Store.open_or_create(Instance(id="0badcafe", data=data, remote=str(remote)),
                                check_customer)


def with_acme(remote: Path, data: Path) -> Store:
    store = clone_of(remote, data)
    changes.set_platform(store, ANN, "P", lambda _: Platform(images={"employee": IMAGE}))
    changes.create_customer(store, ANN, "acme", "Acme", 100)
    return store


def test_what_is_pushed_is_made_once_though_a_fetch_comes_between(tmp_path, remote, monkeypatch):
    store = with_acme(remote, tmp_path / "one")
    original = GitDoor._move

    def late(self, new, old):  # somebody's fetch lands between the push and the branch here
        git(self.path, "fetch", "-q", str(remote), f"+{BRANCH}:{BRANCH}")
        return original(self, new, old)
    monkeypatch.setattr(GitDoor, "_move", late)
    hire(store)
    assert len(store.snapshot().customers["acme"].employees) == 1
    assert git(remote, "rev-list", "--count", "main") == "3"


def test_what_is_pushed_is_made_though_the_branch_here_stays_locked(tmp_path, remote, monkeypatch):
    store = with_acme(remote, tmp_path / "one")
    monkeypatch.setattr(git_door, "LOCK_PATIENCE_S", 0.2)
    held = lock(store, age_s=0)
    sha = hire(store)
    assert git(remote, "rev-parse", "main") == sha
    held.unlink()
    store.fetch()
    assert store.head() == sha


def test_hires_beside_fetches_and_pushes_all_land(tmp_path, remote):
    store = with_acme(remote, tmp_path / "one")
    other, done = Store(store.path, str(remote)), threading.Event()
    failures: list[Exception] = []

    def fetch_all_the_time() -> None:
        while not done.wait(0.05):
            try:
                other.fetch()
            except GitError as error:
                failures.append(error)

    def push(number: int) -> None:
        clone = clone_of(remote, tmp_path / f"clone{number}")
        changes.create_customer(clone, ANN, f"c{number}", "C", 1)
    fetcher = threading.Thread(target=fetch_all_the_time)
    fetcher.start()
    with ThreadPoolExecutor(10) as workers:
        hires = [workers.submit(hire, store) for _ in range(8)]
        pushes = [workers.submit(push, number) for number in range(4)]
        for future in (*hires, *pushes):
            future.result()
    done.set()
    fetcher.join()
    store.fetch()
    assert failures == []
    assert len(store.snapshot().customers["acme"].employees) == 8
    assert len(store.snapshot().customers) == 5


def test_a_remote_that_is_away_stops_neither_start_nor_reading(tmp_path, remote):
    with_acme(remote, tmp_path / "one")
    remote.rename(tmp_path / "gone")
    store = clone_of(remote, tmp_path / "one")
    assert list(store.snapshot().customers) == ["acme"]
    head = store.head()
    with pytest.raises(GitError, match="cannot push to"):
        hire(store)
    assert store.head() == head


def test_what_a_remote_refuses_is_told_in_its_words(tmp_path, remote):
    store = with_acme(remote, tmp_path / "one")
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no hires on Fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="no hires on Fridays"):
        hire(store)


def test_readers_wait_for_no_remote(tmp_path, remote):
    store = with_acme(remote, tmp_path / "one")
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nsleep 1\n")
    hook.chmod(0o755)
    hiring = threading.Thread(target=hire, args=(store,))
    hiring.start()
    time.sleep(0.3)
    began = time.monotonic()
    store.snapshot()
    assert time.monotonic() - began < 0.5 and hiring.is_alive()
    hiring.join()
