"""A volume that fills up is told of once, before it is full."""

from __future__ import annotations

import os

import pytest

from reconciler import storage
from reconciler.storage import Disk, StorageWatch
from stacks import cgroup
from stacks.workspace import Usage
from state_repo.documents import Storage


def test_who_fills_up_is_told_of_once_and_again_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "volume_folder", lambda name: tmp_path / name)
    told = []

    class Names:
        @staticmethod
        def employee_volume(employee: str) -> str:
            return employee
    watch = StorageWatch(Names, lambda *said: told.append(said))
    rows = {"pulse": {"customer": "acme", "name": "Pulse"},
            "quill": {"customer": "bolt", "name": "Quill"}}
    for employee in rows:
        (tmp_path / employee).mkdir()
    watch.look(rows, Storage(employee_mb=1))
    assert told == [] and watch.used()["pulse"] == 0

    (tmp_path / "pulse" / "big").write_bytes(b"x" * 900_000)
    for _ in range(2):
        watch.look(rows, Storage(employee_mb=1))
    ((employee, customer, message),) = told
    assert (employee, customer) == ("pulse", "acme") and "of 1 MiB" in message

    (tmp_path / "pulse" / "big").unlink()
    watch.look(rows, Storage(employee_mb=1))
    assert len(told) == 2 and "room again" in told[1][2]
    watch.look({}, Storage())
    assert watch.used() == {}


class Host:
    """Employees with files, whose containers can be frozen, and a disk of 100 GiB."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder, self.free, self.now = folder, 80 << 30, 100.0
        self.paused: set[str] = set()
        self.told: list[str] = []
        self.used: dict[str, int] = {}
        self.hidden: dict[str, int] = {}
        self.entries: dict[str, int] = {}
        self.entries_free = 16_000_000
        monkeypatch.setattr(storage.cgroup, "unnamed", lambda name, _: self.hidden.get(name, 0))
        monkeypatch.setattr(storage, "volume_folder", lambda name: name)
        monkeypatch.setattr(storage.disks, "used", lambda _: None)
        monkeypatch.setattr(storage, "Workspace", lambda name, *_: self._measured(name))
        monkeypatch.setattr(storage.cgroup, "pause", self.paused.add)
        monkeypatch.setattr(storage.cgroup, "unpause", self.paused.discard)

        class Names:
            employee_volume = container_name = staticmethod(lambda employee: employee)
        self.watch = StorageWatch(Names, lambda *said: self.told.append(said[2]))

    def _measured(self, name: str):
        host = self

        class Measured:
            @staticmethod
            def usage() -> Usage:
                return Usage(host.used.get(name, 0), 1, True, host.entries.get(name, 1))
        return Measured()

    def look(self, *names: str) -> None:
        self.now += 1
        rows = {n: {"customer": "acme", "name": n.title(), "asleep_since": None} for n in names}
        self.watch.guard(rows, Storage(employee_mb=5120), Disk(
            self.free, 100 << 30, self.entries_free, 16_777_216), self.now)

    def write(self, name: str, size: int) -> None:
        self.used[name] = self.used.get(name, 0) + size
        self.free -= size


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_who_takes_fifteen_gigabytes_at_once_is_frozen_at_the_next_look(host):
    host.look("pulse", "quill")
    host.write("pulse", 15 << 30)
    host.look("pulse", "quill")
    assert host.paused == {"pulse"}
    assert "15,360 of 5,120 MiB" in host.watch.frozen()["pulse"]
    host.look("pulse", "quill")
    assert len([t for t in host.told if "was frozen" in t]) == 1
    host.write("pulse", -(12 << 30))  # its company removed some
    host.now += 5
    host.look("pulse", "quill")
    assert host.paused == set() and host.watch.frozen() == {}
    assert any("goes on" in t for t in host.told)


def test_after_a_restart_everybody_is_measured_at_once(host):
    host.write("pulse", 15 << 30)
    host.look("pulse")
    assert host.paused == {"pulse"}


def test_the_host_keeps_a_reserve_that_who_grows_can_not_take(host):
    for name in ("pulse", "quill"):
        host.write(name, 1 << 30)
    host.look("pulse", "quill")
    host.free = 6 << 30
    host.look("pulse", "quill")
    host.write("quill", 2 << 30)
    host.look("pulse", "quill")
    assert host.paused == {"quill"}, "4 GiB are left, and 5 are the host's"
    assert "nearly full" in host.watch.frozen()["quill"]
    host.now += 5
    host.look("pulse", "quill")
    assert host.paused == {"quill"}, "it does not go on before there is room"


def test_files_without_a_name_count_as_well(host):
    host.look("pulse", "quill")
    host.hidden["pulse"] = 15 << 30  # written, and removed while it is open
    host.free -= 15 << 30
    host.look("pulse", "quill")
    assert host.paused == {"pulse"}
    host.now += 5
    host.look("pulse", "quill")
    assert host.paused == {"pulse"}, "it holds them still"


def test_who_makes_files_without_end_is_frozen(host):
    host.look("pulse", "quill")
    host.entries["pulse"], host.entries_free = 180_000, host.entries_free - 180_000
    host.look("pulse", "quill")
    assert host.paused == {"pulse"}
    assert "180,000 files and folders, and may have 150,000" in host.watch.frozen()["pulse"]
    host.entries["pulse"] = 100
    host.now += 5
    host.look("pulse", "quill")
    assert host.paused == set()


def test_the_host_keeps_a_reserve_of_inodes(host):
    host.look("pulse", "quill")
    host.entries["quill"], host.entries_free = 3_000, 500_000
    host.look("pulse", "quill")
    assert host.paused == {"quill"}


def test_a_disk_without_such_a_limit_is_never_short_of_inodes():
    assert not Disk(50 << 30, 100 << 30).is_short


def test_what_a_process_holds_without_a_name_is_found(tmp_path):
    with open(tmp_path / "big", "wb") as held:
        held.write(b"x" * (3 << 20))
        held.flush()
        device = tmp_path.stat().st_dev
        before = cgroup.unnamed_of([os.getpid()], device)
        (tmp_path / "big").unlink()
        assert cgroup.unnamed_of([os.getpid()], device) - before >= 3 << 20
    assert cgroup.unnamed_of([2**22 - 1], device) == 0, "who is gone holds nothing"


def test_small_changes_measure_nobody(host, monkeypatch):
    host.look("pulse")
    monkeypatch.setattr(StorageWatch, "_measure", lambda *_: pytest.fail("measured"))
    host.write("pulse", 1 << 20)
    host.look("pulse")


def test_who_is_gone_is_frozen_no_more(host):
    host.write("pulse", 15 << 30)
    host.look("pulse")
    host.look()
    assert host.watch.frozen() == {}
