"""Backups by value: what is copied, when, and what is told; on the real restic, a fake Docker."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler import ReconcilerError, backups
from reconciler.backups import Backups, parse_access, same_files
from reconciler.metrics import Metrics
from stacks import StackError
from stacks.employee_files import NotMadeYet
from stacks.restic import Repository, ResticError
from state_repo import changes
from state_repo.documents import Backups as Settings
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from tests.conftest import free_ports

pytestmark = pytest.mark.parts  # restic is a program of the system's
ENGINEER = Author("Engineer", "eng@iw.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@dataclass
class Docker:
    """Volumes as folders, containers as names; what was done to them."""

    root: Path
    volumes: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Path:
        if name not in self.volumes:
            raise NotMadeYet("Its place is still being set up.")
        return self.root / name

    def make(self, name: str, customer: str, employee: str | None) -> Path:
        self.volumes[name] = customer, employee
        (self.root / name).mkdir(parents=True, exist_ok=True)
        return self.root / name


@dataclass
class House:
    docker: Docker
    instance: Instance
    backups: Backups
    asleep: set[str]
    events: list[tuple[str, str]]
    metrics: Metrics
    store: Store
    place: Path

    def set(self, **values: Any) -> Settings:
        settings = Settings(str(self.place), **values)
        platform = Platform(images={"employee": IMAGE}, backups=settings)
        changes.set_platform(self.store, ENGINEER, "B", lambda _: platform)
        self.backups._r.book.platform = platform
        return settings

    def repository(self) -> Repository:
        return Repository(str(self.place), self.instance.secrets_path / "backup-password",
                          self.instance.data / "cache")

    def measured(self, kind: str) -> dict[str, float]:
        return {s.name: s.value for family in text_string_to_metric_families(
            self.metrics.render().decode()) for s in family.samples
            if s.labels.get("kind") == kind and s.name.startswith("reconciler_backup")}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    instance = Instance(id="0badcafe", data=tmp_path / "data", ports=free_ports())
    instance.save()
    store, docker = Store.open_or_create(instance), Docker(tmp_path / "volumes")
    changes.set_platform(store, ENGINEER, "P", lambda _: Platform(images={"employee": IMAGE}))
    StatusStore.prepared(instance)
    monkeypatch.setattr(backups, "volumes_of", lambda _: sorted(
        (name, *whose) for name, whose in docker.volumes.items()))
    monkeypatch.setattr(backups, "volume_folder", docker.folder)
    monkeypatch.setattr(backups.cgroup, "find",
                        lambda name: name if name in docker.running else None)
    for verb in ("pause", "unpause"):
        monkeypatch.setattr(backups.cgroup, verb,
                            lambda name, verb=verb: docker.done.append(f"{verb} {name}"))
    asleep, events, metrics = set[str](), list[tuple[str, str]](), Metrics()

    @contextmanager
    def holding(employee: str):
        yield

    def remake(customer: str, employee: str | None, fill) -> None:
        fill(docker.make(f"iw-vol-{employee}", customer, employee))
    made = Backups(SimpleNamespace(  # type: ignore[arg-type]
        instance=instance, store=store, metrics=metrics, wake=lambda: None,
        book=SimpleNamespace(platform=None), rest=SimpleNamespace(holding=holding),
        standing_still=lambda: asleep, world=SimpleNamespace(remake=remake),
        outbox=SimpleNamespace(event=lambda kind, text: events.append((kind, text)))))
    return House(docker, instance, made, asleep, events, metrics, store, tmp_path / "place")


def pulse(house: House) -> Path:
    folder = house.docker.make("iw-vol-emp-a", "acme", "emp-a")
    (folder / "workspace").mkdir()
    (folder / "workspace" / "plan.md").write_text("Sell more tea.")
    (folder / "browser" / "Default" / "Cache").mkdir(parents=True)
    (folder / "browser" / "Default" / "Cache" / "f_0001").write_text("a picture of the web")
    (folder / "browser" / "Default" / "Cookies").write_text("signed in")
    (folder / "way").symlink_to("/etc")
    os.chown(folder / "workspace" / "plan.md", 10001, 10001)
    house.docker.running.add("iw-emp-emp-a")
    return folder


def test_everything_is_copied_while_each_stands_still_and_comes_back(house):
    folder = pulse(house)
    knows = house.docker.make("iw-know-acme", "acme", None)
    (knows / "prices.md").write_text("Tea costs 4.")
    run = house.backups.run(house.set())
    assert run.is_whole and run.volumes == 2 and run.added > 0, run
    assert house.docker.done == ["pause iw-emp-emp-a", "unpause iw-emp-emp-a"]
    assert house.backups.frozen() == {} and house.events == []
    # Nothing but the two volumes and the platform is left: what was copied ahead is forgotten.
    kept = house.repository().snapshots()
    assert sorted(next(iter(s.tags)) for s in kept) == ["customer", "customer", "platform"]
    house.docker.running.clear()
    (folder / "workspace" / "plan.md").write_text("ruined")
    (folder / "workspace" / "new.md").write_text("later")
    done = house.backups.restore("acme", "emp-a", None)
    assert done.startswith("iw-vol-emp-a is again what it was at 20")
    plan = folder / "workspace" / "plan.md"
    assert plan.read_text() == "Sell more tea." and plan.stat().st_uid == 10001
    assert not (folder / "workspace" / "new.md").exists()
    assert (folder / "way").is_symlink() and (folder / "browser/Default/Cookies").exists()
    assert not (folder / "browser/Default/Cache/f_0001").exists()
    (undo,) = house.repository().snapshots(**{"before-restore": ""})
    house.backups.restore("acme", "emp-a", datetime.now(UTC) + timedelta(seconds=5))
    assert plan.read_text() == "ruined", "and a restore can be undone by its time"
    assert undo.tags["volume"] == "iw-vol-emp-a"


@pytest.mark.long
def test_who_sleeps_goes_on_sleeping_and_who_runs_is_not_restored_over(house):
    pulse(house)
    house.asleep.add("emp-a")
    assert house.backups.run(house.set()).is_whole and house.docker.done == []
    with pytest.raises(ReconcilerError, match="emp-a runs: pause it first"):
        house.backups.restore("acme", "emp-a", None)
    with pytest.raises(ReconcilerError, match="no snapshot of iw-vol-emp-a of then; the oldest is"):
        house.backups.restore("acme", "emp-a", NOON - timedelta(days=4000))
    with pytest.raises(ReconcilerError, match="no snapshot of iw-vol-emp-b"):
        house.backups.restore("acme", "emp-b", None)


@pytest.mark.long
def test_a_volume_that_is_gone_is_made_of_its_snapshot(house):
    folder = pulse(house)
    house.backups.run(house.set())
    house.docker.running.clear()
    del house.docker.volumes["iw-vol-emp-a"]
    folder.rename(folder.with_name("elsewhere"))
    house.backups.restore("acme", "emp-a", None)
    assert (folder / "workspace" / "plan.md").read_text() == "Sell more tea."


@pytest.mark.long
def test_a_restore_that_fails_half_way_loses_nothing(house, monkeypatch):
    folder = pulse(house)
    house.backups.run(house.set())
    house.docker.running.clear()
    (folder / "workspace" / "plan.md").write_text("newer")

    def cut(*_: Any) -> None:
        raise ResticError("the network is gone")
    with monkeypatch.context() as broken:
        broken.setattr(Repository, "restore", cut)
        with pytest.raises(StackError, match=r"was not restored .*is the snapshot .*--at 20"):
            house.backups.restore("acme", "emp-a", None)
    house.backups.restore("acme", "emp-a", datetime.now(UTC) + timedelta(seconds=5))
    assert (folder / "workspace" / "plan.md").read_text() == "newer"


def test_one_that_can_t_be_copied_keeps_nobody_else_from_it(house, monkeypatch):
    pulse(house)
    house.docker.make("iw-vol-emp-b", "acme", "emp-b")
    save = Repository.save

    def refuses(self, folder, at, tags, **more):
        if tags.get("employee") == "emp-a":
            raise ResticError("it can't be read")
        return save(self, folder, at, tags, **more)
    monkeypatch.setattr(Repository, "save", refuses)
    run = house.backups.run(house.set())
    assert not run.is_whole and run.problems == {"iw-vol-emp-a": "it can't be read"}
    assert house.docker.done == ["pause iw-emp-emp-a", "unpause iw-emp-emp-a"], "it goes on"
    assert run.volumes == 1 and house.repository().snapshots(platform="")
    assert house.events == [("BackupFailed",
                             "the backup is not whole: iw-vol-emp-a: it can't be read")]
    assert house.backups.as_json()["runs"][-1]["whole"] is False


def test_a_repository_that_was_made_and_is_gone_is_not_made_anew(house):
    pulse(house)
    settings = house.set()
    assert house.backups.run(settings).is_whole
    house.place.rename(house.place.with_name("elsewhere"))
    run = house.backups.run(settings)
    assert "was made before and is gone" in run.problems["backup"]
    assert "Mount or mend" in run.problems["backup"] and not house.place.exists()
    house.place.with_name("elsewhere").rename(house.place)
    (house.instance.secrets_path / "backup-password").write_text("another one")
    assert "wrong password" in house.backups.run(settings).problems["backup"]


def test_a_drill_compares_and_finds_what_rotted(house):
    folder = pulse(house)
    settings = house.set()
    house.backups.run(settings)
    (folder / "browser" / "Default" / "Cookies").write_text("signed in elsewhere")
    drill = house.backups.drill(settings)
    assert drill.is_whole and drill.sample == "iw-vol-emp-a", drill
    assert (drill.compared, drill.changed) == (1, 1)
    assert not (house.instance.data / "cache" / "stage").exists()
    plan = folder / "workspace" / "plan.md"
    was = plan.stat()
    plan.write_text("Sell more tee.")  # of the same size and time: nobody wrote it
    os.utime(plan, ns=(was.st_atime_ns, was.st_mtime_ns))
    drill = house.backups.drill(settings)
    assert "workspace/plan.md of iw-vol-emp-a" in drill.problems["drill"]
    for pack in (house.place / "data").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(bytes(pack.stat().st_size))
    assert not house.backups.drill(settings).is_whole


@pytest.mark.long
def test_what_is_due_is_done_and_how_old_the_last_whole_one_is_is_measured(house, monkeypatch):
    pulse(house)
    made: list[str] = []
    monkeypatch.setattr(backups, "_now", lambda: clock)
    clock = NOON
    house.backups.look(clock)
    assert house.measured("backup") == {}, "there is no place for backups"
    house.set(every_hours=6.0, drill_days=2.0)
    house.backups.look(clock)
    assert house.measured("backup") == {
        "reconciler_backup_last_success_timestamp_seconds": NOON.timestamp(),
        "reconciler_backup_age_limit_seconds": 12.5 * 3600}
    runs = house.backups.as_json
    for hours, what in ((5.9, (1, 0)), (6.1, (2, 0)), (48.1, (3, 0)), (48.2, (3, 1)),
                        (48.3, (3, 1))):
        clock = NOON + timedelta(hours=hours)
        house.backups.look(clock)
        made.append(f"{hours}")
        assert (len(runs()["runs"]), len(runs()["drills"])) == what, hours
    house.place.rename(house.place.with_name("elsewhere"))
    clock = NOON + timedelta(hours=60)
    house.backups.look(clock)
    clock += timedelta(minutes=14)
    house.backups.look(clock)
    assert len(runs()["runs"]) == 4, "what fails is tried again after a while"
    clock += timedelta(minutes=2)
    house.backups.look(clock)
    assert len(runs()["runs"]) == 5
    last = house.measured("backup")["reconciler_backup_last_success_timestamp_seconds"]
    assert last == (NOON + timedelta(hours=48.1)).timestamp()
    again = Backups(house.backups._r)
    assert again.as_json()["runs"] == runs()["runs"] and again.kept("iw-vol-emp-a") is not None
    house.backups.ask("run")
    house.backups.look(clock)
    assert len(runs()["runs"]) == 6, "and when somebody asks"


def test_without_a_place_nothing_can_be_asked(house):
    with pytest.raises(ReconcilerError, match="iw backup set"):
        house.backups.ask("run")
    house.set()
    with pytest.raises(ReconcilerError, match="no whole backup yet: iw backup now"):
        house.backups.ask("drill")


def test_what_is_stopped_leaves_nobody_standing_still(house):
    pulse(house)
    house.backups.stop()
    run = house.backups.run(house.set())
    assert "stopped" in run.problems["backup"] or "stopped" in run.problems["iw-vol-emp-a"]
    assert house.docker.done in ([], ["pause iw-emp-emp-a", "unpause iw-emp-emp-a"])


@pytest.mark.parametrize("text", ["AWS_KEY", "=x", "A B=c", "RESTIC_PASSWORD=x", "LD_PRELOAD=x"])
def test_access_is_variables_of_the_place_s_own(text):
    with pytest.raises(StackError, match="NAME=value"):
        parse_access(text)
    assert parse_access("AWS_ACCESS_KEY_ID=a=b \n\n AWS_SECRET=c") == {
        "AWS_ACCESS_KEY_ID": "a=b", "AWS_SECRET": "c"}


def test_nothing_is_read_through_a_link_when_files_are_compared(tmp_path):
    copy, original = tmp_path / "copy", tmp_path / "original"
    for folder in (copy, original):
        folder.mkdir()
    (copy / "a").write_text("one")
    (original / "a").symlink_to("/etc/hostname")
    (copy / "gone").write_text("x")
    assert same_files(copy, original) == (0, 1, [])
