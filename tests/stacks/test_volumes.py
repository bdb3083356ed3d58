"""What carries data is never made anew in silence, and a backup is whole before anything goes."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from stacks import StackError
from stacks.volumes import Volumes, back_up, restore
from state_repo.instance import Instance


@pytest.fixture
def instance(tmp_path):
    return Instance(id="0badcafe", data=tmp_path)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "volume"
    (made / "workspace").mkdir(parents=True)
    (made / "workspace" / "a.txt").write_text("precious")
    (made / "workspace" / "big").write_bytes(os.urandom(3 << 20))
    (made / "workspace" / "link").symlink_to("/etc/passwd")
    return made


def test_what_was_made_once_is_missing_when_it_is_gone_also_after_a_restart(instance):
    volumes = Volumes(instance)
    assert volumes.missing([]) == frozenset()
    volumes.note(["v1", "v2"])
    assert Volumes(instance).missing(["v1"]) == {"v2"}
    volumes.forget("v2")
    assert Volumes(instance).missing(["v1"]) == frozenset()


def test_the_reason_says_what_can_be_done(instance):
    volumes = Volumes(instance)
    assert "there is no backup" in volumes.reason("v1", "the files of pulse", "pulse")
    instance.backups_path.mkdir()
    (instance.backups_path / "v1.tar.gz").touch()
    said = volumes.reason("v1", "the files of pulse", "pulse")
    assert "iw restore pulse --from-backup" in said and "iw restore pulse --empty" in said


def test_a_backup_comes_back_as_it_was(folder, tmp_path):
    os.chown(folder / "workspace" / "a.txt", os.geteuid(), os.getegid())
    (folder / "workspace" / "a.txt").chmod(0o640)
    target = tmp_path / "b" / "v.tar.gz"
    digest = back_up(folder, target)
    assert (tmp_path / "b" / "v.tar.gz.sha256").read_text().startswith(digest)
    again = tmp_path / "again"
    again.mkdir()
    restore(target, again)
    assert (again / "workspace" / "a.txt").read_text() == "precious"
    assert (again / "workspace" / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (again / "workspace" / "big").read_bytes() == (folder / "workspace/big").read_bytes()
    assert (again / "workspace" / "link").readlink().name == "passwd"
    with pytest.raises(StackError, match="is not empty"):
        restore(target, again)


def test_two_backups_at_once_disturb_nobody(folder, tmp_path):
    target = tmp_path / "v.tar.gz"
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: back_up(folder, target), range(8)))
    again = tmp_path / "again"
    again.mkdir()
    restore(target, again)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "again", "v.tar.gz", "v.tar.gz.sha256", "volume"], "nothing half-made is left"


def test_a_backup_that_is_not_whole_replaces_nothing(folder, tmp_path, monkeypatch):
    target = tmp_path / "v.tar.gz"
    back_up(folder, target)
    before = target.read_bytes()

    def torn(self, *_, **__):
        raise OSError("No space left on device")
    monkeypatch.setattr("tarfile.TarFile.add", torn)
    with pytest.raises(StackError, match="No space left"):
        back_up(folder, target)
    monkeypatch.setattr("tarfile.TarFile.add", lambda *_, **__: None)
    with pytest.raises(StackError, match="are not in it"):
        back_up(folder, target)
    assert target.read_bytes() == before


@pytest.mark.parametrize("harm", [lambda data: data[:-2000], lambda data: data[:5000] + b"xx"])
def test_a_damaged_backup_is_told(folder, tmp_path, harm):
    target = tmp_path / "v.tar.gz"
    back_up(folder, target)
    target.write_bytes(harm(target.read_bytes()))
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(StackError):
        restore(target, folder)
