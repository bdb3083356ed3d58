"""Files of an employee's volume, read and written from the host.

The agent in the container owns the folder, is not trusted, and changes it while we work: it may put
a link where a folder was. So no path is ever handed to the kernel as a whole. Every component is
opened by itself, relative to the folder before it, and never through a link.

Sizes are bytes, times are UTC, paths are relative to the root with `/` between their parts.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import secrets
import stat
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from stacks import StackError

MAX_DEPTH = 64  # parts of a path
MAX_PART = 255  # bytes; Linux's own limit
MAX_PATH = 4096  # bytes
MAX_LISTED = 5_000  # entries of one folder
MAX_WALKED = 200_000  # entries that `usage` looks at: under a second
MAX_ARCHIVED = 50_000  # files of one archive
DELETE_SECONDS = 30.0
PIECE = 1 << 18  # bytes
TEMPORARY = ".iw-"  # how the names of our own half-written files begin

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a FIFO would wait for a writer, a file that the agent leases for the agent.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Two of our own requests must not both pass the same check of an ETag. Held for microseconds.
_changes = threading.Lock()

Parts = tuple[bytes, ...]


class PathRefused(StackError):
    """The path cannot be used, or what is there is of the wrong sort."""


class NotFound(StackError):
    """Nothing is there."""


class Conflict(StackError):
    """What is there is not what the caller thinks; nothing was changed."""


class TooLarge(StackError):
    """More than one file, or one archive, may hold."""


class NoSpace(StackError):
    """The volume's share, or the disk, is full."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder, or something else (a link, a FIFO) that is only shown.

    `etag`: strong and quoted, for files alone. `reachable`: False if the name is not UTF-8; it is
    shown with replacement characters and no path leads to it.
    """

    name: str
    path: str
    kind: Literal["file", "folder", "other"]
    size: int
    modified: datetime
    etag: str | None
    reachable: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's entries, folders first. `cut_off`: there are more than MAX_LISTED."""

    entries: list[Entry]
    cut_off: bool


class Usage(NamedTuple):
    """Bytes that the disk gives to regular files, how many files they are, and how many entries
    of all kinds there are.

    `complete`: False if the walk ended at MAX_WALKED entries, and all are lower bounds.
    """

    bytes: int
    files: int
    complete: bool
    entries: int = 0


def checked(path: str) -> Parts:
    """The path's parts; none for the root, "". PathRefused says what is wrong with it."""
    if not path:
        return ()
    if path.startswith("/"):
        raise PathRefused(f"{path!r} is absolute; leave the leading / away")
    try:
        parts = tuple(part.encode() for part in path.split("/"))
    except UnicodeEncodeError:
        raise PathRefused(f"{path!r} is not valid text; a path is UTF-8") from None
    if len(path.encode()) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise PathRefused(f"the path is too long; up to {MAX_PATH} bytes and {MAX_DEPTH} parts")
    for part in parts:
        if not part:
            raise PathRefused(f"{path!r} has an empty part; write one / between two names")
        if part in (b".", b".."):
            raise PathRefused(f"{path!r} has a part {part.decode()!r}; write the plain path")
        if b"\0" in part:
            raise PathRefused(f"{path!r} has a NUL character; leave it away")
        if len(part) > MAX_PART:
            raise PathRefused(f"a name is too long: {part.decode()[:40]!r}…; up to {MAX_PART} "
                              "bytes")
    return parts


