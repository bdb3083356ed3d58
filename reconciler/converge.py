"""The end of an Action: the engine's run told as an outcome, and a receipt on every way out."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.decide import Action
from reconciler.engine import Engine, Program, Run
from reconciler.outbox import Outbox
from reconciler.probe import FIRST_ANSWER_S
from state_repo.store import CommitInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an Action ended. `waiting_for`: what the failure waits for ("policy" ends with a new
    commit, "engine" with time, the name of a part when that part answers again). `blames`: by
    employee, what went wrong with it, where all that went wrong is somebody's own; by "", what is
    wrong with the customer's own document. `begun`: what the rules do not refuse was done."""

    succeeded: bool
    message: str = ""
    waiting_for: str | None = None
    changes: tuple[dict[str, Any], ...] = ()
    blames: Mapping[str, str] = field(default_factory=dict)
    begun: bool = False

    def is_partly_done(self) -> bool:
        """Whether everybody but those it blames was brought to what is wanted: what the engine
        can't do, or the rules refuse, for one employee keeps nobody else. What the rules refuse
        of a plan is not begun at all."""
        return not self.succeeded and bool(self.blames) and (
            self.begun or self.waiting_for != "policy")


@dataclass(slots=True)
class Stages:
    """Where the time of one Action went, in seconds."""

    started_at: datetime
    seconds: dict[str, float] = field(default_factory=dict)

    def mark(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = round(max(seconds, 0.0), 4)


class Receipts:
    """Writes the receipt of an Action, after the employees it touched have answered."""

    def __init__(self, outbox: Outbox, observe: Callable[[str, str, float], None]) -> None:
        self._outbox, self._observe = outbox, observe

    def write(self, action: Action, commits: Sequence[CommitInfo], outcome: Outcome,
              stages: Stages, probes: list[Future[str | None]]) -> None:
        """`commits`: those of the stack's own documents that the run applied, the newest first;
        without one, the run was not made for anybody's change."""
        if not probes:
            self._finish(action, commits, outcome, stages, [])
            return
        # A slow start must not hold the customer's place in the queue.
        about = contextvars.copy_context()  # its lines tell of the same trace
        threading.Thread(target=about.run, name="receipt", daemon=True, args=(
            self._finish, action, commits, outcome, stages, probes)).start()

    def _finish(self, action: Action, commits: Sequence[CommitInfo], outcome: Outcome,
                stages: Stages, probes: list[Future[str | None]]) -> None:
        began = time.monotonic()
        done, waiting = wait_for(probes, timeout=FIRST_ANSWER_S + 5)
        stages.mark("verify", time.monotonic() - began)
        problems = [p for f in done if not f.cancelled() and (p := f.result()) is not None]
        unanswered = len(problems) + len(waiting)
        newest, message = commits[0] if commits else None, outcome.message
        succeeded = outcome.succeeded
        if newest and outcome.is_partly_done() and not any(map(newest.concerns, outcome.blames)):
            succeeded, message = True, f"done; it still fails for others: {message}"
        if unanswered:
            succeeded = False
            message = f"{unanswered} employee(s) did not answer: {'; '.join(sorted(set(problems)))}"
        total = sum(stages.seconds.values())
        log.info("%s: %s %s in %.1f s (%s)", action.stack, action.cause,
                 "succeeded" if succeeded else "failed", total,
                 ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.seconds.items()))
        for stage, seconds in stages.seconds.items():
            self._observe(action.cause, stage, seconds)
        self._outbox.receipt(
            stack=action.stack, revision=newest.sha if newest else action.revision,
            cause=action.cause, author=newest.author_name if newest else "",
            subject=newest.subject if newest and action.cause == "commit" else (
                "the platform, or what is there, changed" if action.cause == "commit"
                else action.reason),
            commits=[{"sha": c.sha, "author": c.author_name, "subject": c.subject}
                     for c in commits],
            result="succeeded" if succeeded else "failed", started_at=stages.started_at,
            changes=list(outcome.changes), message=message, total_s=round(total, 4),
            **{f"{stage}_s": stages.seconds.get(stage, 0.0)
               for stage in ("detect", "queue", "plan", "apply", "verify")})


def run_engine(engine: Engine, name: str, program: Program, action: Action,
               stages: Stages) -> Outcome:
    """One `up`; its failure is told apart by who can end it."""
    run: Run = engine.up(name, program, refresh=action.refresh)
    stages.mark("plan", run.plan_s)
    stages.mark("apply", run.apply_s)
    # Of a repair: what each field was found to be, and what it was set back to.
    changes = tuple(c.as_json(values=action.cause == "drift") for c in run.changes)
    if run.succeeded:
        return Outcome(True, changes=changes)
    return Outcome(False, run.message, "policy" if run.violations else "engine", changes,
                   blames(run.violations or run.errors))


def blames(errors: Sequence[str]) -> dict[str, str]:
    """By employee, its own errors; empty when one of them is nobody's own. Resources are named
    `<kind>-<employee>` (see `stacks.customer`), and errors begin with the resource's name."""
    found: dict[str, str] = {}
    for error in errors:
        resource, colon, text = error.partition(": ")
        kind, dash, employee = resource.partition("-")
        if not colon or not dash or kind not in ("employee", "files", "key", "volume"):
            return {}
        found[employee] = f"{found[employee]}; {text}" if employee in found else text
    return found
