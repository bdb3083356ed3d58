"""What is kept of a roll-out, so that another process goes on where one ended: one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from state_repo.files import write_secret

# "left": it stays at the image that it has, for the reason that is given.
Step = Literal["waiting", "moving", "moved", "returning", "returned", "left"]
# "failing": somebody is still to be put back.
State = Literal["running", "done", "failing", "failed", "superseded"]


@dataclass(frozen=True, slots=True)
class Member:
    """One employee of a roll-out. `before`: the image that it had; `had`: the container that ran
    when its move began; `why`: what is the matter with it, if anything is."""

    employee: str
    customer: str
    before: str
    step: Step = "waiting"
    had: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One roll-out of `image`; `before`: what new employees got until then. `stage`: what is done
    now, in words. Times are RFC 3339. `word`: what the canary was told; `canary_had`: the container
    in which it was; `proven`: it works on the image."""

    image: str
    before: str
    began: str
    members: tuple[Member, ...]
    state: State = "running"
    stage: str = ""
    word: str = ""
    canary_had: str | None = None
    proven: bool = False
    ended: str | None = None
    reason: str = ""

    def at(self, *steps: Step) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.step in steps)

    def with_member(self, member: Member) -> Rollout:
        return replace(self, members=tuple(
            member if m.employee == member.employee else m for m in self.members))


@dataclass(frozen=True, slots=True)
class Kept:
    """`settled`: the platform's image that nothing is left to do about; None before the first
    look. `rollout`: the last one."""

    settled: str | None = None
    rollout: Rollout | None = None


class Record:
    """The file. What can't be read is nothing known: whoever is not at the platform's image is
    then rolled out anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Kept:
        try:
            found = json.loads(self._path.read_text())
            made = found["rollout"]
            if made is not None:
                made = Rollout(**made | {"members": tuple(Member(**m) for m in made["members"])})
            return Kept(found["settled"], made)
        except (OSError, ValueError, KeyError, TypeError):
            return Kept()

    def write(self, kept: Kept) -> None:
        write_secret(self._path, json.dumps(asdict(kept), indent=2) + "\n")
