"""Files of a hostile folder: no path leads out, nothing hangs, nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stacks import StackError, workspace
from stacks.workspace import Conflict, NoSpace, NotFound, PathRefused, TooLarge, Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    made = tmp_path / "outside"
    made.mkdir()
    (made / "secret").write_text("secret")
    return made


@pytest.fixture
def files(root: Path) -> Workspace:
    return Workspace(root, os.getuid(), os.getgid(), 1 << 20, 8 << 20)


def everything(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None
            for path in folder.rglob("*")}


def read(files: Workspace, path: str) -> bytes:
    _, file = files.open(path)
    with file:
        return file.read()


def attempts(files: Workspace, path: str):
    """Every way to use a path."""
    return [lambda: files.list(path), lambda: files.open(path),
            lambda: files.write(path, [b"x"]), lambda: files.delete(path),
            lambda: files.make_folder(path), lambda: files.move(path, "new"),
            lambda: files.move("there", path), lambda: files.archive(path, lambda _: None)]


@pytest.mark.parametrize(("path", "says"), [
    ("..", "plain path"), ("a/../../x", "plain path"), ("./a", "plain path"), ("/etc", "absolute"),
    ("a\0b", "NUL"), ("a//b", "empty part"), ("a/", "empty part"), ("x" * 256, "too long"),
    ("a/" * 64 + "b", "too long"), ("é" * 128, "too long"), ("\udcff", "not valid text")])
def test_a_bad_path_is_refused_by_every_method(root: Path, files: Workspace, path: str,
                                               says: str) -> None:
    (root / "there").write_text("x")
    for attempt in attempts(files, path):
        with pytest.raises(PathRefused, match=says):
            attempt()
    assert everything(root.parent) == {"volume": None, "volume/there": "x"}


def test_the_root_itself_is_not_written_moved_or_deleted(root: Path, files: Workspace) -> None:
    for attempt in (lambda: files.delete(""), lambda: files.write("", []),
                    lambda: files.open(""), lambda: files.move("", "a")):
        with pytest.raises(PathRefused):
            attempt()
    assert root.is_dir()


@pytest.mark.parametrize("path", ["folder/secret", "folder/new", "in/folder/secret",
                                  "folder/new/deeper"])
def test_no_path_goes_through_a_linked_folder(root: Path, outside: Path, files: Workspace,
                                              path: str) -> None:
    (root / "folder").symlink_to(outside)
    (root / "in").mkdir()
    (root / "in" / "folder").symlink_to("../../outside")
    (root / "there").write_text("x")
    for attempt in attempts(files, path):
        with pytest.raises(PathRefused, match="not a folder"):
            attempt()
    assert everything(outside) == {"secret": "secret"}


def test_a_linked_file_is_shown_never_followed_and_can_be_deleted(
        root: Path, outside: Path, files: Workspace) -> None:
    (root / "link").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    assert {(e.name, e.kind, e.etag) for e in files.list().entries} == {
        ("link", "other", None), ("folder", "other", None)}
    with pytest.raises(PathRefused, match="link"):
        files.open("link")
    with pytest.raises(PathRefused, match="not a regular file"):
        files.write("link", [b"x"])
    with pytest.raises(PathRefused):
        files.list("folder")
    files.delete("link")
    files.delete("folder")
    assert everything(outside) == {"secret": "secret"}
    assert not everything(root)


def test_a_fifo_and_a_socket_neither_hang_nor_open(root: Path, files: Workspace) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
    pieces: list[bytes] = []
    refused = []

    def use() -> None:
        for attempt in (lambda: files.open("fifo"), lambda: files.open("socket"),
                        lambda: files.write("fifo", [b"x"]), lambda: files.write("socket", [])):
            with pytest.raises(PathRefused, match="not a regular file"):
                attempt()
            refused.append(attempt)
        files.archive("", pieces.append)

    thread = threading.Thread(target=use, daemon=True)  # should it hang, the tests go on
    thread.start()
    thread.join(5)
    assert len(refused) == 4 and not thread.is_alive()
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).namelist() == []


def test_a_folder_is_not_a_file_nor_a_file_a_folder(root: Path, files: Workspace) -> None:
    (root / "folder").mkdir()
    (root / "file").write_text("x")
    for attempt in (lambda: files.open("folder"), lambda: files.write("folder", [b"x"]),
                    lambda: files.list("file"), lambda: files.write("file/x", [b"x"]),
                    lambda: files.archive("file", lambda _: None)):
        with pytest.raises(PathRefused):
            attempt()
    for attempt in (lambda: files.open("no"), lambda: files.list("no"),
                    lambda: files.delete("no"), lambda: files.move("no", "new/no")):
        with pytest.raises(NotFound):
            attempt()
    assert everything(root) == {"folder": None, "file": "x"}


def test_no_folder_at_all_is_not_found(tmp_path: Path) -> None:
    nothing = Workspace(tmp_path / "nothing", 0, 0, 1, 1)
    for attempt in (nothing.list, nothing.usage, lambda: nothing.write("a", [b""])):
        with pytest.raises(NotFound):
            attempt()


def test_list_sorts_folders_first_and_marks_odd_names(root: Path, files: Workspace) -> None:
    (root / "b").write_text("four")
    (root / "A").write_text("")
    (root / "z").mkdir()
    (root / "new\nline").write_text("")
    open(os.fsencode(root) + b"/bad\xff", "w").close()
    os.utime(root / "A", (0, -1))
    entries = files.list().entries
    assert [(e.name, e.kind, e.size, e.reachable) for e in entries if e.kind == "file"] == [
        ("A", "file", 0, True), ("b", "file", 4, True), ("bad�", "file", 0, False),
        ("new\nline", "file", 0, True)]
    assert entries[0].name == "z" and entries[0].etag is None
    assert (datetime.now(UTC) - entries[2].modified).total_seconds() < 60
    assert read(files, "new\nline") == b""


def test_list_says_when_it_is_cut_off(root: Path, files: Workspace,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MAX_LISTED", 3)
    for name in "abc":
        (root / name).touch()
    assert not files.list().cut_off
    (root / "d").touch()
    assert files.list().cut_off and len(files.list().entries) == 3


def test_write_makes_parents_and_gives_all_to_the_agent(root: Path) -> None:
    agent = 10001 if os.getuid() == 0 else os.getuid()
    files = Workspace(root, agent, agent, 100, 1 << 20)
    before = os.umask(0o077)
    try:
        entry = files.write("a/b/c.txt", [b"one ", b"two"])
        files.make_folder("d/e")
    finally:
        os.umask(before)
    assert (entry.path, entry.size, entry.kind) == ("a/b/c.txt", 7, "file")
    assert entry == files.list("a/b").entries[0]
    for path, mode in (("a", 0o755), ("a/b", 0o755), ("a/b/c.txt", 0o644), ("d/e", 0o755)):
        found = (root / path).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (agent, agent, mode)
    with pytest.raises(Conflict):
        files.make_folder("d/e")


def test_the_etag_changes_with_the_file_and_is_checked(root: Path, files: Workspace) -> None:
    first = files.write("a", [b"1"])
    assert first.etag and first.etag.startswith('"') and first.etag.endswith('"')
    assert files.open("a")[0].etag == first.etag
    second = files.write("a", [b"2"], if_match=first.etag)
    assert second.etag != first.etag
    for attempt in (lambda: files.write("a", [b"3"], if_match=first.etag),
                    lambda: files.write("a", [b"3"], if_none_match=True),
                    lambda: files.delete("a", if_match=first.etag)):
        with pytest.raises(Conflict):
            attempt()
    for path in ("gone", "gone/deeper"):
        with pytest.raises(NotFound):
            files.write(path, [b"3"], if_match=first.etag)
    assert everything(root) == {"a": "2"}
    files.write("b", [b"new"], if_none_match=True)
    files.delete("a", if_match=second.etag)
    assert everything(root) == {"b": "new"}


def test_a_change_while_we_receive_is_a_conflict(root: Path, files: Workspace) -> None:
    etag = files.write("a", [b"1"]).etag

    def chunks() -> Iterator[bytes]:
        yield b"ours"
        (root / "a").write_text("the agent's")
    with pytest.raises(Conflict):
        files.write("a", chunks(), if_match=etag)

    def more() -> Iterator[bytes]:
        yield b"ours"
        (root / "b").write_text("the agent's")
    with pytest.raises(Conflict):
        files.write("b", more(), if_none_match=True)
    assert everything(root) == {"a": "the agent's", "b": "the agent's"}


def test_limits_hold_while_streaming_and_leave_nothing(root: Path) -> None:
    files = Workspace(root, os.getuid(), os.getgid(), 1000, 100_000)
    files.write("old", [b"old"])
    with pytest.raises(TooLarge, match="1,000"):
        files.write("old", iter(lambda: b"x" * 100, None))  # endless
    for number in range(20):
        (root / f"fill{number}").write_bytes(b"x" * 4096)
    small = Workspace(root, os.getuid(), os.getgid(), 1 << 20, files.usage().bytes + 500)
    with pytest.raises(NoSpace, match="500 bytes are left"):
        small.write("new", [b"x" * 501])
    small.write("old", [b"y" * 501])  # what it replaces is given back

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("the client went away")
    with pytest.raises(RuntimeError):
        files.write("old", broken())
    assert not [*root.glob(".*")]
    assert (root / "old").read_text() == "y" * 501 and not (root / "new").exists()


def test_hard_links_count_once_and_sparse_files_what_they_take(root: Path,
                                                               files: Workspace) -> None:
    (root / "a").write_bytes(b"x" * 8192)
    os.link(root / "a", root / "b")
    with open(root / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    (root / "link").symlink_to("/")
    usage = files.usage()
    assert usage.files == 3 and usage.complete and 8192 <= usage.bytes < 1 << 20
    assert read(files, "b") == b"x" * 8192
    with pytest.raises(TooLarge):
        files.archive("", lambda _: pytest.fail("a byte was sent"))


def test_the_walk_is_bounded(root: Path, files: Workspace,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MAX_WALKED", 3)
    for name in "abcd":
        (root / name).touch()
    assert files.usage() == (0, 3, False, 3)


def test_move_never_replaces(root: Path, files: Workspace) -> None:
    files.write("a", [b"a"])
    files.write("f/b", [b"b"])
    with pytest.raises(Conflict):
        files.move("a", "f/b")
    assert files.move("a", "g/h").path == "g/h"
    with pytest.raises(PathRefused, match="into itself"):
        files.move("f", "f/inside")
    files.move("f", "g/f")
    assert everything(root) == {"g": None, "g/h": "a", "g/f": None, "g/f/b": "b"}


def test_a_folder_is_deleted_with_links_in_it_and_nothing_else(
        root: Path, outside: Path, files: Workspace) -> None:
    for path in ("a/b/c", "a/d", "keep"):
        (root / path).mkdir(parents=True)
    (root / "a/b/link").symlink_to(outside)
    (root / "a/b/c/secret").symlink_to(outside / "secret")
    os.link(outside / "secret", root / "a/hard")
    os.mkfifo(root / "a/d/fifo")
    open(os.fsencode(root) + b"/a/bad\xff", "w").close()
    files.delete("a")
    assert everything(root) == {"keep": None}
    assert everything(outside) == {"secret": "secret"}


def test_a_tree_deeper_than_any_limit_is_walked_and_deleted(root: Path, files: Workspace) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert files.usage().files == 0
    files.archive("", lambda _: None)
    files.delete("d")
    assert not everything(root)


def test_an_archive_holds_regular_files_and_harmless_names(root: Path, outside: Path,
                                                           files: Workspace) -> None:
    files.write("f/a.txt", [b"a" * 1000])
    files.write("f/in/b.txt", [b"b"])
    files.write("other", [b"c"])
    (root / "f/..\\evil").write_text("w")
    (root / "f/link").symlink_to(outside / "secret")
    (root / "f/linked").symlink_to(outside)
    os.utime(root / "f/a.txt", (0, 0))  # before a .zip's first year
    pieces: list[bytes] = []
    files.archive("f", pieces.append)
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == {
            "a.txt": b"a" * 1000, "in/b.txt": b"b", ".._evil": b"w"}


@pytest.mark.parametrize("action", ["write", "delete", "list", "archive"])
def test_a_folder_swapped_for_a_link_while_we_work_leads_nowhere(
        root: Path, outside: Path, files: Workspace, action: str) -> None:
    """The agent's best weapon: between two steps of ours, `d/e` becomes a link to the outside."""
    (outside / "e").mkdir()
    (outside / "e" / "secret").write_text("secret")
    before = everything(outside)
    (root / "link").symlink_to(outside)
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "secret").write_text("mine")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for source, target in (("d", "aside"), ("link", "d"), ("d", "link"), ("aside", "d")):
                with contextlib.suppress(OSError):
                    (root / source).rename(root / target)

    thread = threading.Thread(target=swap)
    thread.start()
    worked = 0
    seen: list[bytes] = []
    until = time.monotonic() + 0.5
    try:
        while time.monotonic() < until:
            with contextlib.suppress(StackError):
                match action:
                    case "write":
                        files.write("d/e/new", [b"x"])
                        files.write("d/e/secret", [b"mine"])
                    case "delete":
                        files.delete("d/e/secret")
                        files.delete("d/e")
                    case "list":
                        seen.append(read(files, "d/e/secret"))
                        assert "secret" not in [e.name for e in files.list("d").entries]
                    case _:
                        pieces: list[bytes] = []
                        files.archive("", pieces.append)
                        with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
                            seen += map(archive.read, archive.namelist())
                worked += 1
            if action == "delete":
                with contextlib.suppress(StackError):
                    files.write("d/e/secret", [b"mine"])
    finally:
        done.set()
        thread.join()
    assert worked, "the race was never won by us: the test shows nothing"
    assert everything(outside) == before
    assert set(seen) <= {b"mine"}


