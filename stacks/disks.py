"""A disk for each employee: an ext4 file system in a file, mounted on this host, which Docker binds
into the container as its volume. The kernel itself says no to who writes more, or more files, than
it has room for; and a deleted file's room goes back to the host (discard).

In `<data>/disks`: `<volume>.img`, and `<volume>/` where it is mounted. Its files lie in a folder
*within* it (`FILES`): after a reboot, before it is mounted again, there is no such folder, so that
no container starts on an empty place.

Project quotas would do the same without a file, and are not what is found: Debian's ext4 is made
without them, and Docker's own support for them is for containers, not for volumes.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from stacks import StackError
from state_repo.documents import Storage
from state_repo.instance import Instance

log = logging.getLogger(__name__)
FILES = "files"
_JOURNAL_MIB = 16
_INODE = 256  # bytes
_OWN_INODES = 12  # of the file system itself, and the folder in which the files are
_PROGRAMS = ("mkfs.ext4", "e2fsck", "resize2fs", "losetup", "mount", "umount")
_ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
AGAIN_S = 60.0
_SLOW_S = 60.0
_LET_GO_S = 1.0  # a device goes soon after its last mount
_DOCKER_SOCKET = "/var/run/docker.sock"


class Disks:
    """The instance's disks. Safe to use from several threads of one process."""

    def __init__(self, instance: Instance) -> None:
        self.folder = instance.data / "disks"
        self._of = re.compile(re.escape(instance.employee_volume("")) + r"[a-z0-9-]+")
        self._lock = threading.RLock()
        self.storage = Storage()  # what a new one has room for
        self._broken: dict[str, tuple[float, str]] = {}  # when it was tried, and what is wrong
        self._grown_for: Storage | None = None
        self._impossible, self._asked = "nobody looked yet", -AGAIN_S

    def impossible(self) -> str:
        """Why this host can't make one; empty when it can. A no is asked again after AGAIN_S: it
        may be that Docker was away."""
        if self._impossible and time.monotonic() - self._asked >= AGAIN_S:
            self._impossible, self._asked = _why_not(), time.monotonic()
        return self._impossible

    def has(self, volume: str) -> bool:
        return self._image(volume).exists()

    def options(self, volume: str) -> dict[str, str]:
        """Docker's options of the volume, with the disk made and mounted; none for what lies in a
        folder of Docker's: the company's knowledge, which nobody writes but us.

        Raises:
            StackError: it could not be made; nothing of it is left.
        """
        if not self._of.fullmatch(volume) or (self.impossible() and not self.has(volume)):
            return {}
        with self._lock:
            if not self.has(volume):
                self._make(volume)
            return {"type": "none", "o": "bind", "device": str(self.mount(volume))}

    def mount(self, volume: str) -> Path:
        """Where its files are. Raises StackError: it is gone, or damaged beyond repair."""
        place, image = self.folder / volume, self._image(volume)
        with self._lock:
            if not os.path.ismount(place):
                if not image.exists():
                    raise StackError(f"the disk of {volume} is gone: there is no {image}")
                place.mkdir(mode=0o700, exist_ok=True)
                # A disk that is still held by a container has its device: never a second one.
                device = _run("losetup", "--find", "--nooverlap", "--show", "--direct-io=on",
                              str(image)).strip()
                try:
                    _mount(device, place)
                except StackError as error:
                    log.warning("%s can't be mounted, and is repaired: %s", image, error)
                    _run("e2fsck", "-f", "-p", device, good=(0, 1))
                    _mount(device, place)
                finally:  # it goes by itself with its last mount
                    _run("losetup", "--detach", device)
            return place / FILES

    def mount_all(self) -> dict[str, str]:
        """Mounts what is not, after a reboot for one. By volume: why it is not to be had. What is
        broken is tried again after AGAIN_S."""
        with self._lock:
            if not self.folder.is_dir():
                return {}
            mounted, broken = _mounted(self.folder), dict[str, str]()
            known = {path.name.removesuffix(".img") for path in self.folder.iterdir()
                     if path.suffix == ".img" or path.is_dir()}
            for volume in known - mounted.keys():
                at, why = self._broken.get(volume, (-AGAIN_S, ""))
                if time.monotonic() - at >= AGAIN_S:
                    try:
                        self.mount(volume)
                        continue
                    except StackError as error:
                        at, why = time.monotonic(), str(error)
                self._broken[volume], broken[volume] = (at, why), why
            for volume in self._broken.keys() - broken.keys():
                del self._broken[volume]
            return broken

    def trouble(self, volume: str) -> str:
        """Why its disk can't be had, as last seen; empty when it can."""
        return self._broken.get(volume, (0.0, ""))[1]

    def grow(self, volume: str, *, stopped: bool = False) -> None:
        """Gives it the room that `storage` says; it never shrinks. `stopped`: nobody uses it now,
        which it takes where the host does not let us do it under way (CAP_SYS_RESOURCE).

        Raises:
            StackError: it is as it was.
        """
        wanted = _bytes(self.storage)
        with self._lock:
            if not self.has(volume):
                return
            self.mount(volume)
            device, image = _mounted(self.folder)[volume], self._image(volume)
            if _size(device) >= wanted:
                return
            if image.stat().st_size < wanted:
                os.truncate(image, wanted)
            if stopped:
                try:
                    self._leave(volume)
                    _free(image)
                    _run("e2fsck", "-f", "-p", str(image), good=(0, 1))
                    _run("resize2fs", str(image))
                finally:
                    self.mount(volume)
            else:
                _run("losetup", "--set-capacity", device)
                _run("resize2fs", device)

    def grow_all(self, storage: Storage) -> None:
        """Gives all of them the room that `storage` says, once for each change of it."""
        self.storage = storage
        if storage == self._grown_for or not self.folder.is_dir():
            return
        self._grown_for = storage
        for image in sorted(self.folder.glob("*.img")):
            try:
                self.grow(image.stem)
            except StackError as error:
                log.warning("%s gets its room when it starts next: %s", image.stem, error)

    def count(self) -> int:
        return sum(1 for _ in self.folder.glob("*.img"))

    def remove(self, volume: str) -> None:
        """Nobody uses it any more."""
        with self._lock:
            self._leave(volume)
            self._image(volume).unlink(missing_ok=True)

    def set_aside(self, volume: str, folder: Path) -> Path | None:
        """Keeps what is there under another name, in `folder`; None: there is nothing."""
        with self._lock:
            if not self.has(volume):
                return None
            self._leave(volume)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = folder / f"{volume}.{datetime.now(UTC):%Y%m%dT%H%M%S}.img"
            self._image(volume).rename(kept)
            return kept

    def _image(self, volume: str) -> Path:
        return self.folder / f"{volume}.img"

    def _make(self, volume: str) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        fresh = self.folder / f"{volume}.new"
        try:
            with open(fresh, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                os.truncate(file.fileno(), _bytes(self.storage))
            # The file is all zeros, and stays sparse: nothing is written that says so again.
            _run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-I", str(_INODE),
                 "-N", str(_inodes(self.storage)),
                 "-J", f"size={_JOURNAL_MIB}", "-E", "assume_storage_prezeroed=1,nodiscard",
                 str(fresh))
            fresh.rename(self._image(volume))
        except OSError as error:
            raise StackError(f"the disk of {volume} can't be made: {error}") from error
        finally:
            fresh.unlink(missing_ok=True)

    def _leave(self, volume: str) -> None:
        place = self.folder / volume
        if os.path.ismount(place):
            _run("umount", str(place))
        if place.is_dir():
            place.rmdir()


