"""Reviewing changes: who agrees with what, and what may be merged.

An approval is for one plan: of one head of the branch, by the digest of what was looked at. When
the branch, main or reality moved so that the plan differs, it counts no more, and a merge asks
again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext
from sqlalchemy import select

from state_repo.documents import Review
from state_repo.git_door import GitError
from state_repo.layout import is_protected
from state_repo.review import Change, ChangeConflictError, Changes, NoChangeError
from state_repo.store import ConflictError, RejectedError
from webapp import team
from webapp.errors import Problem
from webapp.models import Account, ReviewEvent, db
from webapp.reconciler_api import ask

MOST_TEXT = 4_000
PLAN_S = 900.0
DID = {"approved": "approved", "withdrawn": "withdrew the approval of", "merged": "merged",
       "closed": "closed", "rolled_back": "made, to take a commit back,"}


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a change may be merged by somebody: `missing` says what is not there yet."""

    approved_by: tuple[ReviewEvent, ...]
    wanted: int
    missing: tuple[str, ...]


def changes() -> Changes:
    return Changes(team.store())


def forge() -> dict[str, Any] | None:
    """The forge where changes are reviewed and merged, with its open requests as the reconciler
    knows them (`problem` says why it doesn't); None: that is here."""
    address = team.instance().state_forge
    if address is None:
        return None
    known: dict[str, Any] = {**address.as_json(), "requests": [], "left_out": 0,
                             "looked_at": None}
    try:
        told = ask(team.instance().socket, "GET", ["forge"], timeout_s=5.0).json()
    except Problem as problem:
        return known | {"problem": problem.message}
    return told or known | {"problem": "The reconciler does not follow it; `iw doctor` says why."}


def reviewed_here() -> None:
    """Raises Problem 409: a forge holds the state repo, and that is done there."""
    if (address := team.instance().state_forge) is not None:
        raise Problem(409, "on_forge", gettext("Changes are reviewed and merged at %(page)s.",
                                               page=address.page))


def find(name: str) -> Change:
    """Raises Problem 404."""
    try:
        return changes().find(name)
    except NoChangeError as error:
        raise Problem(404, "no_change", _sentence(error)) from error


def plan_of(name: str) -> dict[str, Any]:
    """What would happen, asked of the reconciler: takes seconds. See `reconciler.plans`.

    Raises:
        Problem: it does not answer, or there is no such change.
    """
    return ask(team.instance().socket, "GET", ["plan"], {"change": name}, timeout_s=PLAN_S).json()


def events(name: str) -> list[ReviewEvent]:
    """The steps so far, the oldest first."""
    return list(db.session.scalars(select(ReviewEvent).where(
        ReviewEvent.change == name).order_by(ReviewEvent.id)))


def gate(plan: dict[str, Any], change: Change, steps: Iterable[ReviewEvent], by: Account,
         rule: Review) -> Gate:
    """Whether `by` may merge what this plan shows.

    Its authors' own approvals count for nothing. What holds for every customer takes somebody who
    neither wrote nor merges it.
    """
    agree: dict[str, ReviewEvent] = {}
    for step in steps:
        if step.kind == "approved" and (step.head, step.plan) == (plan["head"], plan["digest"]):
            agree[step.by] = step
        elif step.kind == "withdrawn":
            agree.pop(step.by, None)
    others = tuple(step for email, step in agree.items() if email not in change.authors)
    missing = []
    if plan["problems"] or any(stack["problems"] for stack in plan["stacks"]):
        missing.append(gettext("What the rules refuse has to be corrected first."))
    if not plan["documents"] and not plan["problems"]:
        missing.append(gettext("It differs from main in nothing."))
    if len(others) < rule.approvals:
        missing.append(gettext("%(found)s of %(wanted)s approvals by engineers who did not "
                               "write it.", found=len(others), wanted=rule.approvals))
    if is_protected([document["path"] for document in plan["documents"]]) and not any(
            step.by != by.email.lower() for step in others):
        missing.append(gettext("platform.yaml holds for every customer: somebody who neither "
                               "wrote nor merges this has to approve it."))
    return Gate(others, rule.approvals, tuple(missing))


def note(change: Change, by: Account, kind: str, text: str = "", plan: str | None = None) -> None:
    """Records a step; all but a comment stand among the events as well (`iw events`)."""
    db.session.add(ReviewEvent(change=change.name, head=change.head, kind=kind,
                               by=by.email.lower(), name=by.name, plan=plan, text=text))
    db.session.commit()
    if kind in DID:
        team.status().add_event("Review", f"{by.name} ({by.email}) {DID[kind]} the change "
                                f"{change.name} at {change.head[:10]}" + (
                                    f": commit {text[:10]}" if kind == "merged" else ""))


def approve(name: str, head: str, digest: str, by: Account) -> None:
    """Raises Problem 409: the branch moved since it was looked at."""
    reviewed_here()
    change = find(name)
    if change.head != head:
        raise Problem(409, "moved", "It was pushed again since you looked at it. Look once more.")
    note(change, by, "approved", plan=digest)


def merge(name: str, head: str, digest: str, by: Account) -> str:
    """Makes the change part of main; returns the commit.

    Raises:
        Problem: 409: it is not what was reviewed any more, or something is missing; nothing was
            done.
    """
    reviewed_here()
    change, plan = find(name), plan_of(name)
    if change.head != head or plan["head"] != head or plan["digest"] != digest:
        raise Problem(409, "moved", "What would happen is not what you looked at any more: the "
                      "change, main or reality moved. Look at the new plan; approvals of the old "
                      "one count no more.")
    found = gate(plan, change, events(name), by, team.platform().review)
    if found.missing:
        raise Problem(409, "not_ready", " ".join(found.missing))
    trailers = [("Change", name), ("Change-Head", head), ("Plan", digest),
                *(("Approved-by", f"{step.name} <{step.by}>") for step in found.approved_by),
                ("Merged-by", f"{by.name} <{by.email}>")]
    try:
        sha = changes().merge(change, None, trailers)
    except (ConflictError, ChangeConflictError) as error:
        raise Problem(409, "moved", _sentence(error)) from error
    except RejectedError as error:
        raise Problem(409, "refused", _sentence(error)) from error
    note(change, by, "merged", sha, digest)
    return team.committed(sha)


def close(name: str, head: str, by: Account) -> None:
    """Raises Problem 409: it moved since."""
    reviewed_here()
    change = find(name)
    if change.head != head:
        raise Problem(409, "moved", "It was pushed again since you looked at it. Look once more.")
    try:
        changes().close(change)
    except ConflictError as error:
        raise Problem(409, "moved", _sentence(error)) from error
    note(change, by, "closed")


def roll_back(commit: str, by: Account) -> Change:
    """A change that takes a commit back, to be reviewed.

    Raises:
        Problem: 409: it can't be taken back by itself.
    """
    try:
        made = changes().roll_back(commit, team.author(by))
    except (NoChangeError, ChangeConflictError, ConflictError, GitError) as error:
        raise Problem(409, "no_roll_back", _sentence(error)) from error
    note(made, by, "rolled_back", commit)
    return made


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