class Workspace:
    """The files beneath `root`, a folder whose parent belongs to root alone.

    What is written belongs to `uid`:`gid`. A file has up to `max_file_bytes`, all files together
    up to `max_total_bytes`. Needs no state: make one per request.
    """

    def __init__(self, root: Path, uid: int, gid: int, max_file_bytes: int,
                 max_total_bytes: int) -> None:
        self._root, self._uid, self._gid = root, uid, gid
        self._max_file, self._max_total = max_file_bytes, max_total_bytes

    def list(self, path: str = "") -> Listing:
        """What is in a folder. NotFound, or PathRefused if it is no folder."""
        parts = checked(path)
        entries = []
        with _plainly(path), self._folder(parts) as folder, os.scandir(folder) as found:
            for item in itertools.islice(found, MAX_LISTED + 1):
                # Removed between the name and its details.
                with contextlib.suppress(FileNotFoundError):
                    entries.append(_entry((*parts, os.fsencode(item.name)),
                                          item.stat(follow_symlinks=False)))
        cut_off = len(entries) > MAX_LISTED
        entries = entries[:MAX_LISTED]
        entries.sort(key=lambda e: (e.kind != "folder", e.name.casefold(), e.name))
        return Listing(entries, cut_off)

    def open(self, path: str) -> tuple[Entry, BinaryIO]:
        """A regular file, to be read and closed by the caller; it can seek.

        The agent may change the file meanwhile: send no more than `Entry.size`, and be ready for
        less.
        """
        return self._open(_not_root(path), path)

    def write(self, path: str, chunks: Iterable[bytes], if_match: str | None = None,
              if_none_match: bool = False) -> Entry:
        """Makes or replaces a file at once, when the last chunk has come; and its parents.

        `if_match`: the ETag that is to be replaced. `if_none_match`: nothing may be there.
        Conflict, TooLarge, NoSpace, or what `chunks` raises leave everything as it was (but for
        new parents).
        """
        *folders, name = _not_root(path)
        temporary = f"{TEMPORARY}{secrets.token_hex(8)}".encode()
        with _plainly(path), self._folder(folders, make=if_match is None) as folder:
            name = _spelt(folder, name)
            returned = _replaceable(folder, name, path, if_match, if_none_match)
            room = self._max_total - self.usage().bytes + returned
            handle = os.open(temporary, CREATE, 0o600, dir_fd=folder)
            try:
                with open(handle, "wb") as file:
                    written = 0
                    for chunk in chunks:
                        written += len(chunk)
                        if written > self._max_file:
                            raise TooLarge(f"{path!r} is too large; a file has up to "
                                           f"{self._max_file:,} bytes")
                        if written > room:
                            raise NoSpace(f"no room for {path!r}; {max(room, 0):,} bytes are left "
                                          f"of {self._max_total:,}")
                        file.write(chunk)
                    file.flush()
                    os.fchmod(handle, 0o644)
                    os.fchown(handle, self._uid, self._gid)
                    with _changes:
                        _replaceable(folder, name, path, if_match, if_none_match)
                        if if_none_match:  # unlike a rename, never replaces
                            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder,
                                    follow_symlinks=False)
                        else:
                            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                    return _entry((*folders, name), os.fstat(handle))
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)

    def delete(self, path: str, if_match: str | None = None) -> None:
        """Removes a file, a link itself, or a folder with all that is in it.

        Conflict if `if_match` is not the file's ETag, or if the agent fills the folder faster than
        it can be emptied (a part of it is gone then).
        """
        *folders, name = _not_root(path)
        with _plainly(path), self._folder(folders) as folder:
            name = _spelt(folder, name)
            with _changes:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if if_match is not None and if_match != etag_of(found):
                    raise Conflict(f"{path!r} has changed; read it again")
                if not stat.S_ISDIR(found.st_mode):
                    os.unlink(name, dir_fd=folder)
                    return
            _remove_folder(folder, name, path)

    def make_folder(self, path: str) -> Entry:
        """Makes a folder, and its parents. Conflict if something is there."""
        *folders, name = parts = _not_root(path)
        with _plainly(path), self._folder(folders, make=True) as folder:
            name = _spelt(folder, name)
            os.mkdir(name, 0o755, dir_fd=folder)
            inner = self._own_folder(folder, name)
            try:
                return _entry(parts, os.fstat(inner))
            finally:
                os.close(inner)

    def move(self, source: str, target: str) -> Entry:
        """Gives a file or folder another path, making that one's parents.

        Conflict if something is at the target.
        """
        *folders, name = _not_root(source)
        *new_folders, new_name = new = _not_root(target)
        with _plainly(source), self._folder(folders) as folder:
            name = _spelt(folder, name)
            os.stat(name, dir_fd=folder, follow_symlinks=False)  # NotFound makes no parents
            with _plainly(target), self._folder(new_folders, make=True) as new_folder, _changes:
                new_name = _spelt(new_folder, new_name)
                if _exists(new_folder, new_name):
                    raise Conflict(f"{target!r} is already there; choose another name")
                os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
                return _entry(new, os.stat(new_name, dir_fd=new_folder, follow_symlinks=False))

    def make_way(self, path: str) -> tuple[str, ...]:
        """Moves aside what keeps a file from being written at `path`: something else where a
        folder or the file is to be (a folder, a link, a FIFO). Nothing is lost: it stays beside
        it, under the names that are returned.
        """
        *folders, name = _not_root(path)
        moved: tuple[str, ...] = ()
        with _plainly(path):
            handle = os.open(self._root, FOLDER)
            try:
                for part in folders:
                    moved += _moved_aside(handle, part, stat.S_ISDIR)
                    try:
                        inner = os.open(part, FOLDER, dir_fd=handle)
                    except FileNotFoundError:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=handle)
                        inner = self._own_folder(handle, part)
                    os.close(handle)
                    handle = inner
                moved += _moved_aside(handle, name, stat.S_ISREG)
            finally:
                os.close(handle)
        return moved

    def usage(self) -> Usage:
        """What the regular files take, hard links counted once."""
        total = files = entries = 0
        seen = set()
        with _plainly(""):
            for walked, (_, found) in enumerate(self._walk(())):
                if walked == MAX_WALKED:
                    return Usage(total, files, complete=False, entries=walked)
                entries = walked + 1
                if not stat.S_ISREG(found.st_mode):
                    continue
                files += 1
                if found.st_nlink > 1:
                    if found.st_ino in seen:
                        continue
                    seen.add(found.st_ino)
                total += _taken(found)
        return Usage(total, files, complete=True, entries=entries)

    def archive(self, path: str, write: Callable[[bytes], object]) -> None:
        """Hands a .zip of a folder's regular files to `write`, piece by piece.

        TooLarge (more than `max_total_bytes`, or MAX_ARCHIVED files) comes before the first piece.
        Names that are not UTF-8 are left out.
        """
        parts = checked(path)
        with _plainly(path), self._folder(parts):
            pass  # refused here if it is no folder
        total, files = 0, []
        for walked, (inner, found) in enumerate(self._walk(parts)):
            if stat.S_ISREG(found.st_mode):
                files.append(inner)
                total += found.st_size
            if total > self._max_total or len(files) > MAX_ARCHIVED or walked > MAX_WALKED:
                raise TooLarge(f"{path or 'the whole folder'!r} is too large for one archive (up "
                               f"to {self._max_total:,} bytes in {MAX_ARCHIVED:,} files); "
                               "download a folder inside it")
        left = self._max_total
        with zipfile.ZipFile(cast(BinaryIO, _Sink(write)), "w") as archive:
            for inner in sorted(files):
                try:
                    name = b"/".join(inner[len(parts):]).decode()
                    entry, file = self._open(inner, path)
                except (UnicodeDecodeError, NotFound, PathRefused, Conflict):
                    continue  # the last three: it has changed since we counted
                with file:
                    info = zipfile.ZipInfo(_archived_name(name),
                                           _archived_time(entry.modified))
                    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                    # It may grow while we read: no more than it had, nor than is left.
                    size = min(entry.size, left)
                    left -= size
                    with archive.open(info, "w", force_zip64=size >= 1 << 30) as out:
                        while size > 0 and (piece := file.read(min(size, PIECE))):
                            out.write(piece)
                            size -= len(piece)

    def _open(self, parts: Parts, path: str) -> tuple[Entry, BinaryIO]:
        with _plainly(path), self._folder(parts[:-1]) as folder:
            parts = (*parts[:-1], _spelt(folder, parts[-1]))
            handle = os.open(parts[-1], READ, dir_fd=folder)
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                os.close(handle)
                raise PathRefused(f"{path!r} is not a regular file")
            return _entry(parts, found), open(handle, "rb")

    @contextlib.contextmanager
    def _folder(self, parts: Iterable[bytes], make: bool = False) -> Iterator[int]:
        """A handle on a folder, made on the way if asked."""
        handle = os.open(self._root, FOLDER)
        try:
            for asked in parts:
                part = _spelt(handle, asked)
                try:
                    inner = os.open(part, FOLDER, dir_fd=handle)
                except FileNotFoundError:
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=handle)
                    inner = self._own_folder(handle, part)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def _own_folder(self, parent: int, name: bytes) -> int:
        """A handle on the folder that we just made, now the agent's.

        Should the agent have put another in its place, that one is its own already.
        """
        handle = os.open(name, FOLDER, dir_fd=parent)
        try:
            os.fchmod(handle, 0o755)
            os.fchown(handle, self._uid, self._gid)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _walk(self, start: Parts) -> Iterator[tuple[Parts, os.stat_result]]:
        """Everything beneath a folder, MAX_DEPTH down, on this file system.

        Every folder is reached anew from the root: a constant number of handles, however deep.
        """
        device = self._root.stat().st_dev
        waiting = [start]
        while waiting:
            here = waiting.pop()
            # Removed, or swapped for something else, since its parent was read.
            with (contextlib.suppress(FileNotFoundError, NotADirectoryError),
                  self._folder(here) as folder, os.scandir(folder) as items):
                for item in items:
                    try:
                        found = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    parts = (*here, os.fsencode(item.name))
                    if (stat.S_ISDIR(found.st_mode) and found.st_dev == device
                            and len(parts) < MAX_DEPTH):
                        waiting.append(parts)
                    yield parts, found


