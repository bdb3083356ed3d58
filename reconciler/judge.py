"""What to say of an employee: a pure function of its document, its container and its stack.

Sync tells whether what was applied is what is wanted; health tells whether it works. The words
are Argo CD's. Every state that waits carries a reason in plain words and a deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.probe import FIRST_ANSWER_S, REFUSES
from state_repo.documents import Employee

HEALTH_IS_STALE = timedelta(seconds=45)  # Docker checks every 15 s, and once may come too early
APPLY_S = 60.0  # how long an Action may take before the wait itself is worth a look


@dataclass(frozen=True, slots=True)
class Sighting:
    """An employee's container as last seen. `verified`: None not asked yet, True it answered,
    else the problem. `since`: when this container was first seen in this state."""

    container_id: str
    running: bool
    address: str | None
    image: str
    docker_health: str  # "healthy", "unhealthy", "starting" or "none"
    since: datetime
    verified: bool | str | None = None
    paused: bool = False  # then it is not running either


@dataclass(frozen=True, slots=True)
class Judgement:
    sync_status: str
    health_status: str
    reason: str
    deadline: datetime | None = None


def judge(employee: Employee, seen: Sighting | None, *, suspended: bool, applied: bool,
          docker_answers: bool, problem: str | None, working: bool, now: datetime,
          asleep: bool = False, retry_at: datetime | None = None,
          kept_until: str | None = None, note: str = "") -> Judgement:
    """`applied`: the stack was brought to the wanted digest. `problem`: why the stack is held or
    failed. `working`: an Action for the stack waits or runs. `note`: what drifted here, and is
    being repaired."""
    if not docker_answers:
        return Judgement("Unknown", "Missing" if seen is None else _health_of(seen),
                         "Docker does not answer, so that nothing could be checked; it is asked "
                         "again every few seconds")
    sync = "Synced" if applied and problem is None else "OutOfSync"
    if employee.state == "retired":
        if seen is not None:
            return _wait("its container is being removed", working, problem, retry_at, now)
        until = f"; its files are kept until {kept_until}" if kept_until else ""
        return Judgement(sync, "Suspended", f"retired{until}")
    if employee.state == "paused" or suspended:
        why = "paused" if employee.state == "paused" else "its company is suspended"
        if seen is not None and seen.running:
            return _wait("it is being stopped", working, problem, retry_at, now)
        return Judgement(sync, "Suspended", problem or why)
    if seen is None:
        return _wait("its container is being made", working, problem, retry_at, now, "Missing")
    if asleep and not seen.running:
        return Judgement(sync, "Healthy", problem or
                         "asleep: it wakes by itself on the next visit or task")
    if seen.paused and problem is None and not working:  # a look from just before it woke
        return Judgement(sync, "Progressing", "it wakes", now + timedelta(seconds=APPLY_S))
    if not seen.running:
        return _wait("its container stopped and is being started", working, problem, retry_at,
                     now, "Degraded")
    if seen.verified is True:
        # Docker calls a paused container unhealthy, and says so until its next check.
        if seen.docker_health == "unhealthy" and now - seen.since > HEALTH_IS_STALE:
            return Judgement(sync, "Degraded", problem or
                             "its health check fails; see `iw logs`, or retry it")
        return Judgement(sync, "Healthy", problem or note)
    if isinstance(seen.verified, str) and seen.verified.startswith(REFUSES):
        return Judgement(sync, "Degraded", seen.verified)
    deadline = seen.since + timedelta(seconds=FIRST_ANSWER_S)
    if isinstance(seen.verified, str) and now >= deadline:
        return Judgement(sync, "Degraded", f"{seen.verified}, {FIRST_ANSWER_S:.0f} s after its "
                         "start; see `iw logs`, or retry it")
    return Judgement(sync, "Progressing", problem or "it started and gets ready", deadline)


def _health_of(seen: Sighting) -> str:
    return "Healthy" if seen.verified is True else "Progressing"


def _wait(doing: str, working: bool, problem: str | None, retry_at: datetime | None,
          now: datetime, otherwise: str = "Degraded") -> Judgement:
    """A state that an Action is expected to end."""
    if problem is not None:
        again = f"; tried again at {retry_at:%H:%M:%S} UTC" if retry_at else ""
        return Judgement("OutOfSync", otherwise, problem + again, retry_at)
    if working:
        return Judgement("OutOfSync", "Progressing", doing, now + timedelta(seconds=APPLY_S))
    return Judgement("OutOfSync", otherwise, "its container is not as wanted; a repair is due",
                     now + timedelta(seconds=APPLY_S))
