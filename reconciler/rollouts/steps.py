"""Who is rolled out, and in which order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reconciler.rollouts.record import Member
from state_repo.changes import CANARY
from state_repo.documents import Employee
from state_repo.snapshot import Snapshot

# Nobody waits for a blank; who is paused loses nothing while it waits.
_ORDER = {"warm": 0, "running": 1, "paused": 2}


def members_of(snapshot: Snapshot, image: str) -> tuple[Member, ...]:
    """Everybody who is not at `image` and may go there: blanks, who is at work, who is paused."""
    found = [e for state in snapshot.customers.values() if state.id != CANARY
             for e in state.employees.values() if why_not(e, image) is None]
    return tuple(Member(e.id, e.customer, e.image)
                 for e in sorted(found, key=lambda e: (_ORDER[e.state], e.customer, e.id)))


def why_not(employee: Employee | None, image: str) -> str | None:
    """Why an employee is not taken to `image`, in words; None: it is."""
    if employee is None or employee.state == "retired":
        return "it is retired"
    if employee.image == image:
        return "it has this image already"
    return "its document pins its image (imagePinned)" if employee.image_pinned else None


def image_before(members: Iterable[Member], settled: str | None) -> str:
    """What new employees got until now: what was settled, else what most of them have."""
    return settled or Counter(m.before for m in members).most_common(1)[0][0]


def wave_size(waves: int, most_stops: int) -> int:
    """How many are moved at once after `waves` waves that went well: 1, 2, 4, … and never so many
    that the brake would hold them."""
    return max(1, min(2 ** min(waves, 10), most_stops))
