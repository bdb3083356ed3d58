"""What an installation holds beside its employees' files: the state repo, the database, the books
of the model proxy, secrets, certificates. Taken as it is into a folder, and put back from it.

What is not taken is made anew by the loop: containers, networks, records, configuration, and the
engine's own state.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stacks import StackError
from stacks.restic import Snapshot
from state_repo.instance import Instance

FORMAT = 1
# Tags of snapshots: of all that is copied here, and of what a restore replaced.
PLATFORM, UNDO = "platform", "before-restore"
_MANIFEST, _BUNDLE, _DUMP = "manifest.json", "state.bundle", "database.pgdump"
_DATABASES = {"database.sqlite3": Path("database/instantworker.db"),
              "ledger.sqlite3": Path("data/model_proxy/ledger.db")}
# As they are: what never changes under a reader, or is written whole.
_TREES = ("instance.json", "images-set.json", "skills-set.json", "rollout.json", "backup.json",
          "secrets", "made", "volumes", "data/edge", "data/model_proxy/ledger.db.sums.json")
_PATIENCE_S = 3600.0


@dataclass(frozen=True, slots=True)
class VolumeCopied:
    """A volume of the copy. `employee` None: the company's knowledge."""

    name: str
    customer: str
    employee: str | None

    @property
    def tags(self) -> dict[str, str]:
        """Of its snapshots."""
        return {"volume": self.name, "customer": self.customer} | (
            {"employee": self.employee} if self.employee else {})


def of_volume(snapshots: Iterable[Snapshot], name: str, *, undo: bool = False) -> list[Snapshot]:
    """Those of a volume, in their order. `undo`: also those of what a restore replaced."""
    return [s for s in snapshots if s.tags.get("volume") == name and (undo or UNDO not in s.tags)]


def take(instance: Instance, folder: Path, head: str | None, volumes: Sequence[VolumeCopied]
         ) -> None:
    """Copies everything into an empty folder. `head`: the state repo's newest commit; `volumes`:
    what is copied beside it.

    Raises:
        StackError: something could not be copied.
    """
    try:
        for name in _TREES:
            source = instance.data / name
            if source.exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _run("cp", "--archive", "--one-file-system", str(source), str(folder / name))
        if head is not None:
            _run("git", "-C", str(instance.state_repo_path), "bundle", "create", "--quiet",
                 str(folder / _BUNDLE), "--all")
        for name, path in _DATABASES.items():
            if (instance.data / path).exists():
                _copy_sqlite(instance.data / path, folder / name)
        if not instance.database_url.startswith("sqlite"):
            _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges",
                 f"--file={folder / _DUMP}", f"--dbname={_without_password(instance.database_url)}",
                 env=_password(instance.database_url))
        (folder / _MANIFEST).write_text(json.dumps({
            "format": FORMAT, "instance": instance.id, "head": head,
            "volumes": [asdict(volume) for volume in volumes]}, indent=2))
    except (OSError, sqlite3.Error) as error:
        raise StackError(f"not everything could be copied: {error}") from error


def manifest(folder: Path) -> tuple[str | None, list[VolumeCopied]]:
    """The newest commit, and the volumes.

    Raises:
        StackError: the folder holds no copy, or one of another format.
    """
    try:
        found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        if found["format"] != FORMAT:
            raise StackError(f"this copy has format {found['format']}, and {FORMAT} is known here: "
                             "use the version of the code that made it")
        return found["head"], [VolumeCopied(**volume) for volume in found["volumes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{folder} holds no copy of an installation ({error})") from error


def check(folder: Path) -> None:
    """Raises StackError: what is in the folder could not be put back."""
    head, _ = manifest(folder)
    if head is not None:
        said = _run("git", "bundle", "list-heads", str(folder / _BUNDLE))
        if head not in said:
            raise StackError(f"the state repo's copy does not hold {head[:10]}")
        with_repo = folder / "check.git"
        unbundle(folder, with_repo)
        _run("git", "-C", str(with_repo), "fsck", "--connectivity-only", "--no-progress")
    for name in _DATABASES:
        if (folder / name).exists():
            try:
                with closing(sqlite3.connect(folder / name)) as copy:
                    (answer,) = copy.execute("PRAGMA integrity_check").fetchone()
            except sqlite3.Error as error:
                answer = str(error)
            if answer != "ok":
                raise StackError(f"{name} is damaged: {answer}")
    if (folder / _DUMP).exists():
        _run("pg_restore", "--list", str(folder / _DUMP))


def put_back(folder: Path, data: Path, environment: Mapping[str, str] = os.environ) -> Instance:
    """Makes a data folder of the copy. A database server's database must be there, and empty.

    Raises:
        StackError: the data folder is in use, or something could not be put back.
    """
    if (data / "instance.json").exists():
        raise StackError(f"{data} holds an installation already; nothing was changed")
    head, _ = manifest(folder)
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        for name in _TREES:
            if (folder / name).exists() and name != "instance.json":
                (data / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _run("cp", "--archive", "--no-target-directory", str(folder / name),
                     str(data / name))
        if head is not None:
            unbundle(folder, data / "state.git")
        for name, path in _DATABASES.items():
            if (folder / name).exists():
                (data / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _run("cp", "--archive", str(folder / name), str(data / path))
        text = (folder / "instance.json").read_text()
        if (folder / _DUMP).exists():
            url = environment.get("DATABASE_URL") or json.loads(text).get("database")
            if not url:
                raise StackError("the copy holds a PostgreSQL database: name one that is empty in "
                                 "DATABASE_URL")
            _run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error",
                 f"--dbname={_without_password(url)}", str(folder / _DUMP), env=_password(url))
        (data / "instance.json").write_text(text)  # the last: now it is one
    except OSError as error:
        raise StackError(f"not everything could be put back into {data}: {error}") from error
    return Instance.load(data)


def unbundle(folder: Path, repo: Path) -> None:
    """Makes a state repo of the copy's. Raises StackError."""
    _run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(repo))
    _run("git", "-C", str(repo), "config", "gc.auto", "0")
    _run("git", "-C", str(repo), "fetch", "--quiet", str(folder / _BUNDLE), "+refs/*:refs/*")


def _copy_sqlite(source: Path, target: Path) -> None:
    """Of one moment, whoever writes meanwhile (https://www.sqlite.org/backup.html)."""
    with (closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30.0)) as old,
          closing(sqlite3.connect(target)) as new):
        old.backup(new)
    stat = source.stat()
    os.chown(target, stat.st_uid, stat.st_gid)


def _without_password(url: str) -> str:
    """As libpq reads it: a password is nothing for a list of processes."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(scheme="postgresql", netloc=f"{user}{host}").geturl()


def _password(url: str) -> dict[str, str]:
    password = urlsplit(url).password
    return {"PGPASSWORD": password} if password else {}


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
            stdin=subprocess.DEVNULL, env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8",
                # The state repo is shared with the web app's user, and ours all the same.
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*", **(env or {})})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise StackError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