class _Sink(io.RawIOBase):
    """A stream that only goes forward."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # any buffer
        self._write(bytes(data))
        return len(data)


def _spelt(folder: int, name: bytes) -> bytes:
    """The name that is there already, if only the way differs in which its accents are composed
    (macOS decomposes them); else this one, composed."""
    if name.isascii() or _exists(folder, name):
        return name
    wanted = _composed(name)
    with os.scandir(folder) as found:
        for item in itertools.islice(found, MAX_WALKED):
            other = os.fsencode(item.name)
            if not other.isascii() and _composed(other) == wanted:
                return other
    return wanted


def _composed(name: bytes) -> bytes:
    try:
        return unicodedata.normalize("NFC", name.decode()).encode()
    except UnicodeDecodeError:  # the agent's own
        return name


def _not_root(path: str) -> Parts:
    parts = checked(path)
    if not parts:
        raise PathRefused("the path is empty; name a file or folder")
    return parts


def _entry(parts: Parts, found: os.stat_result) -> Entry:
    path = b"/".join(parts)
    try:
        text, reachable = path.decode(), True
    except UnicodeDecodeError:
        text, reachable = path.decode(errors="replace"), False
    name = parts[-1].decode(errors="replace")
    kind: Literal["file", "folder", "other"] = (
        "file" if stat.S_ISREG(found.st_mode)
        else "folder" if stat.S_ISDIR(found.st_mode) else "other")
    # The agent sets times as it likes; not every one of them is a date.
    seconds = min(max(found.st_mtime, 0.0), 2.0 ** 33)
    return Entry(name, text, kind, found.st_size, datetime.fromtimestamp(seconds, UTC),
                 etag_of(found), reachable)


def etag_of(found: os.stat_result) -> str | None:
    """Of a regular file, as `Entry.etag`; None for anything else."""
    if not stat.S_ISREG(found.st_mode):
        return None
    return f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"'


def _taken(found: os.stat_result) -> int:
    """Bytes on the disk: a sparse file may claim any size."""
    return found.st_blocks * 512


def _moved_aside(folder: int, name: bytes, wanted: Callable[[int], bool]) -> tuple[str, ...]:
    """Renames what is there, unless it is nothing or of the wanted sort; returns its new name."""
    try:
        if wanted(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return ()
    except FileNotFoundError:
        return ()
    aside = name[:MAX_PART - 24] + f".in-the-way-{secrets.token_hex(4)}".encode()
    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    return (aside.decode(errors="replace"),)


def _exists(folder: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _replaceable(folder: int, name: bytes, path: str, if_match: str | None,
                 if_none_match: bool) -> int:
    """Bytes that replacing the file gives back; raises if it may not be replaced."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        if if_match is not None:
            raise
        return 0
    if not stat.S_ISREG(found.st_mode):
        raise PathRefused(f"{path!r} is not a regular file; choose another name")
    if if_none_match:
        raise Conflict(f"{path!r} is already there; choose another name, or replace it")
    if if_match is not None and if_match != etag_of(found):
        raise Conflict(f"{path!r} has changed; read it again")
    return _taken(found)


