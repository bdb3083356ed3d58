"""One roll-out after the other, each from its first step to its last, in a thread of its own.

Every step is written down before it is taken, so that another process goes on where this one
ended. What should exist is changed by commits alone; the loop makes it so, and its brakes hold.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from reconciler import ReconcilerError
from reconciler.probe import REFUSES
from reconciler.rollouts import steps
from reconciler.rollouts.parts import Parts
from reconciler.rollouts.record import Kept, Member, Record, Rollout
from stacks import StackError, UnreachableError
from state_repo import StateRepoError, changes
from state_repo.documents import Employee, Platform
from state_repo.store import Author, RejectedError

if TYPE_CHECKING:
    from reconciler.loop import Reconciler

log = logging.getLogger(__name__)
AUTHOR = Author("InstantWorker", "rollout@instantworker.invalid")
LOOK_S = 2.0
APPLIED_S = 600.0  # until a commit is in force: engines of others may be before it
ANSWERS_S = 120.0  # from then until it answers
IDLE_S = 600.0  # how long a wave waits for somebody who is not busy
AGAIN_S = 10.0  # until who could not be put back is tried again
SNAPSHOTS_KEPT = timedelta(days=3)
_WHY_FROZEN = "its files are being copied before it gets a newer image"


class Failed(Exception):
    """The roll-out ends here; the message says why."""


class Superseded(Exception):
    """The platform names another image by now."""


class Stopping(Exception):
    """The process ends; the next one goes on."""


class Roller:
    def __init__(self, reconciler: Reconciler, parts: Parts, look_s: float = LOOK_S
                 ) -> None:
        self._r, self._parts, self._look_s = reconciler, parts, look_s
        self._record = Record(reconciler.instance.data / "rollout.json")
        self._frozen: dict[str, str] = {}
        self._stop, self._woken = threading.Event(), threading.Event()
        self._again, self._told = False, ""
        last = self._record.read().rollout
        self.failed = last is not None and last.state == "failed"  # the last one did

    # ---- the life of the thread --------------------------------------------------------------

    def run(self) -> None:
        """Looks every few seconds, until stopped."""
        while not self._stop.is_set():
            self._woken.wait(self._look_s)
            self._woken.clear()
            try:
                self.look()
            except Stopping:
                return
            except Exception:
                log.exception("the roll-out could not go on; it is tried again")

    def stop(self) -> None:
        self._stop.set()
        self._woken.set()

    def begin_again(self) -> int:
        """Takes along who is not at the platform's image though a roll-out of it ended. Returns
        how many there are by the newest commit."""
        snapshot = self._r.store.snapshot()
        behind = len(steps.members_of(snapshot, snapshot.platform.images.get("employee", "")))
        self._again = behind > 0
        self._woken.set()
        return behind

    def frozen(self) -> dict[str, str]:
        """Who stands still for a roll-out, and why."""
        return dict(self._frozen)

    def as_json(self) -> dict[str, Any] | None:
        """The last roll-out; None: there was none."""
        rollout = self._record.read().rollout
        return asdict(rollout) if rollout is not None else None

    # ---- one look ----------------------------------------------------------------------------

    def look(self) -> None:
        """Begins a roll-out where the platform's image is not what it was, and stays with it to
        its end; goes on with one that was cut off."""
        turn = self._r.turn
        if turn is None or turn.halt or self._r.stopping or turn.commit != self._r.store.head():
            return
        kept, image = self._record.read(), turn.snapshot.platform.images.get("employee")
        rollout = kept.rollout
        if image is None:
            return
        if rollout is not None and rollout.state == "failing":
            self._fail(rollout.reason)
            return
        if rollout is not None and rollout.state == "running" and rollout.image != image:
            self._end(rollout, "superseded", "the platform names another image by now")
            rollout = None
        if rollout is None or rollout.state != "running":
            if image == kept.settled and not self._again:
                self._forget_snapshots(rollout)
                return
            self._again = False
            found = self._begin(image, kept)
            if found is None:
                return
            rollout = found
        self._roll(rollout)

    def _begin(self, image: str, kept: Kept) -> Rollout | None:
        turn = self._r.turn
        assert turn is not None
        members = steps.members_of(turn.snapshot, image)
        if not members:
            self._record.write(Kept(image, kept.rollout))
            return None
        self._parts.forget_snapshots()
        before = kept.settled if kept.settled != image else None
        made = Rollout(image, steps.image_before(members, before), _now(), members)
        self._record.write(Kept(kept.settled, made))
        self._tell("Rollout", f"{len(members)} employees and blanks go to the image {_short(image)}"
                   f": a canary first, then {_names(members)}")
        return made

    def _roll(self, rollout: Rollout) -> None:
        try:
            self._parts.expect_image(rollout.image)
            if not rollout.proven:
                self._canary(rollout)
                rollout = self._write(replace(self._now(), proven=True))
            waves = 0
            while self._now().at("waiting", "moving"):
                self._wave(waves)
                waves += 1
        except Superseded:
            self._end(self._now(), "superseded", "the platform names another image by now")
        except UnreachableError:
            raise  # it goes on when that answers again
        except (Failed, StackError, ReconcilerError) as error:
            self._fail(str(error))
        else:
            moved, left = self._now().at("moved"), self._now().at("left")
            self._end(self._now(), "done", "; ".join(f"{m.employee} stays: {m.why}" for m in left))
            self._tell("Rollout", f"{len(moved)} are at the image {_short(rollout.image)}"
                       + (f"; {len(left)} stay at theirs ({_names(left)})" if left else ""))

    # ---- the canary --------------------------------------------------------------------------

    def _canary(self, rollout: Rollout) -> None:
        """One that works on the image as it was is told something, gets the new image, and is
        asked for it. It is a company's of its own, and its memory as old as its first roll-out."""
        canary = self._set_canary(rollout, None)
        try:
            if canary.image != rollout.image:
                self._tell_canary(rollout)
            if self._now().word:  # else it was tried before, and works
                self._try_canary(canary)
        except Stopping:
            raise  # the next process goes on
        except BaseException:
            self._put_back(replace(canary, state="running"), rollout.before)
            self._rest_canary(rollout)
            raise
        self._rest_canary(rollout)

    def _tell_canary(self, rollout: Rollout) -> None:
        """On the image as it was: what fails here says nothing of the new one."""
        where = "on the image as it was, so that nothing can be told of the new one"
        self._stage("the canary works on the image as it was")
        canary = self._set_canary(rollout, rollout.before)
        self._expect(self._well(_member(canary), rollout.before),
                     f"the canary does not work {where}")
        word = secrets.token_hex(4)
        self._write(replace(self._now(), word=word))
        self._ask(canary.id, f"Remember that the upgrade word is {word}.")
        self._recall(canary.id, word, where)
        self._stage("the canary gets the new image")
        self._write(replace(self._now(), canary_had=self._container(canary.id)))
        with self._still(canary.id):
            self._parts.snapshot(canary.id)
            self._set_canary(rollout, rollout.image)

    def _try_canary(self, canary: Employee) -> None:
        now = self._now()
        self._expect(self._well(replace(_member(canary), had=now.canary_had), now.image),
                     "the canary does not come up")
        gone, other = self._parts.changes(canary.id)
        if gone or other:
            raise Failed(f"the canary's files are not what they were: {_list(gone + other)}")
        self._expect(self._parts.page_problem(canary.id), "the canary")
        self._recall(canary.id, now.word, "on the new image")

    def _set_canary(self, rollout: Rollout, image: str | None) -> Employee:
        """At work, at `image`; None: as it was left, to begin with at the image before."""
        made = changes.set_canary(self._r.store, AUTHOR, image, "running", first=rollout.before)
        self._r.wake()
        return made

    def _rest_canary(self, rollout: Rollout) -> None:
        with self._going_on():
            changes.set_canary(self._r.store, AUTHOR, None, "paused", first=rollout.before)
            self._r.wake()

    def _recall(self, employee: str, word: str, where: str) -> None:
        said = self._ask(employee, "What do you remember about the upgrade word?")
        if word not in said:
            raise Failed(f"the canary does not remember what it was told ({where}); it said: "
                         f"{said[:200]!r}")

    def _ask(self, employee: str, text: str) -> str:
        self._check_on()
        try:
            return self._parts.ask(employee, text)
        except ReconcilerError as error:
            log.info("the canary is asked again: %s", error)
            self._pause()
            return self._parts.ask(employee, text)

    # ---- a wave ------------------------------------------------------------------------------

    def _wave(self, waves: int) -> None:
        """Moves the next few, and waits until they work. Raises Failed: one does not."""
        now = self._now()
        cut_off = now.at("moving")
        for member in cut_off or self._next(waves):
            self._begin_move(member)
        moving = self._now().at("moving")
        if moving:
            self._stage(f"{_names(moving)} get the image; {len(now.at('moved'))} of "
                        f"{len(now.members)} have it")
        problems = {m: self._moved(m) for m in moving}
        for member, problem in problems.items():
            self._note(replace(member, step="returning" if problem else "moved",
                               why=problem or ""))
        if bad := {m: p for m, p in problems.items() if p}:
            raise Failed("; ".join(f"{m.employee}: {p}" for m, p in bad.items()))

    def _next(self, waves: int) -> list[Member]:
        """Whom to move now: who is not busy, before the others; who can't be moved is left."""
        began = time.monotonic()
        while True:
            self._check_on()
            turn, waiting, free = self._r.turn, list[Member](), list[Member]()
            assert turn is not None
            for member in self._now().at("waiting"):
                why = steps.why_not(self._document(member), self._now().image)
                why = why or turn.decision.held.get(member.customer)
                if why:
                    self._note(replace(member, step="left", why=why))
                else:
                    waiting.append(member)
                    if not self._parts.is_busy(member.employee):
                        free.append(member)
            size = steps.wave_size(waves, turn.snapshot.platform.brakes.max_stop_count)
            if free or not waiting:
                return free[:size]
            if time.monotonic() - began > IDLE_S:
                return waiting[:size]  # it ends its turn first, as whenever it is replaced
            self._stage(f"{_names(waiting)} are at work; they get the image when they have a "
                        "moment")
            self._pause()

    def _begin_move(self, member: Member) -> None:
        """Its files are copied while it stands still; then its document names the image."""
        image, document = self._now().image, self._document(member)
        why = steps.why_not(document, image)
        if document is not None and document.image == image and member.step == "moving":
            return  # cut off after the commit
        if why or document is None:
            self._note(replace(member, step="left", why=why or "it is gone"))
            return
        member = replace(member, step="moving", before=document.image,
                         had=self._container(member.employee))
        self._note(member)
        try:
            if document.state == "running":
                with self._still(member.employee):
                    self._parts.snapshot(member.employee)
                    self._set_image(member, image)
            else:
                self._set_image(member, image)
        except RejectedError as error:
            self._note(replace(member, step="left", why=str(error)))

    def _moved(self, member: Member) -> str | None:
        """None: it works on the image, and has its files; else what is wrong."""
        image = self._now().image
        if problem := self._well(member, image):
            return problem
        document = self._document(member)
        if document is None or document.image != image or document.state != "running" or (
                self._is_suspended(member)):
            return None  # a blank that answers, or one that does not work now
        gone, _ = self._parts.changes(member.employee)
        if gone:
            return f"files of its are gone: {_list(gone)}"
        return self._parts.page_problem(member.employee)

    def _well(self, member: Member, image: str) -> str | None:
        """Waits until it is at `image` and answers. Returns None, or what is wrong: it was not
        applied, or it does not come up."""
        began, applied_at = time.monotonic(), None
        while True:
            self._check_on()
            document = self._document(member)
            if document is None or document.state == "retired" or document.image != image:
                return None  # somebody decided otherwise meanwhile
            made = self._r.book.wanted().get(member.customer)
            applied = made.state.employees.get(member.employee) if made is not None else None
            row, now = self._r.fleet.rows().get(member.employee), time.monotonic()
            if applied is not None and applied.image == image:
                applied_at = applied_at or now
                if document.state == "paused" or self._is_suspended(member):
                    return None
                if row and row["container_id"] not in (None, member.had) and (
                        row["health_status"] == "Healthy" and row["address"]):
                    return None
                seen = self._r.fleet.sighting(member.employee)
                said = seen.verified if seen and isinstance(seen.verified, str) and (
                    seen.container_id != member.had) else ""
                if said.startswith(REFUSES) or now - applied_at > ANSWERS_S:
                    return said or (row and row["reason"]) or "it does not answer"
            elif now - began > APPLIED_S:
                return "it was not made so: " + ((row and row["reason"]) or "no reason is known")
            self._pause()

    # ---- the way back ------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        """Puts back who failed, and what new employees get; ends the roll-out."""
        rollout = self._write(replace(self._now(), state="failing", reason=reason))
        log.error("the roll-out of %s failed: %s", rollout.image, reason)
        self._stage("it failed; what did not work is put back")
        for member in rollout.at("returning"):
            document = self._document(member)
            if document is None or self._put_back(document, member.before):
                self._note(replace(member, step="returned"))
        for member in rollout.at("moving"):
            self._note(replace(member, step="left", why="the roll-out ended before"))
        with self._going_on():
            changes.set_platform(
                self._r.store, AUTHOR, f"Roll-out of {_short(rollout.image)} failed: back to "
                f"{_short(rollout.before)}", lambda p: _with_image(p, rollout.image,
                                                                   rollout.before))
        for state in self._r.store.snapshot().customers.values():
            for employee in state.employees.values():
                # Who was hired meanwhile and works, works; a blank is not to be hired with it.
                if employee.image == rollout.image and (
                        employee.state == "warm" or self._fails(employee, rollout)):
                    self._put_back(employee, rollout.before)
        self._r.wake()
        if self._now().at("returning"):  # nobody is left half-way
            self._stop.wait(AGAIN_S)
            return
        self._end(self._now(), "failed", reason)
        self._tell("RolloutFailed", f"the roll-out of {_short(rollout.image)} failed, and new "
                   f"employees get {_short(rollout.before)} again: {reason}")

    def _fails(self, employee: Employee, rollout: Rollout) -> bool:
        row = self._r.fleet.rows().get(employee.id)
        return employee.state == "running" and (not row or row["health_status"] != "Healthy") and (
            employee.id not in {m.employee for m in rollout.at("moved")})

    def _put_back(self, employee: Employee, image: str) -> bool:
        """To the image that it had, with the files that it had; a blank begins anew. Returns
        whether that could be done."""
        with self._going_on(), self._still(employee.id, down=True):
            if employee.state == "warm":
                self._parts.empty(employee.id)
            elif self._parts.has_snapshot(employee.id):
                self._parts.put_back(employee.id)
            changes.set_image(self._r.store, AUTHOR, employee.customer, employee.id, image,
                              anew=True)
            return True
        return False

    # ---- small things ------------------------------------------------------------------------

    @contextmanager
    def _still(self, employee: str, *, down: bool = False) -> Iterator[None]:
        """It stands still (`down`: it is stopped), and the loop lets it."""
        self._frozen[employee] = _WHY_FROZEN
        try:
            (self._parts.stop if down else self._parts.freeze)(employee)
            yield
        except BaseException:
            if not down:
                self._parts.thaw(employee)
            raise
        finally:
            self._frozen.pop(employee, None)
            self._r.wake()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """What fails on the way back is told, and the rest of the way is gone."""
        try:
            yield
        except (StackError, StateRepoError, OSError) as error:
            log.error("not put back: %s", error)
            if str(error) != self._told:
                self._told = str(error)
                self._tell("RolloutFailed", f"not put back yet: {error}")

    def _set_image(self, member: Member, image: str) -> None:
        changes.set_image(self._r.store, AUTHOR, member.customer, member.employee, image)
        self._r.wake()

    def _document(self, member: Member) -> Employee | None:
        store = self._r.store
        return store.read_customer(store.head() or "", member.customer).employees.get(
            member.employee)

    def _is_suspended(self, member: Member) -> bool:
        store = self._r.store
        company = store.read_customer(store.head() or "", member.customer).customer
        return company is None or company.suspended

    def _container(self, employee: str) -> str | None:
        row = self._r.fleet.rows().get(employee)
        return row["container_id"] if row else None

    def _expect(self, problem: str | None, what: str) -> None:
        if problem:
            raise Failed(f"{what}: {problem}")

    def _check_on(self) -> None:
        if self._stop.is_set() or self._r.stopping:
            raise Stopping
        if self._r.store.platform().images.get("employee") != self._now().image:
            raise Superseded

    def _pause(self) -> None:
        self._stop.wait(self._look_s)

    def _now(self) -> Rollout:
        rollout = self._record.read().rollout
        assert rollout is not None  # there is one from its beginning on
        return rollout

    def _write(self, rollout: Rollout) -> Rollout:
        self._record.write(replace(self._record.read(), rollout=rollout))
        return rollout

    def _note(self, member: Member) -> None:
        self._write(self._now().with_member(member))

    def _stage(self, text: str) -> None:
        if self._now().stage != text:
            self._write(replace(self._now(), stage=text))
            log.info("roll-out: %s", text)

    def _end(self, rollout: Rollout, state: Any, reason: str) -> None:
        settled = {"done": rollout.image, "failed": rollout.before}.get(
            state, self._record.read().settled)
        self._record.write(Kept(settled, replace(rollout, state=state, reason=reason, stage="",
                                                 ended=_now())))
        self.failed = state == "failed"

    def _forget_snapshots(self, rollout: Rollout | None) -> None:
        if rollout is not None and rollout.ended is not None and (
                datetime.fromisoformat(rollout.ended) + SNAPSHOTS_KEPT < datetime.now(UTC)):
            self._parts.forget_snapshots()

    def _tell(self, kind: str, message: str) -> None:
        self._r.outbox.event(kind, message)


def _with_image(platform: Platform, tried: str, before: str) -> Platform:
    if platform.images.get("employee") != tried:
        return platform  # somebody decided otherwise meanwhile
    return replace(platform, images={**platform.images, "employee": before})


def _member(employee: Employee) -> Member:
    return Member(employee.id, employee.customer, employee.image)


def _names(members: tuple[Member, ...] | list[Member]) -> str:
    return _list([m.employee for m in members])


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _short(image: str) -> str:
    name, _, digest = image.partition("@")
    return f"{name.rpartition('/')[2]} {digest.removeprefix('sha256:')[:12]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
