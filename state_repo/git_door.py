"""The one door to git's programs: every call has a time limit, and a failure is read by its words.

What git prints tells four endings apart: done, moved (somebody else was first), locked (a lock
file is in the way), and refused. Only the second is worth trying again at once; the third is
waited for, and a lock whose owner is proved dead is removed; the last is told as it is.

Fetching and pushing share one lock beside the repo, so that a fetch never meets a push half-way.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from state_repo import StateRepoError
from state_repo.files import shared_file

log = logging.getLogger(__name__)
BRANCH = "refs/heads/main"
LOCAL_S, REMOTE_S = 20.0, 30.0  # how long one call may take, here and across a network
LOCK_PATIENCE_S = 15.0  # how long a lock that may be alive is waited for
LOCK_IS_OLD_S = 60.0
_LOCKS = ("HEAD.lock", f"{BRANCH}.lock", "packed-refs.lock", "config.lock")
_MOVED = re.compile(
    r"is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference"
    r"|incorrect old value|non-fast-forward|fetch first|stale info|failed to lock"
    r"|failed to update ref|cannot lock ref|reference broken")
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


class GitError(StateRepoError):
    """Git refused, or did not end in time; the message holds its own words."""


class GitLockedError(GitError):
    """A lock that may be alive stayed in the way; the message names it and what to do."""


class GitDoor:
    """Git's programs on one bare repo. `remote`: where it is pushed to and fetched from."""

    def __init__(self, path: Path, remote: str | None = None) -> None:
        self.path, self.remote = path, remote

    def run(self, *arguments: str, check: bool = True, timeout_s: float = LOCAL_S
            ) -> subprocess.CompletedProcess[str]:
        """Raises GitError: it failed (with `check`), or did not end in `timeout_s` seconds."""
        environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=10")
        try:
            done = subprocess.run(["git", *arguments], cwd=self.path, env=environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {arguments[0]} did not end in {timeout_s:.0f} s; it was ended"
                           ) from error
        except OSError as error:
            raise GitError(f"git can't be started ({error}); `make run` installs it") from error
        if check and done.returncode != 0:
            raise GitError(f"git {arguments[0]}: {done.stderr.strip() or done.returncode}")
        return done

    def swap(self, new: str, old: str | None) -> bool:
        """Moves the branch from `old` (None: it is not there) to `new`; with a remote, there
        first. False when somebody else moved it before.

        Raises:
            GitLockedError: a lock stayed in the way.
            GitError: anything else, in git's own words.
        """
        if self.remote is None:
            return self._move(new, old)
        with self.talking():
            done = self.run("push", "--quiet", self.remote, f"{new}:{BRANCH}", check=False,
                            timeout_s=REMOTE_S)
            if done.returncode != 0:
                if "hook declined" in done.stderr:
                    raise GitError(f"the remote refuses the change: {done.stderr.strip()}")
                if _MOVED.search(done.stderr) or _LOCKED.search(done.stderr):
                    return False
                raise GitError(f"cannot push to {self.remote}: {done.stderr.strip()}; nothing was "
                               "changed")
            # Once pushed it is made: what is missing here comes with the next fetch.
            try:
                if not self._move(new, old):
                    log.info("the branch moved here during a push; the next fetch brings it")
            except GitError as error:
                log.warning("%s is pushed, and comes here with the next fetch: %s", new[:10],
                            error)
        return True

    def heads(self) -> dict[str, str]:
        """The remote's branches, by name (without refs/heads/), with their newest commits.

        Raises:
            GitError: the remote does not answer, or refuses.
        """
        if self.remote is None:
            return {}
        lines = self.run("ls-remote", "--heads", "--", self.remote, timeout_s=REMOTE_S
                         ).stdout.splitlines()
        return {name.removeprefix("refs/heads/"): sha
                for sha, _, name in (line.partition("\t") for line in lines)}

    def push_branch(self, name: str) -> None:
        """Makes a branch of here one of the remote's as well; without a remote, nothing.

        Raises:
            GitError: it refuses, has another one of that name, or does not answer.
        """
        if self.remote is not None:
            with self.talking():
                self.run("push", "--quiet", self.remote, f"refs/heads/{name}:refs/heads/{name}",
                         timeout_s=REMOTE_S)

    def fetch(self, *branches: str) -> None:
        """Brings the remote's branches here (main without any), rewritten or not: the loop judges
        that of main.

        Raises:
            GitError: the remote does not answer, or refuses.
        """
        if self.remote is None:
            return
        until = time.monotonic() + LOCK_PATIENCE_S
        with self.talking():
            while True:
                refs = [f"refs/heads/{name}" for name in branches] or [BRANCH]
                done = self.run("fetch", "--quiet", "--no-write-fetch-head", self.remote,
                                *(f"+{ref}:{ref}" for ref in refs), check=False,
                                timeout_s=REMOTE_S)
                if done.returncode == 0 or "couldn't find remote ref" in done.stderr:
                    return
                if locked := _LOCKED.search(done.stderr):
                    self._wait_for(Path(locked[1]), until)
                elif not _MOVED.search(done.stderr) or time.monotonic() > until:
                    raise GitError(f"cannot fetch {self.remote}: {done.stderr.strip()}; check the "
                                   "address, the network and this machine's access")

    @contextmanager
    def talking(self) -> Iterator[None]:
        """One talk with the remote at a time, whoever asks."""
        with flocked(self.path / "remote.lock", 2 * REMOTE_S):
            yield

    def free(self) -> list[Path]:
        """Removes the locks in this repo whose owner is proved dead; returns those removed."""
        return [lock for name in _LOCKS if (lock := self.path / name).exists()
                and break_if_dead(lock, self.path)]

    def _move(self, new: str, old: str | None) -> bool:
        until = time.monotonic() + LOCK_PATIENCE_S
        while True:
            done = self.run("update-ref", BRANCH, new, old or "0" * 40, check=False)
            if done.returncode == 0:
                return True
            if locked := _LOCKED.search(done.stderr):
                self._wait_for(Path(locked[1]), until)
            elif _MOVED.search(done.stderr):
                return False
            else:
                raise GitError(f"git update-ref: {done.stderr.strip()}")

    def _wait_for(self, lock: Path, until: float) -> None:
        if break_if_dead(lock, self.path):
            return
        if time.monotonic() > until:
            raise GitLockedError(
                f"the state repo is locked by {lock}: another git program works there, or one "
                "that died left it a moment ago. Try again; a lock that nobody holds is removed "
                f"by itself after {LOCK_IS_OLD_S:.0f} s. Nothing was changed")
        time.sleep(0.05)