def _remove_folder(parent: int, name: bytes, path: str) -> None:
    """Empties a folder and removes it.

    Folders inside are moved up to the top one and emptied there, so that two handles are enough
    for any depth, and nothing recurses.
    """
    until = time.monotonic() + DELETE_SECONDS
    top = os.open(name, FOLDER, dir_fd=parent)
    try:
        while inner := _unlink_files(top, until, path):
            for folder in inner:
                try:
                    handle = os.open(folder, FOLDER, dir_fd=top)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # the agent was there; the next round sees what it is now
                try:
                    for deeper in _unlink_files(handle, until, path):
                        with contextlib.suppress(FileNotFoundError):
                            os.rename(deeper, secrets.token_hex(16).encode(),
                                      src_dir_fd=handle, dst_dir_fd=top)
                finally:
                    os.close(handle)
                # Not empty: the agent put something in; the next round.
                with contextlib.suppress(OSError):
                    os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _unlink_files(folder: int, until: float, path: str) -> list[bytes]:
    """Removes all but the folders in a folder, and names those."""
    inner = []
    with os.scandir(folder) as items:
        for item in items:
            if time.monotonic() > until:
                raise Conflict(f"{path!r} is too large, or being filled; delete it once more")
            name = os.fsencode(item.name)
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                inner.append(name)
            except FileNotFoundError:
                continue
    return inner


