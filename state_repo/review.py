"""Changes: branches beside main, which engineers review before main becomes what they say.

A change is merged as one commit on main, by the author of its newest commit, with trailers that say
how it came there; so main stays a line, each commit of it can be rolled back by itself, and the
receipts of what it did name it. The branch goes, its commits are kept (`refs/reviewed/`).
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from state_repo import StateRepoError
from state_repo.git_door import GitDoor, GitError
from state_repo.parsing import MAX_BYTES, DocumentError, parse, values_of
from state_repo.store import Author, CommitInfo, ConflictError, Store

NAME = re.compile(r"(?!main$)(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_MOST_FILES, _MOST_COMMITS = 2_000, 50
_NOTHING = "0" * 40


class NoChangeError(StateRepoError):
    """There is no such branch (any more)."""


class ChangeConflictError(StateRepoError):
    """A change can't be put on main: both changed the same `paths`."""

    def __init__(self, what: str, paths: tuple[str, ...], fix: str) -> None:
        self.paths = paths
        super().__init__(f"{what}: {', '.join(paths[:10])}"
                         f"{f' and {len(paths) - 10} more' if len(paths) > 10 else ''}; {fix}")


@dataclass(frozen=True, slots=True)
class Change:
    """A branch and where it stands. `commits`: what main does not have, the newest first; empty:
    it is part of main already."""

    name: str
    head: str
    main: str
    commits: tuple[CommitInfo, ...]

    @property
    def authors(self) -> frozenset[str]:
        """Their e-mails, as the commits say."""
        return frozenset(commit.author_email.lower() for commit in self.commits)

    @property
    def subject(self) -> str:
        return self.commits[0].subject if self.commits else self.name


@dataclass(frozen=True, slots=True)
class FileChange:
    """One document that differs. A text is None where the document is not there."""

    path: str
    before: str | None
    after: str | None

    def diff(self) -> list[str]:
        """The lines of a unified diff, without its head."""
        return list(difflib.unified_diff((self.before or "").splitlines(),
                                         (self.after or "").splitlines(), n=3, lineterm=""))[2:]

    def fields(self) -> list[tuple[str, Any, Any]]:
        """(field, old, new) of every field that differs; None where it is not there."""
        old, new = _flat(self.before, self.path), _flat(self.after, self.path)
        return [(name, old.get(name), new.get(name))
                for name in [*old, *(n for n in new if n not in old)]
                if old.get(name) != new.get(name)]