@contextmanager
def flocked(path: Path, patience_s: float) -> Iterator[None]:
    """Holds the kernel's lock on a file, which ends with its owner, however that ends.

    Raises:
        GitLockedError: somebody else held it for `patience_s` seconds.
    """
    until = time.monotonic() + patience_s
    with shared_file(path) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise GitLockedError(f"{path} is held by another process for more than "
                                         f"{patience_s:.0f} s; nothing was changed. Try again"
                                         ) from None
                time.sleep(0.005)
        yield


def break_if_dead(lock: Path, repo: Path) -> bool:
    """Removes a lock file of git's whose owner is proved dead. True when it is gone.

    Proof: it is older than a minute, no process has it open, and no git program works in the
    repo. From inside walls that hide other processes nothing can be proved, so nothing is broken.
    """
    try:
        age = time.time() - lock.stat().st_mtime
    except OSError:
        return True
    if age < LOCK_IS_OLD_S or not _sees_everybody() or _is_worked_on(lock, repo):
        return False
    lock.unlink(missing_ok=True)
    log.warning("removed %s: it was %.0f s old and nobody held it", lock, age)
    return True


def _sees_everybody() -> bool:
    """Whether /proc shows every process of the machine (inside a container it does not)."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _is_worked_on(lock: Path, repo: Path) -> bool:
    inside, file = str(repo.resolve()), str(lock.resolve())
    for process in Path("/proc").glob("[0-9]*"):
        is_git = _points_to(process / "comm", read=True).startswith("git")
        try:
            links = [process / "cwd", *(process / "fd").iterdir()]
        except PermissionError:
            if is_git:
                return True  # somebody else's: it can't be looked into
            continue
        except OSError:
            continue  # it ended
        targets = [_points_to(link) for link in links]
        if file in targets or (is_git and any(t.startswith(inside) for t in targets)):
            return True
    return False


def _points_to(path: Path, read: bool = False) -> str:
    """A link's target (or a file's text); empty when it went away meanwhile."""
    try:
        return path.read_text() if read else str(path.readlink())
    except OSError:
        return ""
