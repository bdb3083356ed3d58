"""A restic repository: encrypted, deduplicated copies of folders, in a folder, by SFTP, in S3.

https://restic.readthedocs.io/ says what it does; of its exit codes, 3 means that something could
not be read.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stacks import StackError
from state_repo import sftp

_PATIENCE_S = 6 * 3600.0
_INCOMPLETE = 3
# restic makes no snapshot of an empty folder, and an empty one is worth knowing too.
_EMPTY, _NOTHING = "snapshot is empty", ".instantworker-nothing"
_NOT_THERE = ("Is there a repository at the following location", "does not exist",
              "unable to open config file")


class ResticError(StackError):
    """What restic says, without what is secret."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`tags`: by name; a tag without a value has an empty one."""

    id: str
    time: datetime
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Saved:
    """`added`: bytes that the repository did not have yet (before compression)."""

    id: str
    bytes: int
    added: int


class Repository:
    """`password`: the file with the password. `access`: variables that the place asks for.
    `stopping`: asked each second; what runs is ended when it says so. `ssh`: the command that
    reaches a place by SFTP (`state_repo.sftp`)."""

    def __init__(self, place: str, password: Path, cache: Path,
                 access: Mapping[str, str] | None = None,
                 stopping: Callable[[], bool] = lambda: False,
                 ssh: Sequence[str] | None = None) -> None:
        self._ssh = ssh
        self._options = [f"--option=sftp.command={shlex.join(ssh)}"] if ssh else []
        self.place, self._access, self._stopping = place, dict(access or {}), stopping
        self._env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(Path.home()),
                     "LC_ALL": "C.UTF-8", "TZ": "UTC", "RESTIC_REPOSITORY": place,
                     "RESTIC_PASSWORD_FILE": str(password), "RESTIC_CACHE_DIR": str(cache),
                     "RESTIC_PROGRESS_FPS": "0.1", **self._access}

    def is_there(self) -> bool:
        """Raises ResticError: it can't be asked, or the password is another one."""
        try:
            self._run("cat", "config", patience_s=120.0)
        except ResticError as error:
            if any(words in str(error) for words in _NOT_THERE):
                return False
            raise
        return True

    def make(self) -> None:
        self._run("init", patience_s=300.0)

    def save(self, folder: Path, at: datetime, tags: Mapping[str, str], *,
             exclude: Iterable[str] = (), patience_s: float = _PATIENCE_S) -> Saved:
        """Copies everything below a folder, as it is at this moment: as one snapshot.

        Raises:
            ResticError: something of it is not in the snapshot, or there is none.
        """
        options = [f"--exclude={pattern}" for pattern in exclude]
        options += [f"--tag={name}={value}" if value else f"--tag={name}"
                    for name, value in sorted(tags.items())]
        command = ["backup", "--json", "--one-file-system", "--host=instantworker",
                   f"--time={at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", *options, "."]
        try:
            said = self._run(*command, folder=folder, patience_s=patience_s)
        except ResticError as error:
            if _EMPTY not in str(error):
                raise
            with tempfile.TemporaryDirectory() as nothing:
                Path(nothing, _NOTHING).touch()
                said = self._run(*command, folder=Path(nothing), patience_s=patience_s)
        found = next((line for line in map(_decoded, reversed(said.splitlines()))
                      if line.get("message_type") == "summary"), None)
        if found is None:
            raise ResticError(f"restic made no snapshot of {folder}: {said[-300:]}")
        return Saved(found["snapshot_id"], found["total_bytes_processed"], found["data_added"])

    def snapshots(self, **tags: str) -> list[Snapshot]:
        """Those with all of these tags, the oldest first."""
        wanted = ",".join(f"{name}={value}" if value else name for name, value in tags.items())
        said = self._run("snapshots", "--json", "--no-lock", *(
            [f"--tag={wanted}"] if wanted else []))
        found = [Snapshot(s["id"], datetime.fromisoformat(s["time"]), dict(
            tag.partition("=")[::2] for tag in s.get("tags") or ()))
            for s in json.loads(said) or ()]
        return sorted(found, key=lambda s: s.time)

    def restore(self, snapshot: str, folder: Path) -> None:
        """Puts a snapshot's content into a folder, owners and modes included, and reads it back.

        Raises:
            ResticError: not all of it is there now.
        """
        self._run("restore", snapshot, "--target", str(folder), "--verify", "--no-lock")
        (folder / _NOTHING).unlink(missing_ok=True)

    def forget(self, *snapshots: str) -> None:
        if snapshots:
            self._run("forget", *snapshots)

    def keep(self, daily: int, weekly: int, monthly: int, *, prune: bool) -> None:
        """Forgets, of each folder, what none of the counts keeps. `prune`: and frees its room."""
        self._run("forget", "--group-by=host,tags", f"--keep-daily={daily}",
                  f"--keep-weekly={weekly}", f"--keep-monthly={monthly}", "--keep-last=2",
                  *(["--prune"] if prune else []))

    def check(self, part: str) -> None:
        """Whether the repository is whole; `part` of its data, such as 5%, is read."""
        self._run("check", f"--read-data-subset={part}")

    def unlock(self) -> None:
        """Removes the locks of those that ended without."""
        self._run("unlock", patience_s=300.0)

    def _run(self, *arguments: str, folder: Path | None = None,
             patience_s: float = _PATIENCE_S) -> str:
        try:
            made = subprocess.Popen(
                ["nice", "-n", "10", "restic", *self._options, *arguments], cwd=folder,
                env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        except OSError as error:
            raise ResticError(f"restic can't be started ({error}); install it (apt-get install "
                              "restic)") from error
        try:
            said, wrong = self._heard(made, arguments[0], time.monotonic() + patience_s)
        finally:
            if made.poll() is None:
                os.killpg(made.pid, signal.SIGKILL)
                made.wait()
        if made.returncode == _INCOMPLETE:
            raise ResticError(f"something in {folder} could not be read: {self._plain(wrong)}")
        if made.returncode != 0:
            why = self._plain(wrong or said)
            if self._ssh and "sftp session" in why:
                why = self._plain(sftp.refusal(self._ssh)) or why  # it does not always tell
            raise ResticError(f"restic {arguments[0]} failed at {self._named()}: {why}")
        return said

    def _heard(self, made: subprocess.Popen[str], verb: str, until: float) -> tuple[str, str]:
        while True:
            try:
                return made.communicate(timeout=1.0)
            except subprocess.TimeoutExpired:
                if self._stopping():
                    raise ResticError(f"restic {verb} was stopped") from None
                if time.monotonic() > until:
                    raise ResticError(f"restic {verb} at {self._named()} took too long") from None

    def _named(self) -> str:
        """The place, without a password that its address may hold."""
        head, at, tail = self.place.rpartition("@")
        return f"{head.partition('://')[0]}://…@{tail}" if at and "://" in head else self.place

    def _plain(self, text: str) -> str:
        for secret in (self.place, *self._access.values()):
            text = text.replace(secret, self._named() if secret == self.place else "…")
        return " ".join(text.split())[-500:]


def newest(snapshots: Sequence[Snapshot], until: datetime | None = None) -> Snapshot | None:
    """The newest of them, of no later than `until`."""
    return next((s for s in reversed(snapshots) if until is None or s.time <= until), None)


def _decoded(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