def test_fifty_megabytes_pass_through_in_bounded_memory(root: Path) -> None:
    program = """
import os, sys, resource
from pathlib import Path
from stacks.workspace import Workspace
files = Workspace(Path(sys.argv[1]), os.getuid(), os.getgid(), 1 << 30, 1 << 30)
piece = os.urandom(1 << 16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
files.write("big", (piece for _ in range(800)))
entry, file = files.open("big")
with file:
    file.seek(-10, 2)
    assert file.read() == piece[-10:] and entry.size == 800 << 16
sent = 0
def count(data):
    global sent
    sent += len(data)
files.archive("", count)
assert sent > entry.size
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = subprocess.run([sys.executable, "-c", program, str(root)], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout
    assert int(grown) < 16_000  # kB


def test_no_handle_is_left_open(root: Path, outside: Path, files: Workspace) -> None:
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "fifo")

    def use() -> None:
        for attempt in (lambda: files.open("fifo"), lambda: files.list("link"),
                        lambda: files.write("link/x", [b"x"]), lambda: files.write("a/b", [b"x"]),
                        lambda: files.delete("a"), lambda: files.write("fifo", [])):
            with contextlib.suppress(StackError):
                attempt()
    use()
    before = len([*Path("/proc/self/fd").iterdir()])
    use()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.parametrize("harm", ["folder", "link", "fifo", "parent is a file", "parent is a link",
                                  "deep folder"])
def test_what_is_in_the_way_is_moved_aside_and_kept(tmp_path, harm):
    root = tmp_path / "data"
    (root / "workspace").mkdir(parents=True)
    target = root / "workspace" / "AGENTS.md"
    outside = tmp_path / "outside"
    outside.mkdir()
    if harm == "folder":
        target.mkdir()
    elif harm == "deep folder":
        (target / "x" / "y").mkdir(parents=True)
    elif harm == "link":
        target.symlink_to(outside / "secret")
    elif harm == "fifo":
        os.mkfifo(target)
    else:
        (root / "workspace").rmdir()
        if harm == "parent is a file":
            (root / "workspace").write_text("mine")
        else:
            (root / "workspace").symlink_to(outside)
    files = Workspace(root, os.geteuid(), os.getegid(), 1 << 20, 1 << 30)
    (aside,) = files.make_way("workspace/AGENTS.md")
    assert ".in-the-way-" in aside and files.make_way("workspace/AGENTS.md") == ()
    files.write("workspace/AGENTS.md", [b"ours"])
    assert target.read_bytes() == b"ours" and list(outside.iterdir()) == []
    kept = root / aside if "parent" in harm else root / "workspace" / aside
    assert kept.is_symlink() or kept.exists()


def test_one_name_however_its_accents_are_composed(root: Path, files: Workspace) -> None:
    """macOS takes Ü apart, everybody else does not; people see one name."""
    apart, whole = "U\u0308bersicht.txt", "Übersicht.txt"
    made = files.write(apart, [b"one"])
    assert made.name == whole and read(files, whole) == read(files, apart) == b"one"
    assert files.write(whole, [b"two"], if_match=made.etag).name == whole
    assert [entry.name for entry in files.list().entries] == [whole]
    files.make_folder("Bu\u0308ro")
    files.write("Büro/a.txt", [b"x"])
    assert read(files, "Bu\u0308ro/a.txt") == b"x" and len(files.list("Büro").entries) == 1
    files.move(apart, "Bu\u0308ro/u\u0308.txt")
    assert read(files, "Büro/ü.txt") == b"two"
    files.delete("Büro/u\u0308.txt")
    assert [entry.name for entry in files.list("Büro").entries] == ["a.txt"]


def test_what_the_agent_named_apart_is_found_whole_and_stays_so(root: Path, files: Workspace
                                                               ) -> None:
    (root / "u\u0308.txt").write_text("the agent's")
    assert read(files, "ü.txt") == b"the agent's"
    files.write("ü.txt", [b"ours"])
    assert [path.name for path in root.iterdir()] == ["u\u0308.txt"]
    (root / "ü.txt").write_text("another")
    assert read(files, "ü.txt") == b"another" and read(files, "u\u0308.txt") == b"ours"
