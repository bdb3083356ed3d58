"""An employee's disk, on the real kernel: what it holds, what the kernel refuses, what stays."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from dataclasses import replace

import pytest

from stacks import StackError, disks
from stacks.disks import Disks, unmount_all, used
from stacks.volumes import Volumes
from state_repo.documents import Storage
from state_repo.instance import Instance

pytestmark = pytest.mark.parts
MIB = 1 << 20
VOLUME = "tt-vol-pulse-aaaaaa"


@pytest.fixture
def instance(tmp_path):
    made = Instance(id="0badcafe", data=tmp_path, prefix="tt")
    yield made
    unmount_all(tmp_path / "disks")


@pytest.fixture
def made(instance):
    found = Disks(instance)
    assert found.impossible() == "", "these tests need loop devices, as root"
    found.storage = Storage(employee_mb=64, employee_files=2_000)
    return found


@pytest.fixture
def files(made):
    made.options(VOLUME)
    return made.mount(VOLUME)


def fill(path, size):
    """How much was written before the kernel refused, and with what words."""
    written = 0
    with open(path, "wb") as file:
        try:
            while written < size:
                written += os.write(file.fileno(), bytes(MIB))
            os.fsync(file.fileno())
        except OSError as error:
            return written, error.errno
    return written, 0


def test_the_kernel_refuses_what_is_more_than_its_room(made):
    options = made.options(VOLUME)
    assert options["type"] == "none" and options["o"] == "bind"
    files = made.mount(VOLUME)
    assert str(files) == options["device"]
    image = made.folder / f"{VOLUME}.img"
    assert image.stat().st_blocks * 512 < MIB, "what is not used takes no room of the host"
    assert used(files) == (pytest.approx(0, abs=64 << 10), 0)

    written, refused = fill(files / "big", 200 * MIB)
    assert refused == errno.ENOSPC and 60 * MIB < written <= 66 * MIB
    with pytest.raises(OSError, match="No space"), open(files / "more", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 15 << 30)
    bytes_used, entries = used(files)
    assert bytes_used > 60 * MIB and entries == 2

    (files / "big").unlink()
    subprocess.run(["sync", "-f", str(files)], check=True)
    until = time.monotonic() + 60  # the kernel gives it back when it comes to it
    while used(files)[0] > MIB or image.stat().st_blocks * 512 > 4 * MIB:
        assert time.monotonic() < until, "a deleted file's room goes back to the host"
        time.sleep(0.1)


def test_the_kernel_refuses_more_files_than_it_may_have(made, files):
    with pytest.raises(OSError, match="No space left") as refused:
        for n in range(2_100):
            (files / str(n)).touch()
    assert refused.value.errno == errno.ENOSPC
    assert 1_900 < used(files)[1] <= 2_000


def test_a_file_without_a_name_counts(made, files):
    with open(files / "gone", "wb") as file:
        (files / "gone").unlink()
        os.write(file.fileno(), bytes(8 * MIB))
        os.fsync(file.fileno())
        assert used(files)[0] > 8 * MIB


def test_after_a_reboot_nobody_starts_on_an_empty_place(made, instance, files):
    (files / "kept").write_text("what it knew")
    unmount_all(made.folder)
    assert not files.exists(), "what Docker is told to bind is not there"
    assert Disks(instance).mount_all() == {}
    assert (files / "kept").read_text() == "what it knew"


def test_a_disk_that_is_gone_is_told_of_and_never_made_anew(made, instance):
    made.options(VOLUME)
    unmount_all(made.folder)
    (made.folder / f"{VOLUME}.img").unlink()
    assert "is gone" in Disks(instance).mount_all()[VOLUME]
    with pytest.raises(StackError, match="is gone"):
        made.mount(VOLUME)


def test_a_damaged_disk_is_told_of_until_it_is_mended(made, instance, files, monkeypatch):
    (files / "kept").write_text("what it knew")
    unmount_all(made.folder)
    image = made.folder / f"{VOLUME}.img"
    with open(image, "r+b") as file:  # its superblock
        os.lseek(file.fileno(), 1024, os.SEEK_SET)
        was = os.read(file.fileno(), 1024)
        os.pwrite(file.fileno(), bytes(1024), 1024)
    volumes = Volumes(instance)
    assert "super-block" in volumes.disks.mount_all()[VOLUME]
    said = volumes.reason(VOLUME, "the files of pulse", "pulse")
    assert "can't be had" in said and "super-block" in said and "--empty" in said
    with open(image, "r+b") as file:  # what an engineer does, from one of its copies
        os.pwrite(file.fileno(), was, 1024)
    assert volumes.disks.mount_all() != {}, "not tried at every look"
    monkeypatch.setattr(disks, "AGAIN_S", 0.0)
    assert volumes.disks.mount_all() == {} and not volumes.disks.trouble(VOLUME)
    assert (files / "kept").read_text() == "what it knew"


def test_it_grows_while_nobody_uses_it_and_is_never_written_to_beside_a_user(made, files):
    (files / "kept").write_text("what it knew")
    made.storage = replace(made.storage, employee_mb=128)
    made.grow(VOLUME, stopped=True)
    assert os.statvfs(files).f_blocks * os.statvfs(files).f_frsize > 120 * MIB
    assert (files / "kept").read_text() == "what it knew"

    made.storage = replace(made.storage, employee_mb=256)
    held = os.open(files, os.O_RDONLY)  # a container's bind mount, as far as the kernel goes
    try:
        with pytest.raises(StackError, match=r"busy|in use"):
            made.grow(VOLUME, stopped=True)
        assert (files / "kept").read_text() == "what it knew"
    finally:
        os.close(held)
    made.grow_all(made.storage)  # while it is used: where the host lets us, else at its next start
    made.grow(VOLUME, stopped=True)
    assert os.statvfs(files).f_blocks * os.statvfs(files).f_frsize > 250 * MIB
    made.grow(VOLUME)  # nothing to do


def test_what_is_removed_leaves_nothing_and_what_is_set_aside_is_whole(made, tmp_path, files):
    (files / "kept").write_text("what it knew")
    kept = made.set_aside(VOLUME, tmp_path / "backups")
    assert kept is not None and kept.exists() and not made.has(VOLUME)
    made.options(VOLUME)
    assert used(files) == (pytest.approx(0, abs=64 << 10), 0), "it begins anew"
    made.remove(VOLUME)
    assert list(made.folder.iterdir()) == [] and made.count() == 0
    kept.rename(made.folder / f"{VOLUME}.img")
    assert (made.mount(VOLUME) / "kept").read_text() == "what it knew"


def test_what_is_no_employee_s_has_none_and_where_none_is_possible_docker_keeps_it(
        made, monkeypatch, instance):
    assert made.options(instance.knowledge_volume("acme")) == {}
    assert made.options("tt-vol-../../etc") == {}
    monkeypatch.setattr(disks, "_why_not", lambda: "this kernel has no loop devices")
    without = Disks(instance)
    assert without.options(VOLUME) == {} and "no loop devices" in without.impossible()
    monkeypatch.setattr(disks, "_why_not", lambda: "")
    assert without.impossible(), "not at every look"
    monkeypatch.setattr(disks, "AGAIN_S", 0.0)
    assert not without.impossible(), "but again: it may be that Docker was away"


def test_one_that_can_not_be_made_leaves_nothing(made, monkeypatch):
    def refuse(program, *_, good=(0,)):
        raise StackError(f"{program}: no")
    monkeypatch.setattr(disks, "_run", refuse)
    with pytest.raises(StackError, match=r"mkfs\.ext4: no"):
        made.options(VOLUME)
    assert list(made.folder.iterdir()) == []


def test_docker_elsewhere_is_no_place_for_what_we_mount(monkeypatch, tmp_path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        monkeypatch.setattr(disks, "_DOCKER_SOCKET", path)
        assert disks._why_not() == "", "this process itself: the same mounts"
        monkeypatch.setattr(disks, "_mounts_of", lambda pid: str(pid))
        assert "apart from the reconciler" in disks._why_not()
    assert disks._why_not() != "", "Docker does not answer"


def test_the_reason_of_a_lost_volume_names_its_disk(instance, made):
    made.options(VOLUME)
    assert "--as-it-is" in Volumes(instance).reason(VOLUME, "the files of pulse", "pulse")
