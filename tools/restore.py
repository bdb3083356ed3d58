"""Everything, onto a machine that has nothing but the repository's address and its password.

Runs inside the virtual environment; `make restore` installs what it needs first. Volumes are made
and filled before the data folder names an instance, so that one that was cut off is begun again.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from stacks import StackError, customer, platform_copy
from stacks.employee_files import NotMadeYet, volume_folder
from stacks.observed import volumes_of
from stacks.platform_copy import VolumeCopied
from stacks.restic import Repository, Snapshot, newest
from stacks.volumes import Volumes, emptied
from state_repo import StateRepoError
from state_repo.instance import Instance
from state_repo.store import Store
from tools.steps import StepError, step

# Of the environment: what places of backups ask for.
_ACCESS = ("AWS_", "B2_", "AZURE_", "GOOGLE_", "OS_", "ST_", "RCLONE_")
RESTORED = "restored"  # until `make run` has given everybody an image that is here


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--at", type=datetime.fromisoformat, help="as it was then, at the latest")
    given = parser.parse_args()
    place = os.environ.get("IW_RESTORE", "").strip()
    if not place:
        sys.exit("  Name the repository: IW_RESTORE=/mnt/backups make restore. Its password is "
                 "asked for, or read from IW_BACKUP_PASSWORD.")
    password = os.environ.get("IW_BACKUP_PASSWORD") or (
        getpass.getpass("  The backups' password: ") if sys.stdin.isatty() else "")
    if not password:
        sys.exit("  Without the backups' password nothing can be read: set IW_BACKUP_PASSWORD.")
    restore(place, password, given.data.resolve(), given.at)
    print(f"\n  Everything is back in {given.data.resolve()}. Start it: make run")


def restore(place: str, password: str, data: Path, at: datetime | None = None,
            environment: Mapping[str, str] = os.environ) -> None:
    """Exits with 1, and says why and what to do, when it can't."""
    if (data / "instance.json").exists():
        sys.exit(f"  {data} holds an installation already. Nothing was changed: name an empty "
                 "folder in IW_DATA, or `make purge` first.")
    data.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".restore-", dir=data.parent))
    try:
        key = work / "password"
        key.touch(mode=0o600)
        key.write_text(password)
        repository = Repository(place, key, work / "cache", {
            name: value for name, value in environment.items() if name.startswith(_ACCESS)})
        with _telling("read the repository", "check its address and the password"):
            snapshots = repository.snapshots()
            core = newest([s for s in snapshots if platform_copy.PLATFORM in s.tags], at)
            if core is None:
                raise StackError("it holds no whole backup" + (" of then" if at else ""))
        with _telling(f"the platform, as of {core.time:%Y-%m-%d %H:%M} UTC"):
            repository.restore(core.id, work / "platform")
            _, volumes = platform_copy.manifest(work / "platform")
            instance = replace(Instance.load(work / "platform"), data=data)
            platform_copy.unbundle(work / "platform", work / "state.git")
            made = Volumes(instance)
            made.disks.storage = Store(work / "state.git").platform().storage
            data.mkdir(parents=True, exist_ok=True, mode=0o750)
        for number, volume in enumerate(volumes):
            with _telling(f"files of {volume.employee or 'company ' + volume.customer} "
                          f"({number + 1} of {len(volumes)})"):
                _fill(repository, snapshots, core, instance, made, volume)
        with _telling("the platform's data"):
            platform_copy.put_back(work / "platform", data, environment)
            (data / RESTORED).touch()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(repository: Repository, snapshots: list[Snapshot], core: Snapshot, instance: Instance,
          volumes: Volumes, volume: VolumeCopied) -> None:
    snapshot = newest(platform_copy.of_volume(snapshots, volume.name), core.time)
    if snapshot is None:
        raise StackError(f"the repository holds no snapshot of {volume.name}")
    labels = customer.labels(instance, volume.customer, volume.employee)
    try:
        folder = volume_folder(volume.name)  # of an attempt that was cut off
        if volume.name not in {name for name, _, _ in volumes_of(instance.id)}:
            raise StackError(f"a volume {volume.name} is on this Docker already, and another "
                             "instance's; remove it, or restore on another machine")
        emptied(folder)
    except NotMadeYet:
        volumes.make(volume.name, labels)
        folder = volume_folder(volume.name)
    repository.restore(snapshot.id, folder)


@contextmanager
def _telling(name: str, hint: str = "mend that; the same command begins again") -> Iterator[None]:
    """A step whose errors are the rooms'."""
    with step(name):
        try:
            yield
        except (StackError, StateRepoError) as error:
            raise StepError(str(error), hint) from error


if __name__ == "__main__":
    main()
