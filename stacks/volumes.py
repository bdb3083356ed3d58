"""The volumes: which were ever made, and the disks that employees' lie on. What carries data is
never made anew in silence: a volume that was made and is not there is *lost*, and a person decides
what to do about it.

Kept as one empty file a volume in `<data>/volumes`, apart from Docker, whose loss is what this is
about.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from stacks import StackError
from stacks.disks import Disks
from stacks.providers.docker_api import client, speaking
from state_repo.instance import Instance


class VolumeLostError(StackError):
    """A volume that was made before is gone; the message says what to do."""


class Volumes:
    """The instance's volumes. Safe to use from several threads."""

    def __init__(self, instance: Instance) -> None:
        self._folder, self._backups = instance.data / "volumes", instance.backups_path
        self.disks = Disks(instance)
        self._guard = threading.Lock()
        # When a volume was copied into the backups' repository last.
        self.copied: Callable[[str], datetime | None] = lambda _: None
        self._made = {path.name for path in self._folder.glob("*")} if (
            self._folder.is_dir()) else set()

    def note(self, present: Collection[str]) -> None:
        """What is there was made."""
        for name in set(present) - self._made:
            self._mark(name)

    def missing(self, present: Collection[str]) -> frozenset[str]:
        with self._guard:
            return frozenset(self._made.difference(present))

    def was_made(self, name: str) -> bool:
        with self._guard:
            return name in self._made

    def make(self, name: str, labels: Mapping[str, str]) -> None:
        """Makes one, empty, with a disk where it has one. Raises StackError."""
        options = self.disks.options(name)
        with speaking():
            client().create_volume(name, driver_opts=options, labels=dict(labels))
        self.note([name])

    def forget(self, name: str) -> None:
        """It was removed on purpose, or a person decided that it may begin empty."""
        with self._guard:
            self._made.discard(name)
            (self._folder / name).unlink(missing_ok=True)

    def backup(self, name: str) -> Path | None:
        """Its last backup, if there is one."""
        path = self._backups / f"{name}.tar.gz"
        return path if path.is_file() else None

    def reason(self, name: str, whose: str, option: str) -> str:
        """Why nothing is done, and what a person can do."""
        backup, copied = self.backup(name), self.copied(name)
        if copied is not None:
            offer = (f"it was backed up last at {copied:%Y-%m-%d %H:%M} UTC: "
                     f"iw backup restore {option}")
        elif backup is None:
            offer = "there is no backup of it here"
        else:
            made = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
            offer = (f"its last backup is of {made:%Y-%m-%d %H:%M} UTC ({backup.name}): "
                     f"iw restore {option} --from-backup")
        if trouble := self.disks.trouble(name):
            return (f"the volume {name} with {whose} can't be had, and is not made anew by itself: "
                    f"{trouble}; mend its disk, and it goes on within a minute; {offer}; to begin "
                    f"with nothing: iw restore {option} --empty")
        if self.disks.has(name):
            offer = (f"its disk is still there, so that nothing is lost: iw restore {option} "
                     f"--as-it-is; {offer}")
        return (f"the volume {name} with {whose} is gone from Docker, and is not made anew by "
                f"itself; {offer}; to begin with nothing: iw restore {option} --empty")

    def _mark(self, name: str) -> None:
        with self._guard:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).touch()
            self._made.add(name)


def back_up(folder: Path, target: Path, level: int = 9) -> str:
    """Writes everything below `folder` as a .tar.gz, whole or not at all, and reads it back.
    Returns its SHA-256. `level`: of compression, 1 (quick) to 9 (small).

    Raises:
        StackError: it is not complete; `target` is what it was before.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, fresh = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".new", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=level) as archive:
                archive.add(folder, arcname=".")
            file.flush()
            os.fsync(file.fileno())
        wanted = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
        with tarfile.open(fresh, "r:gz") as archive:
            found = {}
            for member in archive:
                name = member.name.removeprefix("./")
                if name != ".":
                    found[name] = member
                if member.isreg():
                    source = archive.extractfile(member)
                    while source is not None and source.read(1 << 20):
                        pass
        lacking = [name for name, stat in wanted.items() if name not in found and not _is_socket(
            stat)]
        if lacking:
            raise StackError(f"{lacking[0]} and {len(lacking) - 1} more are not in it")
        with open(fresh, "rb") as made:
            digest = hashlib.file_digest(made, "sha256").hexdigest()
        Path(fresh).rename(target)
        target.with_name(f"{target.name}.sha256").write_text(f"{digest}  {target.name}\n")
        return digest
    except (OSError, EOFError, tarfile.TarError) as error:
        raise StackError(f"the backup of {folder} is not complete ({error}); nothing was removed"
                         ) from error
    finally:
        Path(fresh).unlink(missing_ok=True)


def restore(backup: Path, folder: Path) -> None:
    """Puts a backup's content into an empty folder, owners and modes included.

    Raises:
        StackError: it is damaged, or the folder is not empty.
    """
    if any(folder.iterdir()):
        raise StackError(f"{folder} is not empty; nothing was restored")
    checksum = backup.with_name(f"{backup.name}.sha256")
    try:
        with open(backup, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum.exists() and checksum.read_text().split()[0] != digest:
            raise StackError(f"{backup} is not what was written (its checksum differs)")
        with tarfile.open(backup, "r:gz") as archive:
            # The volume was an employee's: its links may point anywhere, and go nowhere here.
            archive.extractall(folder, filter=_as_it_was)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise StackError(f"{backup} can't be read ({error})") from error


def emptied(folder: Path, keep: Collection[str] = ()) -> Path:
    """The folder, with nothing in it but what is called so."""
    for path in folder.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return folder


def _as_it_was(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Like the `tar` filter (nothing outside the folder, no devices), with owners kept."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return None
    safe = tarfile.tar_filter(member, folder)
    return safe.replace(uid=member.uid, gid=member.gid, deep=False)


def _is_socket(stat: os.stat_result) -> bool:
    return stat.st_mode & 0o170000 == 0o140000