def used(files: Path) -> tuple[int, int] | None:
    """Bytes, and files and folders, that are taken of a disk, also by files without a name; None:
    it is no disk of its own. Raises OSError."""
    if files.name != FILES or not os.path.ismount(files.parent):
        return None
    found = os.statvfs(files)
    return ((found.f_blocks - found.f_bfree) * found.f_frsize,
            max(found.f_files - found.f_ffree - _OWN_INODES, 0))


def unmount_all(folder: Path) -> None:
    """What is mounted in a folder is so no more; what is in use stays, and is told."""
    for name in _mounted(folder):
        try:
            _run("umount", str(folder / name))
        except StackError as error:
            log.warning("%s", error)


def _bytes(storage: Storage) -> int:
    """The size of a disk with that much room: with its inodes, its journal and its bitmaps."""
    mib = storage.employee_mb
    own = _JOURNAL_MIB + -(-storage.employee_files * _INODE >> 20) + mib // 4000 + 1
    return (mib + own) << 20


def _inodes(storage: Storage) -> int:
    """How many to ask for: each group of blocks (128 MiB) rounds them up to a block of inodes."""
    groups = -(-_bytes(storage) >> 27)
    return storage.employee_files + _OWN_INODES - groups * (4096 // _INODE)


def _free(image: Path) -> None:
    """Raises StackError: somebody holds the disk, a container or a program; it must not be
    written to beside them."""
    until = time.monotonic() + _LET_GO_S
    while _run("losetup", "--associated", str(image)):
        if time.monotonic() > until:
            raise StackError(f"{image} is in use")
        time.sleep(0.05)


def _size(device: str) -> int:
    """Bytes of the file system on it, as its superblock says."""
    with open(device, "rb") as file:
        file.seek(1024)
        block = file.read(1024)
    (low,), (shift,), (high,) = (struct.unpack_from("<I", block, at) for at in (4, 24, 336))
    return (low | high << 32) * (1024 << shift)


def _mount(device: str, place: Path) -> None:
    _run("mount", "-t", "ext4", "-o", "nosuid,nodev,discard,noatime", device, str(place))
    (place / FILES).mkdir(mode=0o755, exist_ok=True)


def _mounted(folder: Path) -> dict[str, str]:
    """By name: the device of what is mounted in a folder. See proc_pid_mountinfo(5)."""
    found, start = {}, f"{folder}/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        place = fields.split()[4].replace("\\040", " ")
        if place.startswith(start):
            found[place.removeprefix(start)] = source.split()[1]
    return found


def _why_not() -> str:
    if os.geteuid() != 0:
        return "the reconciler does not run as root"
    lacking = [name for name in _PROGRAMS
               if not any(Path(p, name).exists() for p in _ENV["PATH"].split(":"))]
    if lacking:
        return f"{', '.join(lacking)} is not installed (apt-get install e2fsprogs mount)"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices (modprobe loop)"
    try:
        _run("losetup", "--find")
        with socket.socket(socket.AF_UNIX) as docker:
            docker.settimeout(5.0)
            docker.connect(_DOCKER_SOCKET)
            pid, _, _ = struct.unpack("3i", docker.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        # What we mount has to be there for Docker too. 0: it is outside of what we can see.
        if not pid or _mounts_of(pid) != _mounts_of("self"):
            return "Docker runs apart from the reconciler, and would not see what is mounted"
    except (OSError, StackError) as error:
        return str(error)
    return ""


def _mounts_of(pid: int | str) -> Path:
    """The mount namespace of a process."""
    return Path(f"/proc/{pid}/ns/mnt").readlink()


def _run(program: str, *arguments: str, good: Collection[int] = (0,)) -> str:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, env=_ENV,
                              timeout=_SLOW_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{program} {arguments[-1]}: {error}") from error
    if done.returncode not in good:
        raise StackError(f"{program} {arguments[-1]}: {done.stderr.strip()[-500:]}")
    return done.stdout
