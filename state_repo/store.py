"""The state repo: what git holds, read and committed as documents.

A commit is made without an index or a work tree: a blob, the trees above it, a commit object, and
a compare-and-swap of the branch. What a commit costs therefore does not grow with the number of
employees. Several writers are ordered by a lock beside the repo; the swap, not the lock, is what
makes a lost update impossible. With a remote, the swap is the remote's: a push that is no
fast-forward is refused, and the change is made again on what came in between.
"""

from __future__ import annotations

import logging
import random
import re
import shlex
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import git
from gitdb.util import bin_to_hex, hex_to_bin

from state_repo import StateRepoError, journal, layout
from state_repo.documents import (
    PLATFORM_PATH,
    SKILLS_FOLDER,
    Customer,
    Document,
    Employee,
    Lesson,
    Platform,
    Skill,
    Violation,
    customer_path,
    employee_path,
    lesson_path,
    skill_path,
    worsened,
)
from state_repo.git_door import BRANCH, GitDoor, GitError, flocked
from state_repo.instance import Instance
from state_repo.objects import Entries, Files, Objects
from state_repo.parsing import DocumentError, dump, parse
from state_repo.skills import parse_skill
from state_repo.snapshot import CustomerState, CustomerView, Snapshot

log = logging.getLogger(__name__)
COMMITTER = "InstantWorker <state@instantworker.invalid>"
_ATTEMPTS = 40
_WRITERS_S = 60.0  # how long a writer waits for the others before it
Rules = Callable[[CustomerView], list[Violation]]
Kind = TypeVar("Kind", Employee, Lesson)


class RejectedError(StateRepoError):
    """The rules refuse a change; `violations` says why."""

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations
        super().__init__("\n".join(map(str, violations)))


class ConflictError(StateRepoError):
    """Others kept writing first; nothing was written, and the change may be tried again."""


@dataclass(frozen=True, slots=True)
class Author:
    name: str
    email: str

    def __str__(self) -> str:
        def clean(text: str) -> str:
            # Neither a header of git's, nor what steers a terminal or turns the text around it.
            plain = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
            return re.sub(r"[<>]", "", plain).strip() or "unknown"
        return f"{clean(self.name)} <{clean(self.email)}>"


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """`paths`: what it changed, where that was asked for. `trace`: what it was made in (see
    `journal`)."""

    sha: str
    author_name: str
    author_email: str
    subject: str
    time: datetime
    paths: tuple[str, ...] = ()
    trace: str | None = None

    def concerns(self, employee: str) -> bool:
        """Whether it may have changed something for an employee of this id. Of a merge git names
        no paths: it may concern anybody."""
        return not self.paths or any(
            "/employees/" not in path or path.endswith(f"/employees/{employee}.yaml")
            for path in self.paths)


