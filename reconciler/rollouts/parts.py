"""What a roll-out does to one employee beside changing its document: its files, its chat."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import IO

from reconciler.fleet import Fleet
from reconciler.probe import PORTS, page_problem
from reconciler.storage import Disk, reserve
from reconciler.turns import Turns
from stacks import StackError, cgroup
from stacks.employee_files import UID, volume_folder
from stacks.providers.docker_api import speaking
from stacks.providers.docker_container import image_id
from stacks.volumes import back_up, emptied, restore
from stacks.workspace import NotFound, Workspace
from state_repo.instance import Instance

_WORKSPACE = "workspace/"


class Parts:
    """Of one instance. Whatever can't be done raises StackError."""

    def __init__(self, instance: Instance, fleet: Fleet, turns: Turns) -> None:
        self._instance, self._fleet, self._turns = instance, fleet, turns
        self._folder = instance.backups_path / "upgrade"

    def expect_image(self, image: str) -> None:
        """Raises StackError: it is not on this machine."""
        with speaking():
            image_id(image)

    # ---- what it is at -----------------------------------------------------------------------

    def is_busy(self, employee: str) -> bool:
        """Whether somebody is connected to it, or it does something."""
        container = cgroup.find(self._instance.container_name(employee))
        if container is None:
            return False
        seen = cgroup.use(container, PORTS, self._instance.ports["model_proxy"])
        return seen is not None and seen.is_in_use

    def freeze(self, employee: str) -> None:
        """It stands still, so that its files are of one moment. Nothing happens to one that is
        down."""
        name = self._instance.container_name(employee)
        if cgroup.find(name) is not None:
            cgroup.pause(name)

    def thaw(self, employee: str) -> None:
        name = self._instance.container_name(employee)
        if cgroup.find(name) is not None:
            cgroup.unpause(name)

    def stop(self, employee: str) -> None:
        """Nothing happens to one that is down."""
        name = self._instance.container_name(employee)
        if cgroup.find(name) is not None:
            cgroup.unpause(name)
            cgroup.stop(name, patience_s=2)

    # ---- its files ---------------------------------------------------------------------------

    def snapshot(self, employee: str) -> None:
        """Keeps a copy of its files."""
        folder = self._files(employee)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk, size = Disk.of(self._folder), _workspace(folder).usage().bytes
        if disk.free - size < reserve(disk.total):
            raise StackError(f"there is no room for a snapshot of {size >> 20:,} MiB beside what "
                             f"the host keeps free ({disk.free >> 20:,} MiB are free)")
        back_up(folder, self._snapshot(employee), level=1)

    def has_snapshot(self, employee: str) -> bool:
        """Whether there is one of this roll-out: those of the one before were forgotten."""
        return self._snapshot(employee).is_file()

    def put_back(self, employee: str) -> None:
        """Its files are again what they were at its snapshot. It is down meanwhile."""
        self.empty(employee)
        restore(self._snapshot(employee), self._files(employee))

    def empty(self, employee: str) -> None:
        """Removes all its files: a blank has none of anybody's."""
        emptied(self._files(employee))

    def changes(self, employee: str) -> tuple[list[str], list[str]]:
        """What became of its snapshot's files in the workspace: those that are gone, and those
        that hold something else, as paths below the workspace."""
        files, gone, other = _workspace(self._files(employee)), list[str](), list[str]()
        with tarfile.open(self._snapshot(employee), "r:gz") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                source = archive.extractfile(member) if member.isreg() else None
                if source is None or not path.startswith(_WORKSPACE):
                    continue
                try:
                    _, now = files.open(path)
                except NotFound:
                    gone.append(path.removeprefix(_WORKSPACE))
                    continue
                except StackError:  # a link by now, or a name that is never read
                    continue
                with now:
                    same = _digest(now) == _digest(source)
                if not same:
                    other.append(path.removeprefix(_WORKSPACE))
        return gone, other

    def forget_snapshots(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self, employee: str) -> Path:
        return volume_folder(self._instance.employee_volume(employee))

    def _snapshot(self, employee: str) -> Path:
        return self._folder / f"{self._instance.employee_volume(employee)}.tar.gz"

    # ---- its chat ----------------------------------------------------------------------------

    def page_problem(self, employee: str) -> str | None:
        """None when its chat's page is whole; else what is wrong."""
        row, visitor = self._fleet.rows().get(employee), self._fleet.visitor(employee)
        if row is None or not row["address"] or visitor is None:
            return "its chat has no address"
        return page_problem(row["address"], visitor)

    def ask(self, employee: str, text: str) -> str:
        """What it answers. Raises ReconcilerError: nothing; says why."""
        return self._turns.ask(employee, text)["text"]


def _digest(file: IO[bytes]) -> bytes:
    made = hashlib.sha256()
    while piece := file.read(1 << 20):
        made.update(piece)
    return made.digest()


def _workspace(root: Path) -> Workspace:
    """Its files, read past whatever links it may have laid."""
    return Workspace(root, UID, UID, 0, 0)
