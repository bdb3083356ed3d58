"""What a push may bring: every refusal has a path and a reason, and nothing is accepted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from state_repo import changes
from state_repo.store import Store
from tests.state_repo.test_store import ANN, filled, git, open_main


@pytest.fixture
def store(tmp_path):
    made = filled(tmp_path)
    open_main(made)
    changes.hire(made, ANN, "acme", "Pulse", "Marketing")
    made.install_hooks()
    return made


@pytest.fixture
def clone(store, tmp_path) -> Path:
    path = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store.path), str(path))
    for key, value in (("user.name", "Eve"), ("user.email", "eve@x.test")):
        git(path, "config", key, value)
    return path


def push(clone: Path, *what: str) -> subprocess.CompletedProcess[str]:
    what = what or ("HEAD:main",)
    return subprocess.run(["git", "-C", str(clone), "push", "-q", "origin", *what],
                          capture_output=True, text=True, check=False)


def entry(clone: Path, mode: str, content: bytes = b"x\n") -> str:
    """An object's name, for a tree that no work tree could hold."""
    if mode == "160000":
        return git(clone, "rev-parse", "HEAD")
    done = subprocess.run(["git", "-C", str(clone), "hash-object", "-w", "--stdin"], input=content,
                          capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_with(clone: Path, path: str, mode: str, content: bytes = b"x\n") -> None:
    made = entry(clone, mode, content)
    git(clone, "update-index", "--add", "--cacheinfo", f"{mode},{made},{path}")
    git(clone, "commit", "-qm", "odd")


@pytest.mark.parametrize(("path", "mode", "says"), [
    ("notes.txt", "100644", "notes.txt -: is no path of the state repo"),
    ("customers/acme/notes.txt", "100644", "customers/acme/notes.txt -: is no path"),
    ("customers/acme/secrets/a.yaml", "100644", "customers/acme/secrets -: is no path"),
    ("customers/acme/employees/a.txt", "100644", "employees/a.txt -: is no document"),
    ("customers/acme/employees/UP.yaml", "100644", "employees/UP.yaml -: is no document"),
    ("customers/acme/employees/link-aaaaaa.yaml", "120000", "is a symbolic link"),
    ("customers/acme/lessons", "100644", "customers/acme/lessons -: is a file"),
    ("customers/Acme!/customer.yaml", "100644", "is no customer's id"),
    ("customers/bolt", "100644", "customers/bolt -: is a file"),
    ("customers/acme/employees/sub-aaaaaa.yaml", "160000", "is a submodule"),
    ("platform.yaml/x", "100644", "is a folder"),
    ("sub", "160000", "is a submodule"),
])
def test_what_has_no_place_is_named(store, clone, path, mode, says):
    head = store.head()
    if path == "platform.yaml/x":
        git(clone, "rm", "-q", "--cached", "platform.yaml")
    commit_with(clone, path, mode)
    refused = push(clone)
    assert refused.returncode != 0 and says in refused.stderr, refused.stderr
    assert store.head() == head
    # The same, brought by a remote that has no hook of ours, stops nobody else and is told.
    git(store.path, "config", "receive.fsckObjects", "false")
    (store.path / "hooks" / "update").unlink()
    assert push(clone).returncode == 0
    if "platform" not in path and path.startswith("customers/acme/"):
        found = Store(store.path).snapshot().customers["acme"].violations
        assert any(says.partition(" -: ")[2] in str(v) or says in str(v) for v in found)


@pytest.mark.parametrize("name", ["..", ".git", "."])
def test_names_that_lead_elsewhere_are_refused(store, clone, name):
    blob = entry(clone, "100644")
    tree = subprocess.run(["git", "-C", str(clone), "mktree", "--missing"],
                          input=f"100644 blob {blob}\t{name}\n", capture_output=True, text=True,
                          check=True).stdout.strip()
    made = git(clone, "commit-tree", tree, "-p", "HEAD", "-m", "odd")
    head = store.head()
    refused = push(clone, f"{made}:refs/heads/main")
    assert refused.returncode != 0 and refused.stderr.strip()
    assert store.head() == head


def test_two_entries_of_one_name_and_a_commit_without_an_author_are_refused(store, clone):
    blob = bytes.fromhex(entry(clone, "100644"))
    data = b"100644 platform.yaml\0" + blob + b"100644 platform.yaml\0" + blob
    tree = subprocess.run(["git", "-C", str(clone), "hash-object", "-t", "tree", "-w", "--stdin",
                           "--literally"], input=data, capture_output=True, check=True)
    made = git(clone, "commit-tree", tree.stdout.decode().strip(), "-p", "HEAD", "-m", "twice")
    refused = push(clone, f"{made}:refs/heads/main")
    assert refused.returncode != 0 and "duplicateEntries" in refused.stderr
    raw = f"tree {git(clone, 'rev-parse', 'HEAD^{tree}')}\nparent {git(clone, 'rev-parse', 'HEAD')}"
    nobody = subprocess.run(["git", "-C", str(clone), "hash-object", "-t", "commit", "-w",
                             "--stdin", "--literally"], input=f"{raw}\n\nno author\n",
                            capture_output=True, text=True, check=True).stdout.strip()
    refused = push(clone, f"{nobody}:refs/heads/main")
    assert refused.returncode != 0 and "missingAuthor" in refused.stderr


def test_what_is_too_large_is_refused_before_it_is_read(store, clone):
    head = store.head()
    commit_with(clone, "README.md", "100644", os.urandom(40 << 20))
    refused = push(clone)
    assert refused.returncode != 0 and "exceeds maximum allowed size" in refused.stderr
    git(clone, "reset", "-q", "--hard", "origin/main")
    pulse = next(iter(store.snapshot().customers["acme"].employees.values()))
    commit_with(clone, pulse.path, "100644", b"# " + b"a" * (20 << 20))
    refused = push(clone)
    assert refused.returncode != 0 and "larger than 256 KiB" in refused.stderr
    assert store.head() == head


@pytest.mark.parametrize(("ref", "says"), [
    ("HEAD:refs/tags/v1", "only branches are taken"), ("HEAD:refs/applied/x", "only branches"),
    ("HEAD:refs/heads/-x", ""), (":refs/heads/main", "deletion")])
def test_only_branches_are_pushed_and_main_stays(store, clone, ref, says):
    refused = push(clone, ref)
    assert refused.returncode != 0 and says in refused.stderr
    assert store.head()


def test_history_is_not_rewritten_by_a_push(store, clone):
    head = store.head()
    git(clone, "reset", "-q", "--hard", "HEAD~1")
    git(clone, "commit", "-q", "--allow-empty", "-m", "another past")
    refused = push(clone, "--force", "HEAD:main")
    assert refused.returncode != 0 and "non-fast-forward" in refused.stderr
    assert store.head() == head


def test_what_belongs_there_is_accepted(store, clone):
    (clone / "README.md").write_text("Our desired state.\n")
    git(clone, "add", "README.md")
    git(clone, "commit", "-qm", "A word to people")
    assert push(clone).returncode == 0
    assert push(clone, "HEAD:refs/heads/proposal/one.two").returncode == 0