class Store:
    """Reads and commits documents. Safe to use from several threads and processes."""

    def __init__(self, path: Path, remote: str | None = None, rules: Rules | None = None) -> None:
        self.path, self._rules, self._door = path, rules, GitDoor(path, remote)
        self.objects = Objects(path)
        self._guard = threading.RLock()
        self._documents: dict[tuple[str, bytes], Document | Skill | tuple[Violation, ...]] = {}
        self._catalogues: dict[bytes, tuple[Mapping[str, Skill], tuple[Violation, ...]]] = {}
        self._states: dict[tuple[str, bytes], CustomerState] = {}
        self._snapshot: Snapshot | None = None

    @classmethod
    def open_or_create(cls, instance: Instance, rules: Rules | None = None) -> Store:
        """Opens the instance's repo; makes it (or clones the remote) at first use."""
        path, remote = instance.state_repo_path, instance.state_remote
        if not (path / "HEAD").exists():
            instance.expect("state-repo", remote is not None, f"Restore {path} from a backup, or "
                            "name its remote in IW_STATE_REMOTE")
            path.parent.mkdir(parents=True, exist_ok=True)
            repo = git.Repo.init(str(path), bare=True, initial_branch="main")
            with repo.config_writer() as config:
                config.set_value("gc", "auto", 0)  # packing is the reconciler's, at quiet times
        instance.mark_made("state-repo")
        _show_credentials(instance)
        store = cls(path, remote, rules)
        if remote and store.head() is None:
            store.fetch()
        elif remote:
            try:
                store.fetch()
            except GitError as error:  # what is here is good enough to begin with
                log.warning("%s", error)
        return store

    @property
    def remote(self) -> str | None:
        """Where it is pushed to and fetched from."""
        return self._door.remote

    # ---- reading -----------------------------------------------------------------------------

    def head(self) -> str | None:
        """The newest commit, or None in an empty repo."""
        try:
            text = (self.path / BRANCH).read_text().strip()
            if text:
                return text
        except FileNotFoundError:
            pass
        # After packing the branch stands here until the next commit.
        try:
            packed = (self.path / "packed-refs").read_text()
            found = re.search(rf"^([0-9a-f]{{40}}) {BRANCH}$", packed, re.M)
            if found:
                return found[1]
        except FileNotFoundError:
            pass
        return self._door.run("rev-parse", "--verify", "--quiet", BRANCH,
                              check=False).stdout.strip() or None

    def snapshot(self, commit: str | None = None) -> Snapshot:
        """What should exist, by a commit (the newest by default). Unchanged customers are not
        read again.

        Raises:
            DocumentError: platform.yaml is missing or wrong; the whole snapshot is unusable.
        """
        with self._guard:
            commit = commit or self.head()
            if commit is None:
                raise _no_platform("the state repo is empty")
            if self._snapshot is not None and self._snapshot.commit == commit:
                return self._snapshot
            root = self.objects.entries(self.objects.tree_of(commit))
            customers = {}
            if "customers" in root and stat.S_ISDIR(root["customers"][1]):
                for name, (sha, mode) in self.objects.entries(root["customers"][0]).items():
                    if stat.S_ISDIR(mode):
                        customers[name] = self._state(name, sha)
            live = {(name, hex_to_bin(state.digest)) for name, state in customers.items()}
            for key in [key for key in self._states if key not in live]:
                if len(self._states) > 2 * len(live) + 64:
                    del self._states[key]
            self._snapshot = Snapshot(commit, self._platform(root), customers)
            return self._snapshot

    def read_customer(self, commit: str, customer: str) -> CustomerState:
        """One customer at one commit; without its folder, a state whose customer is None."""
        with self._guard:
            sha = self.objects.find(self.objects.tree_of(commit), ("customers", customer))
            if sha is None:
                return CustomerState(customer, "0" * 40, None, {}, ())
            return self._state(customer, sha)

    def platform(self, commit: str | None = None) -> Platform:
        """The platform's document and the skills alone, of the newest commit by default.

        Raises:
            DocumentError: it is missing or wrong.
        """
        with self._guard:
            commit = commit or self.head()
            if commit is None:
                raise _no_platform("the state repo is empty")
            return self._platform(self.objects.entries(self.objects.tree_of(commit)))

    def customers(self, commit: str) -> dict[str, str]:
        """The customers by id, each with its digest (see CustomerState); no document is read."""
        with self._guard:
            sha = self.objects.find(self.objects.tree_of(commit), ("customers",))
            return {name: bin_to_hex(tree).decode()
                    for name, (tree, mode) in (self.objects.entries(sha) if sha else {}).items()
                    if stat.S_ISDIR(mode)}

    def view(self, commit: str, customer: str) -> CustomerView:
        """What the rules look at, for one customer at one commit, everything included."""
        with self._guard:
            state = self.read_customer(commit, customer)
            return CustomerView(self.platform(commit), state.customer, state.employees,
                                self._subnets(self.objects.tree_of(commit), customer),
                                state.lessons)

    def check(self, wanted: Employee) -> list[Violation]:
        """What a commit with this document would be refused for; nothing is written."""
        try:
            parse(dump(wanted), wanted.path)
        except DocumentError as error:
            return list(error.violations)
        head = self.head()
        if head is None or self._rules is None:
            return []
        with self._guard:
            view = self._view(self.objects.tree_of(head), wanted.customer)
        return worsened(self._rules(view), self._rules(
            replace(view, employees={**view.employees, wanted.id: wanted})))

    def commit_info(self, sha: str) -> CommitInfo:
        """One commit, by its whole name."""
        with self._guard:
            head, _, message = self.objects.read(hex_to_bin(sha)).decode(
                errors="replace").partition("\n\n")
        author = re.search(r"^author (.*) <(.*)> (\d+) [+-]\d{4}$", head, re.M)
        name, email, at = author.groups() if author else ("", "", "0")
        return CommitInfo(sha, name, email, (message.splitlines() or [""])[0],
                          datetime.fromtimestamp(int(at), UTC), trace=journal.trace_in(message))

    def resolve(self, commit: str) -> str:
        """The whole name of a commit that may be shortened; as it is when there is none."""
        found = self._door.run("rev-parse", "--verify", "--quiet", "--end-of-options",
                               f"{commit}^{{commit}}", check=False).stdout.strip()
        return found or commit

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` descends from `older` (or is it). False when `older` is unknown here."""
        return self._door.run("merge-base", "--is-ancestor", older, newer,
                              check=False).returncode == 0

    def commits_touching(self, path: str, older: str | None, newer: str, most: int = 50
                         ) -> list[CommitInfo]:
        """The commits after `older` up to `newer` that changed something below `path`, the newest
        first, at most `most`. `older` None: of all that there were."""
        return self._log(f"{older}..{newer}" if older else newer, most, "--", path)

    def commits_between(self, older: str, newer: str, most: int) -> list[CommitInfo]:
        """The commits that `newer` has and `older` has not, the newest first, at most `most`."""
        return self._log(f"{older}..{newer}", most)

    def _log(self, which: str, most: int, *more: str) -> list[CommitInfo]:
        # NUL alone can't stand in what people wrote.
        done = self._door.run("log", "-z", "--name-only",
                              "--format=%x00%H%x00%an%x00%ae%x00%ct%x00%s%x00%b", f"-{most}",
                              which, *more)
        found, fields = [], iter(done.stdout.split("\0"))
        for sha in filter(None, fields):
            name, email, at, subject, body = (next(fields) for _ in range(5))
            paths = tuple(p.lstrip("\n") for p in iter(lambda: next(fields, ""), ""))
            found.append(CommitInfo(sha, name, email, subject,
                                    datetime.fromtimestamp(int(at), UTC), paths,
                                    journal.trace_in(body)))
        return found

    def last_good_platform(self) -> tuple[str, str] | None:
        """The newest commit of the branch whose platform.yaml can be read, with its text; None
        when there never was one. For set-up, which mends a broken one by it."""
        head = self.head()
        while head is not None:
            found = self.commits_touching(PLATFORM_PATH, None, head, most=1)
            if not found:
                return None
            with self._guard:
                root = self.objects.entries(self.objects.tree_of(found[0].sha))
                try:
                    self._platform(root)
                    return found[0].sha, self.objects.read(root[PLATFORM_PATH][0]).decode()
                except DocumentError:
                    head = self.objects.parent_of(found[0].sha)
        return None

    def keep(self, commit: str) -> None:
        """Keeps a commit that the branch no longer holds from being collected as garbage: it was
        applied, and is what a rewritten history is compared with."""
        self._door.run("update-ref", f"refs/applied/{commit}", commit)

    # ---- writing -----------------------------------------------------------------------------

    def commit(self, author: Author, message: str, change: Callable[[CustomerView], Files],
               customer: str | None = None) -> str:
        """Commits what `change` makes of the newest state: path to new text (None: remove).

        `change` is called again whenever somebody else was first. Returns the commit's sha (the
        present head when nothing changed).

        Raises:
            RejectedError: the rules refuse the result.
            ConflictError: others were first every time.
            GitError: git can't write; says why, in its own words.
        """
        with flocked(self.path / "writers.lock", _WRITERS_S):
            for attempt in range(_ATTEMPTS):
                head = self.head()
                with self._guard:
                    made = self._make(head, author, message, change, customer)
                if made is None:
                    return head or ""
                if self._door.swap(made, head):
                    return made
                self._door.fetch()
                time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 10)))
        raise ConflictError("others changed the state repo every time; nothing was written. "
                            "Try again")

    def draft(self, tree: bytes, head: str, message: str = "", author: Author | None = None
              ) -> str:
        """A commit of this tree on top of `head` that no branch holds: what could be. Without an
        author, the same one for the same tree and head."""
        with self._guard:
            return self._write_commit(head, tree, author or Author("", ""), message,
                                      None if author else 0)

    def adopt(self, tree: bytes, head: str, author: Author, message: str) -> str:
        """Commits a whole tree on top of `head`, by the same rules as any change.

        Raises:
            RejectedError: the rules refuse it.
            ConflictError: `head` is not the newest commit any more; nothing was written.
        """
        with flocked(self.path / "writers.lock", _WRITERS_S):
            made = None
            if self.head() == head:
                made = self.draft(tree, head, message, author)
                if found := self.worse(head, made):
                    raise RejectedError(found)
            if made is None or not self._door.swap(made, head):
                raise ConflictError("main moved meanwhile; nothing was done. Look at it once more")
        return made

    def fetch(self) -> None:
        """Brings the remote's branch here (see `GitDoor.fetch`)."""
        self._door.fetch()

    def free_locks(self) -> list[Path]:
        """Removes the locks of dead git programs; returns those removed."""
        return self._door.free()

    def pack(self) -> None:
        """Packs loose objects: called at quiet times so that commits never wait for it."""
        self._door.run("-c", "gc.auto=2000", "gc", "--quiet", "--auto", check=False,
                       timeout_s=600.0)

    def install_hooks(self) -> None:
        """Makes a push run the same rules as a commit, and git look at what it brings."""
        for key, value in (("receive.fsckObjects", "true"), ("receive.maxInputSize", "32m"),
                           ("receive.denyNonFastForwards", "false"),  # the hook, for main
                           ("receive.denyDeleteCurrent", "refuse")):
            self._door.run("config", key, value)
        hook = self.path / "hooks" / "update"
        hook.parent.mkdir(exist_ok=True)
        root = Path(__file__).resolve().parent.parent
        hook.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" '
                        '-m policies.check_push "$@"\n')
        hook.chmod(0o755)

    def restore_platform(self, author: Author) -> str | None:
        """When the newest platform.yaml can't be read, commits the last one that could; returns
        the commit that it was taken from, or None when there was nothing to mend.

        Raises:
            DocumentError: it can't be read, and never could.
        """
        try:
            self.platform()
            return None
        except DocumentError:
            good = self.last_good_platform()
            if good is None or self.head() is None:
                raise
        with flocked(self.path / "writers.lock", _WRITERS_S):
            head = self.head()
            with self._guard:
                root = self.objects.with_files(self.objects.tree_of(head or ""),
                                               {PLATFORM_PATH: good[1]})
                made = self._write_commit(head, root, author,
                                          f"Restore platform.yaml of {good[0][:10]}")
            if not self._door.swap(made, head):
                raise ConflictError("somebody else changed the state repo; try again")
        return good[0]

    def _make(self, head: str | None, author: Author, message: str,
              change: Callable[[CustomerView], Files], customer: str | None) -> str | None:
        old_root = self.objects.tree_of(head) if head else None
        files = change(self._view(old_root, customer))
        root = self.objects.with_files(old_root, files)
        if root == old_root:
            return None
        self._check(head, root, customer, files)
        return self._write_commit(head, root, author, message)

    def _write_commit(self, head: str | None, root: bytes, author: Author, message: str,
                      at: int | None = None) -> str:
        lines = [f"tree {bin_to_hex(root).decode()}"]
        lines += [f"parent {head}"] if head else []
        now = f"{int(time.time()) if at is None else at} +0000"
        message = journal.with_trailer(message) if at is None else message
        lines += [f"author {author} {now}", f"committer {COMMITTER} {now}", "", message, ""]
        return bin_to_hex(self.objects.write("commit", "\n".join(lines).encode())).decode()

    def _check(self, head: str | None, root: bytes, customer: str | None, files: Files) -> None:
        """Refuses what is wrong and was not before: who is in violation can still be paused."""
        if customer is not None:
            found = self._worse_for(customer, head, root, own=customer_path(customer) in files)
        else:
            self._platform(self.objects.entries(root))
            found = self._worse_skills(self.objects.tree_of(head) if head else None, root)
            if layout.is_protected(files):
                found += [v for name in self._customers_at(root)
                          for v in self._worse_for(name, head, root)]
        if found:
            raise RejectedError(found)

    def _worse_for(self, customer: str, head: str | None, root: bytes, own: bool = False
                   ) -> list[Violation]:
        """What a change from `head` to the tree `root` makes worse for one customer. `own`: its
        own document is new or changed, so that everybody's subnet is looked at."""
        old_root = self.objects.tree_of(head) if head else None
        subnets = self._subnets(root, customer) if own else None

        stolen = self._claimed_twice(customer, old_root, root)

        def judged(tree: bytes | None) -> list[Violation]:
            sha = self.objects.find(tree, ("customers", customer)) if tree else None
            if tree is None or sha is None:
                return []
            state, entries = self._state(customer, sha), self.objects.entries(tree)
            if self._rules is None or PLATFORM_PATH not in entries:
                return list(state.violations)
            try:
                platform = self._platform(entries)
            except DocumentError:  # what is mended now is judged by what it is mended to
                platform = self._platform(self.objects.entries(root))
            return [*state.violations, *self._rules(CustomerView(
                platform, state.customer, state.employees, subnets, state.lessons))]
        return stolen + worsened(judged(old_root), judged(root))

    def _claimed_twice(self, customer: str, old_root: bytes | None, root: bytes
                       ) -> list[Violation]:
        """Ids that are new here and are another customer's: an id is one customer's for ever."""
        def files_of(tree: bytes | None, name: str) -> Entries:
            sha = self.objects.find(tree, ("customers", name, "employees")) if tree else None
            return self.objects.entries(sha) if sha else {}
        before = files_of(old_root, customer)
        fresh = {file: blob for file, (blob, _) in files_of(root, customer).items()
                 if file not in before}
        if not fresh:
            return []
        found = []
        for other in self._customers_at(root):
            theirs = files_of(root, other) if other != customer else {}
            for file in fresh.keys() & theirs.keys():
                id = file.removesuffix(".yaml")
                found.append(Violation(
                    employee_path(customer, id), self._line_of_id(fresh[file]), "metadata.id",
                    f"is {other}'s already ({employee_path(other, id)}:"
                    f"{self._line_of_id(theirs[file][0])})", "an id belongs to one customer for "
                    "ever: hire anew, which makes a new one"))
        return found

    def _line_of_id(self, blob: bytes) -> int:
        """The line at which a document says its id; 1 where it can't be told."""
        lines = self.objects.read(blob).decode(errors="replace").splitlines()
        return next((n for n, line in enumerate(lines, 1)
                     if re.match(r"\s*(metadata:\s*\{.*)?\bid:", line)), 1)

    def _customers_at(self, root: bytes) -> list[str]:
        sha = self.objects.find(root, ("customers",))
        return [name for name, (_, mode) in (self.objects.entries(sha) if sha else {}).items()
                if stat.S_ISDIR(mode)]

    def worse(self, old: str | None, new: str) -> list[Violation]:
        """What the commit `new` makes worse than `old` (None: nothing was there), by the rules:
        of each customer whose documents differ, or of all when platform.yaml does.

        Raises:
            DocumentError: the new platform.yaml is missing or wrong.
        """
        with self._guard:
            root, before = self.objects.tree_of(new), self.objects.tree_of(old) if old else None
            entries = self.objects.entries(root)
            if misplaced := self._misplaced(root, before):
                return misplaced
            self._platform(entries)
            was = self.objects.entries(before) if before is not None else {}
            same = before is not None and all(
                was.get(name) == entries.get(name) for name in (PLATFORM_PATH, SKILLS_FOLDER))
            known = self.customers(old) if old and same else {}
            return self._worse_skills(before, root) + [
                v for name, digest in self.customers(new).items() if known.get(name) != digest
                for v in self._worse_for(name, old, root, own=known.get(name) != digest)]

    def _worse_skills(self, before: bytes | None, root: bytes) -> list[Violation]:
        """What is wrong with the skills of a tree, and was not in the tree `before`."""
        def wrong(tree: bytes | None) -> tuple[Violation, ...]:
            entries = self.objects.entries(tree) if tree else {}
            return self._catalogue(entries)[1]
        return worsened(wrong(before), wrong(root))

    def _misplaced(self, root: bytes, before: bytes | None) -> list[Violation]:
        """Paths that do not belong here, of all that differs from the tree `before`; no document
        is read."""
        entries = self.objects.entries(root)
        found = [*layout.misplaced_at_root(entries)]  # of what is in skills/ see `_catalogue`
        if found or "customers" not in entries:
            return found
        customers = self.objects.entries(entries["customers"][0])
        found += layout.misplaced_customers(customers)
        sha = self.objects.find(before, ("customers",)) if before else None
        known = self.objects.entries(sha) if sha else {}
        for name, entry in customers.items():
            if not stat.S_ISDIR(entry[1]) or known.get(name) == entry:
                continue
            inner = self.objects.entries(entry[0])
            found += layout.misplaced_in(name, inner)
            for folder in layout.FOLDERS:
                if folder in inner and stat.S_ISDIR(inner[folder][1]):
                    found += layout.misplaced_documents(f"customers/{name}/{folder}",
                                                        self.objects.entries(inner[folder][0]))
        return found

    def _view(self, root: bytes | None, customer: str | None) -> CustomerView:
        if root is None:
            return CustomerView(Platform(images={}), None)
        entries = self.objects.entries(root)
        platform = self._platform(entries) if PLATFORM_PATH in entries else Platform(images={})
        sha = self.objects.find(root, ("customers", customer)) if customer else None
        if customer is None or sha is None:
            return CustomerView(platform, None, {}, self._subnets(root, customer or ""))
        state = self._state(customer, sha)
        return CustomerView(platform, state.customer, state.employees, lessons=state.lessons)

    def _subnets(self, root: bytes, but: str) -> dict[str, str]:
        sha = self.objects.find(root, ("customers",))
        subnets = {}
        for name, (tree, mode) in (self.objects.entries(sha) if sha else {}).items():
            if name == but or not stat.S_ISDIR(mode):
                continue
            blob = self.objects.entries(tree).get("customer.yaml")
            document = self._document(customer_path(name), blob[0]) if blob else None
            if isinstance(document, Customer):
                subnets[name] = document.subnet
        return subnets

    # ---- documents ---------------------------------------------------------------------------

    def _document(self, path: str, blob: bytes) -> Document | Skill | tuple[Violation, ...]:
        key = (path, blob)
        if key not in self._documents:
            if len(self._documents) > 50_000:
                self._documents.clear()
            try:
                read = parse_skill if path.startswith(f"{SKILLS_FOLDER}/") else parse
                self._documents[key] = read(self.objects.read_document(blob).decode(), path)
            except UnicodeDecodeError as error:
                self._documents[key] = (Violation(path, 1, "-", f"is no UTF-8 text ({error})",
                                                  "save it as UTF-8"),)
            except DocumentError as error:
                self._documents[key] = error.violations
        return self._documents[key]

    def _platform(self, root: Entries) -> Platform:
        if PLATFORM_PATH not in root:
            raise _no_platform("it is missing")
        if not stat.S_ISREG(root[PLATFORM_PATH][1]):
            raise DocumentError(tuple(layout.misplaced_at_root(
                {PLATFORM_PATH: root[PLATFORM_PATH]})))
        document = self._document(PLATFORM_PATH, root[PLATFORM_PATH][0])
        if isinstance(document, Platform):
            skills, _ = self._catalogue(root)
            return replace(document, skills=skills) if skills else document
        raise DocumentError(document if isinstance(document, tuple) else (
            Violation(PLATFORM_PATH, 1, "kind", "is no Platform", "write kind: Platform"),))

    def _catalogue(self, root: Entries) -> tuple[Mapping[str, Skill], tuple[Violation, ...]]:
        """The skills of a tree by name, and what is wrong there; what can't be read is left out:
        it holds those alone who were given it."""
        entry = root.get(SKILLS_FOLDER)
        if entry is None or not stat.S_ISDIR(entry[1]):
            return {}, ()
        if entry[0] not in self._catalogues:
            if len(self._catalogues) > 64:
                self._catalogues.clear()
            self._catalogues[entry[0]] = self._read_catalogue(self.objects.entries(entry[0]))
        return self._catalogues[entry[0]]

    def _read_catalogue(self, tree: Entries) -> tuple[dict[str, Skill], tuple[Violation, ...]]:
        violations = list(layout.misplaced_skills(tree))
        misplaced = {violation.path.rpartition("/")[2] for violation in violations}
        skills: dict[str, Skill] = {}
        for name, (folder, _) in sorted(tree.items()):
            if name in misplaced:
                continue
            entries = self.objects.entries(folder)
            if wrong := list(layout.misplaced_in_skill(name, entries)):
                violations += wrong
                continue
            document = self._document(skill_path(name), entries["SKILL.md"][0])
            if isinstance(document, Skill):
                skills[name] = document
            elif isinstance(document, tuple):
                violations += document
        return skills, tuple(violations)

    def _state(self, name: str, tree: bytes) -> CustomerState:
        key = (name, tree)
        if key not in self._states:
            if len(self._states) > 20_000:
                self._states.clear()
            self._states[key] = self._read_state(name, tree)
        return self._states[key]

    def _read_state(self, name: str, tree: bytes) -> CustomerState:
        entries = self.objects.entries(tree)
        violations: list[Violation] = list(layout.misplaced_in(name, entries))
        if violations:
            return CustomerState(name, bin_to_hex(tree).decode(), None, {}, tuple(violations))
        customer: Customer | None = None
        path = customer_path(name)
        if "customer.yaml" not in entries:
            violations.append(Violation(path, 0, "-", "is missing", "restore it: a folder without "
                                        "it belongs to nobody"))
        else:
            document = self._document(path, entries["customer.yaml"][0])
            if isinstance(document, tuple):
                violations += document
            elif not isinstance(document, Customer) or document.id != name:
                violations.append(Violation(path, 1, "metadata.id", "is not its folder's name",
                                            f"write kind: Customer and id: {name}"))
            else:
                customer = document
        employees = self._folder(name, entries, "employees", Employee, employee_path, violations)
        lessons = self._folder(name, entries, "lessons", Lesson, lesson_path, violations)
        return CustomerState(name, bin_to_hex(tree).decode(), customer, employees,
                             tuple(violations), lessons)

    def _folder(self, customer: str, entries: Entries, folder: str, kind: type[Kind],
                path_of: Callable[[str, str], str], violations: list[Violation]
                ) -> dict[str, Kind]:
        """The documents of one folder by id; what is wrong goes to `violations`."""
        found: dict[str, Kind] = {}
        files = self.objects.entries(entries[folder][0]) if folder in entries else {}
        misplaced = list(layout.misplaced_documents(f"customers/{customer}/{folder}", files))
        violations += misplaced
        wrong = {violation.path.rpartition("/")[2] for violation in misplaced}
        for file, (blob, _) in sorted(files.items()):
            stem = file.removesuffix(".yaml")
            path = path_of(customer, stem)
            if file in wrong:
                continue
            document = self._document(path, blob)
            if isinstance(document, tuple):
                violations += document
            elif not isinstance(document, kind) or document.id != stem:
                violations.append(Violation(path, 1, "metadata.id", "is not its file's name",
                                            f"write kind: {kind.__name__} and id: {stem}"))
            elif document.customer != customer:
                violations.append(Violation(
                    path, 1, "metadata.customer", f"is {document.customer}",
                    f"write {customer}, or move the file to that customer's folder"))
            else:
                found[stem] = document
        return found


def _show_credentials(instance: Instance) -> None:
    """Has git show a remote over http the credentials that set-up kept; that host alone. Git's own
    helper for files would remove them on the first 401."""
    remote, path = urlsplit(instance.state_remote or ""), instance.git_credentials_path
    if remote.scheme not in ("http", "https") or not path.exists():
        return
    host = f"{remote.scheme}://{remote.netloc.rpartition('@')[2]}"
    helper = f'!f() {{ test "$1" != get || cat {shlex.quote(str(path))}; }}; f'
    door, key = GitDoor(instance.state_repo_path), f"credential.{host}.helper"
    if door.run("config", "--get", key, check=False).stdout.strip() != helper:
        door.run("config", key, helper)


def _no_platform(why: str) -> DocumentError:
    return DocumentError((Violation(PLATFORM_PATH, 0, "-", why, "`make run` writes a first one; "
                                    "or restore it from the repo's history"),))
