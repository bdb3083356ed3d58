"""Backups: everything that can't be made anew, copied by schedule into an encrypted repository; put
back from it; and, as a drill, a sample restored beside the original and compared.

An employee stands still while its files are copied, so that they are of one moment. Most is copied
before that, so that it is a matter of seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import ReconcilerError
from reconciler.storage import Disk
from stacks import StackError, cgroup, knowledge, platform_copy
from stacks.employee_files import NotMadeYet, volume_folder
from stacks.observed import volumes_of
from stacks.platform_copy import PLATFORM, UNDO, VolumeCopied, of_volume
from stacks.restic import Repository, ResticError, Snapshot, newest
from stacks.secret_files import given, secret
from stacks.volumes import emptied
from state_repo import StateRepoError, sftp
from state_repo.documents import Backups as Settings
from state_repo.files import write_secret

if TYPE_CHECKING:
    from reconciler.loop import Reconciler

log = logging.getLogger(__name__)
LOOK_S = 30.0
STILL_S = 30.0  # an employee stands still for no longer
AGAIN_S = 900.0  # after a failure
PRUNE = timedelta(days=1)
READ_AT_DRILL = "2%"
WHY = "its files are being copied into the backup"
# What a browser can fetch again.
LEFT_OUT = ("browser/**/Cache", "browser/**/Code Cache", "browser/**/GPUCache",
            "browser/**/ShaderCache", "browser/**/GrShaderCache")
_MOST_RUNS = 30


@dataclass(frozen=True, slots=True)
class Run:
    """One backup, or one drill. Times are RFC 3339. `problems`: by volume (or part), in words;
    empty: it is whole. `still_s`: how long the one stood still that did for longest. Of a drill:
    `sample`, and how many of its files were compared with the original and how many had changed
    since."""

    began: str
    ended: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    volumes: int = 0
    bytes: int = 0
    added: int = 0
    still_s: float = 0.0
    sample: str = ""
    compared: int = 0
    changed: int = 0

    @property
    def is_whole(self) -> bool:
        return bool(self.ended) and not self.problems


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of them. `since`: when this place was first named; `kept`: when each volume was
    copied last; `pruned`: when the repository was last freed of what nobody keeps."""

    place: str = ""
    since: str = ""
    runs: tuple[Run, ...] = ()
    drills: tuple[Run, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    pruned: str = ""

    @classmethod
    def read(cls, path: Path) -> Record:
        try:
            found = json.loads(path.read_text())
            return cls(**found | {name: tuple(Run(**run) for run in found[name])
                                  for name in ("runs", "drills")})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("%s can't be read, and is begun anew: %s", path, error)
            return cls()

    def last_whole(self, of: tuple[Run, ...]) -> datetime | None:
        return next((datetime.fromisoformat(run.ended) for run in reversed(of) if run.is_whole),
                    None)


class Backups:
    """`work` is a thread's; everything else may be called from any."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._r, self._instance = reconciler, reconciler.instance
        self._path = reconciler.instance.data / "backup.json"
        self._record = Record.read(self._path)
        self._frozen: dict[str, str] = {}
        self._stop, self._woken = threading.Event(), threading.Event()
        self._busy = threading.Lock()
        self._asked: set[str] = set()
        self._doing = ""

    # ---- the life of the thread --------------------------------------------------------------

    def work(self) -> None:
        """Does what is due, until stopped."""
        while not self._stop.is_set():
            self._woken.wait(LOOK_S)
            self._woken.clear()
            try:
                if not self._stop.is_set():
                    self.look(_now())
            except Exception:
                log.exception("backups could not be looked at; it is tried again")

    def stop(self) -> None:
        self._stop.set()
        self._woken.set()

    def ask(self, what: str) -> None:
        """A "run" or a "drill" now. Raises ReconcilerError: there is no place for backups, or
        nothing yet to restore in a drill."""
        self._settings()
        if what == "drill" and not self._record.last_whole(self._record.runs):
            raise ReconcilerError("there is no whole backup yet: iw backup now")
        self._asked.add(what)
        self._woken.set()

    def look(self, now: datetime) -> None:
        """Makes a backup when it is time, or a drill."""
        platform = self._r.book.platform
        if platform is None or platform.backups.repository is None:
            self._show(None)
            return
        settings = platform.backups
        place = _mark(settings)
        if place != self._record.place:
            self._keep(Record(place, now.isoformat()))
        if self._is_due("run", self._record.runs, timedelta(hours=settings.every_hours), now):
            self.run(settings)
        elif self._record.last_whole(self._record.runs) and self._is_due(
                "drill", self._record.drills, timedelta(days=settings.drill_days), now):
            self.drill(settings)
        self._show(settings)

    def _is_due(self, what: str, runs: tuple[Run, ...], every: timedelta, now: datetime) -> bool:
        if what in self._asked:
            self._asked.discard(what)
            return True
        last = self._record.last_whole(runs) or (
            None if what == "run" else datetime.fromisoformat(self._record.since))
        tried = datetime.fromisoformat(runs[-1].began) if runs else None
        return (last is None or now - last >= every) and (
            tried is None or now - tried >= min(every, timedelta(seconds=AGAIN_S)))

    # ---- a backup ----------------------------------------------------------------------------

    def run(self, settings: Settings) -> Run:
        """Copies everything. What can't be copied is told, and keeps nothing else from it."""
        run, drafts = Run(_now().isoformat()), list[str]()
        with self._at("a backup"):
            try:
                repository = self._repository(settings)
                volumes = [VolumeCopied(*found) for found in volumes_of(self._instance.id)]
                for at, volume in enumerate(volumes):
                    self._doing = f"copying {volume.name} ({at + 1} of {len(volumes)})"
                    try:
                        run = self._copy(repository, volume, run, drafts)
                    except NotMadeYet:
                        continue  # it was removed in the meantime
                    except StackError as error:
                        run.problems[volume.name] = str(error)
                    if self._stop.is_set():
                        raise ResticError("the reconciler was stopped")
                self._doing = "copying the platform"
                run = self._copy_platform(repository, volumes, run)
                self._doing = "forgetting what is too old"
                repository.forget(*drafts)
                prune = not self._record.pruned or (
                    _now() - datetime.fromisoformat(self._record.pruned) > PRUNE)
                repository.keep(settings.keep_daily, settings.keep_weekly, settings.keep_monthly,
                                prune=prune)
                if prune:
                    self._record = replace(self._record, pruned=_now().isoformat())
            except (StackError, StateRepoError, OSError) as error:
                run.problems["backup"] = str(error)
        run = replace(run, ended=_now().isoformat())
        self._keep(replace(self._record, runs=(*self._record.runs, run)[-_MOST_RUNS:]))
        self._tell("backup", run)
        return run

    def _copy(self, repository: Repository, volume: VolumeCopied, run: Run, drafts: list[str]
              ) -> Run:
        folder = volume_folder(volume.name)
        at, is_new = datetime.fromisoformat(run.began), volume.name not in self._record.kept
        while True:
            if is_new:  # most of it, so that little is left for when it stands still
                drafts.append(repository.save(folder, at, {"draft": ""}, exclude=LEFT_OUT).id)
            began = time.monotonic()
            try:
                with self._still(volume, folder):
                    saved = repository.save(folder, at, volume.tags, exclude=LEFT_OUT,
                                            patience_s=STILL_S)
                break
            except ResticError:
                if is_new or self._stop.is_set():
                    raise
                is_new = True
        self._record.kept[volume.name] = run.began
        return replace(run, volumes=run.volumes + 1, bytes=run.bytes + saved.bytes,
                       added=run.added + saved.added,
                       still_s=round(max(run.still_s, time.monotonic() - began), 2))

    def _copy_platform(self, repository: Repository, volumes: list[VolumeCopied], run: Run) -> Run:
        at = datetime.fromisoformat(run.began)
        copied = [v for v in volumes if v.name in self._record.kept]
        with self._stage() as stage:
            platform_copy.take(self._instance, stage, self._r.store.head(), copied)
            saved = repository.save(stage, at, {PLATFORM: ""})
        if self._instance.backups_path.is_dir():  # of those who left
            repository.save(self._instance.backups_path, at, {"left": ""}, exclude=["upgrade"])
        return replace(run, bytes=run.bytes + saved.bytes, added=run.added + saved.added)

    @contextmanager
    def _still(self, volume: VolumeCopied, folder: Path) -> Iterator[None]:
        """Nobody writes to it. Who sleeps goes on sleeping; a visitor waits for a moment."""
        if volume.employee is None:
            with knowledge.locked(folder, STILL_S) as held:
                if not held:
                    raise StackError("documents were being read for too long; it is copied next "
                                     "time")
                yield
            return
        employee, name = volume.employee, self._instance.container_name(volume.employee)
        with self._r.rest.holding(employee):
            if employee in self._r.standing_still() or cgroup.find(name) is None:
                yield
                return
            self._frozen[employee] = WHY
            try:
                cgroup.pause(name)
                yield
            finally:
                with suppress(StackError):  # what stays paused is drift, and repaired as such
                    cgroup.unpause(name)
                self._frozen.pop(employee, None)
                self._r.wake()

    # ---- a drill -----------------------------------------------------------------------------

    def drill(self, settings: Settings, choose: Callable[[list[str]], str] = random.choice) -> Run:
        """Restores the platform's newest copy and one volume's beside the originals, checks the
        one and compares the other."""
        run = Run(_now().isoformat())
        with self._at("a drill"):
            try:
                repository = self._repository(settings)
                with self._stage() as stage:
                    self._doing = "restoring the platform's copy beside it"
                    core = newest(repository.snapshots(**{PLATFORM: ""}))
                    if core is None:
                        raise ResticError("there is no snapshot of the platform")
                    repository.restore(core.id, stage / "platform")
                    platform_copy.check(stage / "platform")
                    _, volumes = platform_copy.manifest(stage / "platform")
                    if volumes:
                        run = self._compare(repository, core, choose(sorted(
                            v.name for v in volumes)), stage / "volume", run)
                self._doing = "reading a part of the repository"
                repository.check(READ_AT_DRILL)
            except (StackError, StateRepoError, OSError) as error:
                run.problems["drill"] = str(error)
        run = replace(run, ended=_now().isoformat())
        self._keep(replace(self._record, drills=(*self._record.drills, run)[-_MOST_RUNS:]))
        self._tell("drill", run)
        return run

    def _compare(self, repository: Repository, core: Snapshot, name: str, folder: Path, run: Run
                 ) -> Run:
        self._doing = f"restoring {name} beside it"
        snapshot = newest(of_volume(repository.snapshots(volume=name), name), core.time)
        if snapshot is None:
            raise ResticError(f"there is no snapshot of {name}")
        repository.restore(snapshot.id, folder)
        try:
            original = volume_folder(name)
        except NotMadeYet:
            original = None  # it left since; what was restored was read back
        compared, changed, wrong = same_files(folder, original) if original else (0, 0, [])
        if wrong:
            raise ResticError(f"{wrong[0]} of {name} and {len(wrong) - 1} more are not what they "
                              "were when they were copied")
        return replace(run, sample=name, compared=compared, changed=changed)

    # ---- back again --------------------------------------------------------------------------

    def restore(self, customer: str, employee: str | None, until: datetime | None) -> str:
        """Gives an employee (None: the company's knowledge) the files that it had, of the newest
        snapshot, or the newest of no later than `until`. What it has now becomes a snapshot first.
        Returns what was done.

        Raises:
            ReconcilerError: it runs, or there is no such snapshot, or a backup is under way.
            StackError: it could not be done.
        """
        name = self._instance.volume(customer, employee)
        with self._at("a restore"):
            repository = self._repository(self._settings())
            found = of_volume(repository.snapshots(volume=name), name, undo=until is not None)
            snapshot = newest(found, until)
            if snapshot is None:
                oldest = f"; the oldest is of {found[0].time:%Y-%m-%d %H:%M} UTC" if found else ""
                raise ReconcilerError(f"there is no snapshot of {name} of then{oldest}")
            self._doing = f"restoring {name}"
            if employee and cgroup.find(self._instance.container_name(employee)) is not None:
                raise ReconcilerError(f"{employee} runs: pause it first (iw pause {employee})")

            def fill(folder: Path) -> None:
                repository.restore(snapshot.id, folder)
            try:
                folder = volume_folder(name)
            except NotMadeYet:
                self._r.world.remake(customer, employee, fill)
            else:
                self._replace(repository, VolumeCopied(name, customer, employee), folder, fill)
        self._r.wake()
        return f"{name} is again what it was at {snapshot.time:%Y-%m-%d %H:%M} UTC"

    def _replace(self, repository: Repository, volume: VolumeCopied, folder: Path,
                 fill: Callable[[Path], None]) -> None:
        with self._still(volume, folder):
            before = repository.save(folder, _now(), volume.tags | {UNDO: ""})
            try:
                emptied(folder, keep=(knowledge.LOCK,))
                fill(folder)
            except (StackError, OSError) as error:
                raise StackError(
                    f"{volume.name} was not restored ({error}). What it held is the snapshot "
                    f"{before.id[:8]}; the same command tries again, and --at "
                    f"{_now():%Y-%m-%dT%H:%M:%SZ} goes back to it") from error

    # ---- what is known -----------------------------------------------------------------------

    def frozen(self) -> dict[str, str]:
        """Who stands still for a backup, and why."""
        return dict(self._frozen)

    def kept(self, volume: str) -> datetime | None:
        """When a volume was copied last."""
        at = self._record.kept.get(volume)
        return datetime.fromisoformat(at) if at else None

    def as_json(self) -> dict[str, Any]:
        platform, record = self._r.book.platform, self._record
        settings = platform.backups if platform else Settings()
        return {"repository": settings.repository, "every_hours": settings.every_hours,
                "drill_days": settings.drill_days, "doing": self._doing,
                "runs": [asdict(run) | {"whole": run.is_whole} for run in record.runs],
                "drills": [asdict(run) | {"whole": run.is_whole} for run in record.drills],
                "volumes": record.kept}

    def _show(self, settings: Settings | None) -> None:
        since = datetime.fromisoformat(self._record.since) if self._record.since else None
        self._r.metrics.show_backups(None if settings is None else {
            "backup": (self._record.last_whole(self._record.runs) or since,
                       timedelta(hours=2 * settings.every_hours, minutes=30)),
            "drill": (self._record.last_whole(self._record.drills) or since,
                      timedelta(days=2 * settings.drill_days, hours=1))})

    # ---- small things ------------------------------------------------------------------------

    def _settings(self) -> Settings:
        settings = self._r.store.platform().backups
        if settings.repository is None:
            raise ReconcilerError("there is no place for backups yet: iw backup set REPOSITORY")
        return settings

    def _repository(self, settings: Settings) -> Repository:
        """The repository, made at first use and never again: one that was made and is gone is a
        loss to be told."""
        place, password = settings.repository or "", self._instance.backup_password_path
        secret(self._instance, password.name)
        access = parse_access(given(self._instance, settings.access)) if settings.access else {}
        cache = self._instance.data / "cache" / "restic"
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = sftp.server_of(place)
        ssh = sftp.ssh_command(self._instance.secrets_path, server) if server else None
        repository = Repository(place, password, cache, access, stopping=self._stop.is_set, ssh=ssh)
        mark = f"backup-{_mark(settings)}"
        if not repository.is_there():
            self._instance.expect(mark, False, f"Mount or mend {settings.repository}")
            repository.make()
        self._instance.mark_made(mark)
        repository.unlock()
        return repository

    @contextmanager
    def _at(self, what: str) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise ReconcilerError(f"{self._doing or 'a backup is under way'}; try again when it is "
                                  "over (iw backup list)")
        self._doing = what
        try:
            yield
        finally:
            self._doing = ""
            self._busy.release()

    @contextmanager
    def _stage(self) -> Iterator[Path]:
        """A folder for copies, where there is room for them. Raises StackError."""
        if Disk.of(self._instance.data).is_short:
            raise StackError("the disk is nearly full: there is no room for a copy")
        root = self._instance.data / "cache" / "stage"
        shutil.rmtree(root, ignore_errors=True)  # of one that was cut off
        root.mkdir(mode=0o700, parents=True)
        try:
            yield Path(tempfile.mkdtemp(dir=root))
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _keep(self, record: Record) -> None:
        self._record = record
        write_secret(self._path, json.dumps(asdict(record), indent=1))

    def _tell(self, what: str, run: Run) -> None:
        if run.problems:
            first = next(f"{name}: {why}" for name, why in run.problems.items())
            more = f" (and {len(run.problems) - 1} more)" if len(run.problems) > 1 else ""
            self._r.outbox.event("BackupFailed", f"the {what} is not whole: {first}{more}")
            log.warning("the %s is not whole: %s", what, run.problems)
        else:
            log.info("the %s is whole: %s", what, run)


def parse_access(text: str) -> dict[str, str]:
    """Variables, a line NAME=value each. Raises StackError."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.replace("_", "").isalnum() or name.startswith(("RESTIC_", "LD_")):
            raise StackError("the secret that backups.access names holds a line that is not "
                             "NAME=value, such as AWS_ACCESS_KEY_ID=…")
        found[name] = value
    return found


def same_files(copy: Path, original: Path) -> tuple[int, int, list[str]]:
    """Compares by content what has the size and the time that it had: how many are the same, how
    many changed since, and the paths of those that differ though nobody changed them."""
    same, changed, wrong = 0, 0, []
    for folder, _, names in os.walk(copy):
        for name in names:
            path = Path(folder, name)
            beside = original / path.relative_to(copy)
            try:
                one, other = path.lstat(), beside.lstat()
                if not (stat.S_ISREG(one.st_mode) and stat.S_ISREG(other.st_mode)):
                    continue
                if (one.st_size, one.st_mtime_ns) != (other.st_size, other.st_mtime_ns):
                    changed += 1
                elif _digest(path) == _digest(beside):
                    same += 1
                elif beside.lstat().st_mtime_ns == other.st_mtime_ns:
                    wrong.append(str(path.relative_to(copy)))
            except FileNotFoundError:
                changed += 1
    return same, changed, wrong


def _digest(path: Path) -> str:
    # Never through a link: whose files these are may have put one there since.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(settings: Settings) -> str:
    """A name for the place, which may be secret."""
    return hashlib.sha256((settings.repository or "").encode()).hexdigest()[:16]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