class Changes:
    """The changes of one state repo. Safe to use from several threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store, self._git = store, GitDoor(store.path, store.remote)

    def names(self) -> list[str]:
        """The branches beside main, the newest first."""
        done = self._git.run("for-each-ref", "--sort=-committerdate",
                             "--format=%(refname:lstrip=2)", "refs/heads")
        return [name for name in done.stdout.splitlines() if NAME.fullmatch(name)]

    def find(self, name: str) -> Change:
        """Raises NoChangeError."""
        head = self._head(name) if NAME.fullmatch(name) else ""
        main = self._store.head()
        if not head or main is None:
            raise NoChangeError(f"there is no change {name}; it may be merged or closed by now")
        return Change(name, head, main, tuple(
            self._store.commits_between(main, head, _MOST_COMMITS)))

    def follow(self, branches: Collection[str]) -> None:
        """Brings these branches of the remote's here, and those that are here already; one that
        the remote has no more goes, its commits are kept.

        Raises:
            GitError: the remote does not answer, or refuses.
        """
        if self._git.remote is None:
            return  # what is here came from nowhere else, and is not gone
        there, here = self._git.heads(), set(self.names())
        for name in here - there.keys():
            with contextlib.suppress(NoChangeError, ConflictError):
                self.close(self.find(name))
        wanted = {name for name in (here | set(branches)) & there.keys() if NAME.fullmatch(name)}
        if stale := sorted(name for name in wanted
                           if self._head(name) != there[name]):
            self._git.fetch(*stale)

    def touched(self, change: Change) -> list[str]:
        """The paths that it changes of what main was when it began."""
        done = self._git.run("diff", "--name-only", "--no-renames", "-z",
                             f"{change.main}...{change.head}")
        return [path for path in done.stdout.split("\0") if path]

    def merged(self, change: Change) -> str:
        """The tree (40 hex digits) of main with this change.

        Raises:
            ChangeConflictError: both changed the same documents.
            GitError: git can't merge them at all.
        """
        done = self._git.run("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages",
                             change.main, change.head, check=False)
        tree, *paths = done.stdout.split("\0")
        if done.returncode == 1:
            raise ChangeConflictError(
                f"{change.name} and main changed the same documents",
                tuple(dict.fromkeys(filter(None, paths))),
                "bring it up to date (git rebase origin/main), then push it again")
        if done.returncode != 0:
            self._git.run("merge-tree", "--write-tree", change.main, change.head)  # says why
        return tree

    def files(self, before: str, after: str) -> list[FileChange]:
        """What differs between two trees or commits, by path."""
        done = self._git.run("diff-tree", "-r", "-z", "--no-renames", "--no-commit-id", before,
                             after)
        fields = done.stdout.split("\0")
        found = []
        for head, path in zip(fields[::2], fields[1::2], strict=False):
            _, _, old, new, _ = head.split(" ")
            found.append((path, old, new))
        if len(found) > _MOST_FILES:
            raise StateRepoError(f"{len(found):,} documents differ, and at most {_MOST_FILES:,} "
                                 "can be reviewed at once: make several changes of it")
        return [FileChange(path, self._text(old), self._text(new)) for path, old, new in found]

    def merge(self, change: Change, author: Author | None, trailers: Iterable[tuple[str, str]]
              ) -> str:
        """Puts a change on main as it was found, and removes its branch; returns the commit.
        `author`: None for that of its newest commit.

        Raises:
            ChangeConflictError: as `merged`.
            ConflictError: the branch or main moved since; nothing was done.
            RejectedError: the rules refuse what main would be.
        """
        tree = self.merged(change)
        newest = change.commits[0]
        told = "\n".join(f"- {commit.subject}" for commit in change.commits)
        end = "\n".join(f"{name}: {' '.join(value.split())}" for name, value in trailers)
        if self.find(change.name).head != change.head:
            raise ConflictError(f"{change.name} was pushed again meanwhile; look at it once more")
        made = self._store.adopt(
            bytes.fromhex(tree), change.main, author or Author(newest.author_name,
                                                            newest.author_email),
            f"{newest.subject}\n\n{told}\n\n{end}" if len(change.commits) > 1
            else f"{newest.subject}\n\n{end}")
        with contextlib.suppress(ConflictError):  # what was pushed since is a change of its own
            self.close(change)
        return made

    def close(self, change: Change) -> None:
        """Removes the branch as it was found; its commits are kept.

        Raises:
            ConflictError: it moved since.
        """
        self._git.run("update-ref", f"refs/reviewed/{change.head}", change.head)
        done = self._git.run("update-ref", "-d", f"refs/heads/{change.name}", change.head,
                             check=False)
        if done.returncode != 0:
            raise ConflictError(f"{change.name} was pushed again meanwhile; look at it once more")

    def roll_back(self, commit: str, author: Author) -> Change:
        """A change that takes one commit of main back, to be reviewed like any other.

        Raises:
            NoChangeError: it is no commit of main, or its very first.
            ChangeConflictError: later commits changed the same documents.
            GitError: the remote, where there is one, does not take the branch; nothing was done.
        """
        main = self._store.head() or ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit) or not self._store.is_ancestor(commit, main):
            raise NoChangeError(f"{commit} is no commit of main")
        info, parent = self._store.commit_info(commit), self._store.objects.parent_of(commit)
        if parent is None:
            raise NoChangeError(f"{commit[:10]} is the first commit: there is nothing before it")
        root, texts, later = self._store.objects.tree_of(main), dict[str, str | None](), []
        for file in self.files(parent, commit):
            blob = self._store.objects.find(root, tuple(file.path.split("/")))
            there = self._text(blob.hex()) if blob else None
            if there == file.after:
                texts[file.path] = file.before
            elif there != file.before:
                later.append(file.path)
        if later:
            raise ChangeConflictError(f"later commits changed what {commit[:10]} did",
                                      tuple(later), "roll those back first, or write the change "
                                      "by hand")
        if not texts:
            raise NoChangeError(f"what {commit[:10]} did is taken back already")
        made = self._store.draft(self._store.objects.with_files(root, texts), main,
                                 f'Roll back "{info.subject}"\n\nThis takes back {commit}.',
                                 author)
        name = f"roll-back-{commit[:10]}"
        done = self._git.run("update-ref", f"refs/heads/{name}", made, _NOTHING, check=False)
        if done.returncode != 0:
            raise ConflictError(f"the change {name} exists already: review that one")
        found = self.find(name)
        try:
            self._git.push_branch(name)
        except GitError:
            self._git.run("update-ref", "-d", f"refs/heads/{name}", made)
            raise
        return found

    def _head(self, name: str) -> str:
        return self._git.run("rev-parse", "--verify", "--quiet", f"refs/heads/{name}^{{commit}}",
                             check=False).stdout.strip()

    def _text(self, blob: str) -> str | None:
        if blob == _NOTHING:
            return None
        data = self._store.objects.read_document(bytes.fromhex(blob))
        return data[:MAX_BYTES].decode(errors="replace")


def _flat(text: str | None, path: str) -> dict[str, Any]:
    """A document's values by field (`spec.model.name`); of what is no document, its text."""
    if text is None:
        return {}
    try:
        return dict(_leaves(values_of(parse(text, path)), ""))
    except DocumentError:
        return {"-": text}


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{at}.{name}" if at else str(name))
    else:
        yield at, value