def _archived_name(path: str) -> str:
    """Without what another system takes for a separator, or cannot show."""
    return "".join("_" if c == "\\" or not c.isprintable() else c for c in path)


def _archived_time(when: datetime) -> tuple[int, int, int, int, int, int]:
    """A .zip knows the years 1980 to 2107."""
    if not 1980 <= when.year <= 2107:
        return 1980, 1, 1, 0, 0, 0
    return when.year, when.month, when.day, when.hour, when.minute, when.second


@contextlib.contextmanager
def _plainly(path: str) -> Iterator[None]:
    """Says in our words what the kernel refuses."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise NotFound(f"{path!r} is not there" if path else
                               "the folder of files is not there (yet)") from error
            case errno.ENOTDIR:
                raise PathRefused(f"{path!r}: not a folder where the path needs one (links are "
                                  "not followed)") from error
            case errno.ELOOP:
                raise PathRefused(f"{path!r} is a link; links are not followed") from error
            case errno.EISDIR | errno.ENXIO:
                raise PathRefused(f"{path!r} is not a regular file") from error
            case errno.EINVAL:
                raise PathRefused(f"{path!r} cannot be put into itself") from error
            case errno.EEXIST:
                raise Conflict(f"{path!r} is already there; choose another name") from error
            case errno.ENOTEMPTY | errno.EAGAIN:
                raise Conflict(f"{path!r} is being changed; try again") from error
            case errno.ENOSPC | errno.EDQUOT:
                raise NoSpace(f"no room for {path!r}; the disk is full") from error
        raise
