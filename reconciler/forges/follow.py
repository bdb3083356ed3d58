"""Follows a forge's open requests: brings their branches here, plans each, and says there what
would happen, as one comment that is kept up to date and a status of the commit.

A request is planned again when its branch moved, when main moved in what its plan depends on, and
now and then, for reality moves too. The forge's failures are told and tried again; nothing of the
loop waits for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from reconciler import ReconcilerError
from reconciler.forges import (
    MOST_REQUESTS,
    Forge,
    ForgeError,
    PullRequest,
    State,
    open_forge,
)
from reconciler.forges.comment import MARK, comment, summary
from reconciler.forges.webhook import webhook_secret
from reconciler.loop import Reconciler
from reconciler.plans import Planner
from stacks import StackError
from stacks.secret_files import existing
from state_repo import StateRepoError
from state_repo.forge import TOKEN, ForgeAddress
from state_repo.layout import is_protected
from state_repo.review import NAME, Change, Changes

log = logging.getLogger(__name__)
LOOK_S = 60.0  # between two looks, unless a message of the forge's comes
OLD_S = 1800.0  # how old a plan may get, though nothing that it depends on moved
CALM_S = 300.0  # between two plans of a request that touches everybody, unless it moved itself


@dataclass(slots=True)
class Told:
    """What the forge was told of one request. `problem`: why it could not be."""

    request: PullRequest
    plan: str = ""  # its digest
    text: str = ""  # the comment
    comment: int | None = None
    status: tuple[str, State, str] | None = None  # of which commit, what, in which words
    depends: str = ""  # a digest of what the plan was made of
    planned_at: float | None = None
    problem: str = ""


@dataclass(slots=True)
class Follower:
    """`open`: the forge, with the token as it is now; asked again after any trouble."""

    reconciler: Reconciler
    planner: Planner
    address: ForgeAddress
    open: Callable[[], Forge]
    clock: Callable[[], float] = time.monotonic
    problem: str = ""
    looked_at: datetime | None = None
    told: dict[int, Told] = field(default_factory=dict)
    left_out: int = 0
    _forge: Forge | None = None
    _woken: threading.Event = field(default_factory=threading.Event)
    _stopped: bool = False

    def wake(self) -> None:
        """Asks for a look now."""
        self._woken.set()

    def stop(self) -> None:
        self._stopped = True
        self._woken.set()

    def look_when_woken(self, every_s: float = LOOK_S) -> None:
        """Until stopped."""
        while not self._stopped:
            try:
                self.reconciler.store.fetch()
                self.reconciler.notice()
            except StateRepoError as error:
                log.warning("%s", error)
            try:
                self.look()
            except Exception:  # it must survive whatever one look meets
                log.exception("the forge's requests could not be followed; that is tried again")
            self._woken.wait(every_s)
            self._woken.clear()

    def look(self) -> None:
        """One look at every open request."""
        try:
            forge = self._forge = self._forge or self.open()
            found = forge.pull_requests()
            requests = [request for request in found[:MOST_REQUESTS] if NAME.fullmatch(
                request.branch)]
            self.left_out = len(found) - len(requests)
            self._changes.follow({r.branch for r in requests if r.own})
        except (ForgeError, StackError, StateRepoError) as error:
            self._forge = None
            self._trouble(str(error))
            return
        self._trouble("")
        self.looked_at = datetime.now(UTC)
        open_now = {request.number for request in requests}
        for number in self.told.keys() - open_now:
            del self.told[number]
        for request in requests:
            if self._stopped:
                return
            told = self.told.setdefault(request.number, Told(request))
            told.request = request
            try:
                self._tell(forge, told)
                told.problem = ""
            except Exception as error:  # one request's trouble is not the next one's
                told.problem = str(error) or type(error).__name__
                log.warning("%s %d: %s", self.address.noun, request.number, told.problem,
                            exc_info=not isinstance(error, (ReconcilerError, StateRepoError)))

    def as_json(self) -> dict[str, Any]:
        return {**self.address.as_json(), "problem": self.problem,
                "looked_at": self.looked_at, "left_out": self.left_out, "requests": [
                    {"number": t.request.number, "branch": t.request.branch,
                     "head": t.request.head, "title": t.request.title,
                     "author": t.request.author, "page": t.request.page, "own": t.request.own,
                     "plan": t.plan, "state": t.status[1] if t.status else "",
                     "says": t.status[2] if t.status else "", "problem": t.problem}
                    for t in sorted(self.told.values(), key=lambda t: -t.request.number)]}

    # ---- one request -------------------------------------------------------------------------

    def _tell(self, forge: Forge, told: Told) -> None:
        request = told.request
        if not request.own:
            self._say(forge, told, request.head, "error", "A fork's branch is not planned: push "
                      f"it to {self.address.project} itself.")
            return
        change = self._changes.find(request.branch)
        depends, everybody = self._depends(change)
        if told.planned_at is not None:
            age = self.clock() - told.planned_at
            moved = told.status is None or told.status[0] != change.head
            if not moved and not told.problem and age < (
                    OLD_S if depends == told.depends else CALM_S if everybody else 0.0):
                return
        if told.status is None or told.status[0] != change.head:
            self._say(forge, told, change.head, "pending", "It is being planned.")
        try:
            plan = self.planner.change(request.branch)
        except (ReconcilerError, StateRepoError) as error:
            self._say(forge, told, change.head, "error", f"It can't be planned: {error}")
            raise
        log.info("planned %s %d (%s): %s", self.address.noun, request.number,
                 request.branch, plan["digest"])
        self._write(forge, told, comment(plan, self._page(request.branch)))
        refused = plan["problems"] or any(stack["problems"] for stack in plan["stacks"])
        self._say(forge, told, plan["head"], "failure" if refused else "success",
                  summary(plan))
        told.plan, told.planned_at = plan["digest"], self.clock()
        told.depends = depends if plan["main"] == change.main else ""

    def _write(self, forge: Forge, told: Told, text: str) -> None:
        """The comment; one for each request, whoever restarted meanwhile."""
        number = told.request.number
        if told.comment is None:
            for known in forge.comments(number):
                if MARK in known.body:
                    told.comment, told.text = known.id, known.body
                    break
        if told.comment is None:
            told.comment = forge.add_comment(number, text).id
        elif told.text.strip() != text.strip():
            try:
                forge.edit_comment(number, told.comment, text)
            except ForgeError:
                told.comment = None  # somebody removed it: the next look makes a new one
                raise
        told.text = text

    def _say(self, forge: Forge, told: Told, sha: str, state: State, words: str) -> None:
        short = words if len(words) <= 140 else f"{words[:139]}…"
        if told.status != (sha, state, short):
            forge.set_status(sha, state, short, self._page(told.request.branch))
            told.status = (sha, state, short)

    @property
    def _changes(self) -> Changes:
        return Changes(self.reconciler.store)

    def _depends(self, change: Change) -> tuple[str, bool]:
        """A digest of what a plan is made of, but for reality; and whether that is everybody."""
        store, paths = self.reconciler.store, self._changes.touched(change)
        everybody, platform = is_protected(paths), store.platform(change.main)
        customers = store.customers(change.main)
        touched = customers if everybody else {
            name: customers.get(name, "") for name in sorted(
                {path.split("/")[1] for path in paths if path.startswith("customers/")})}
        parts: Mapping[str, Any] = {
            "head": change.head, "customers": dict(touched),
            "platform": self.reconciler.platform_digest(platform),
            "skills": sorted(skill.digest for skill in platform.skills.values())}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), everybody

    def _page(self, branch: str) -> str:
        return f"{self.reconciler.instance.app_url}/changes/{quote(branch)}"

    def _trouble(self, problem: str) -> None:
        if bool(problem) != bool(self.problem):
            self.reconciler.outbox.event(
                "Unreachable" if problem else "Reachable",
                f"the forge can't be followed: {problem}" if problem
                else f"the forge {self.address.url} answers again")
        if problem and problem != self.problem:
            log.warning("the forge can't be followed: %s", problem)
        self.problem = problem


def follower_of(reconciler: Reconciler, planner: Planner) -> Follower | None:
    """None: no forge holds the state repo.

    Raises:
        ForgeAddressError: the settings can't be right.
    """
    instance = reconciler.instance
    address = instance.state_forge
    if address is None:
        return None
    webhook_secret(instance)  # there to be read when the forge is told of it
    return Follower(reconciler, planner, address,
                    lambda: open_forge(address, existing(instance, TOKEN)))
