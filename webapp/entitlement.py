"""What a company may have, by what it pays for: pure functions.

    settle        its subscriptions     -> the one that counts, and those that should not be
    entitlement   that one, and a clock -> seats, whether all is stopped, the phase, until when
    terms         that, and the documents -> the documents that should be
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from state_repo.changes import Terms
from state_repo.documents import Billing, Employee
from state_repo.snapshot import CustomerView
from webapp.purchases import GOOD, Paid

Phase = Literal["none", "waiting", "trial", "active", "ending", "unpaid", "stopped", "ended"]


@dataclass(frozen=True, slots=True)
class Settled:
    """`kept`: the subscription that counts. `undo`: those that doubled it, with the moment from
    which what they took is given back; None: they are ended, and what they took was owed."""

    kept: Paid | None
    undo: tuple[tuple[Paid, datetime | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Entitlement:
    """`phase`: waiting (a first payment is not through), trial, active, ending (told to end),
    unpaid (a grace runs), stopped (the grace is over), ended. `until`: when the phase ends by
    itself: the next bill, the end, the stop, the end of the export."""

    seats: int
    suspended: bool
    phase: Phase
    until: datetime | None = None


def settle(found: list[Paid]) -> Settled:
    """A company has one subscription. Of several that live, a good one counts before a bad one,
    and the older before the newer; the newer was bought by mistake, and is given back. Also one
    that ended meanwhile, when it lived wholly beside an older one."""
    paid = sorted((p for p in found if not p.status.startswith("incomplete")),
                  key=lambda p: (p.created, p.id))
    waiting = [p for p in found if p.status == "incomplete"]
    live = [p for p in paid if p.live]
    if not live:
        kept = max(paid, key=lambda p: (p.ended_at or p.created, p.created), default=None)
        kept = kept or max(waiting, key=lambda p: p.created, default=None)
    else:
        kept = min(live, key=lambda p: (p.status not in GOOD, p.created, p.id))
    undo: list[tuple[Paid, datetime | None]] = []
    for one in paid:
        if one is not kept and any(_doubles(one, older) for older in paid if older is not one):
            undo.append((one, one.created))
        elif one is not kept and one.live:
            undo.append((one, None))
    return Settled(kept, tuple(undo))


def _doubles(newer: Paid, older: Paid) -> bool:
    """Whether one lived wholly beside an older one that was paid for. A good one beside a bad
    one is no double: somebody whose card failed bought anew."""
    if (newer.created, newer.id) < (older.created, older.id):
        return False
    if older.live:
        return older.status in GOOD or newer.status not in GOOD
    return (older.ended_at is not None and newer.ended_at is not None
            and newer.created < older.ended_at and newer.ended_at <= older.ended_at)


def entitlement(paid: Paid | None, rules: Billing, now: datetime) -> Entitlement | None:
    """None: nothing was bought here, so that the documents stay as people made them."""
    if paid is None or paid.status in ("incomplete", "incomplete_expired"):
        return None
    match paid.status:
        case "trialing":
            if paid.ends_at is not None:
                return Entitlement(paid.seats, False, "ending", paid.ends_at)
            return Entitlement(paid.seats, False, "trial", paid.trial_end)
        case "active":
            phase: Phase = "ending" if paid.ends_at is not None else "active"
            return Entitlement(paid.seats, False, phase, paid.ends_at or paid.period_end)
        case "past_due":
            stop = (paid.unpaid_since or paid.period_end or now) + timedelta(
                days=rules.unpaid_grace_days)
            if now < stop:
                return Entitlement(paid.seats, False, "unpaid", stop)
            return Entitlement(paid.seats, True, "stopped")
        case "unpaid" | "paused":
            return Entitlement(paid.seats, True, "stopped")
    until = (paid.ended_at or now) + timedelta(days=rules.retention_days)
    return Entitlement(paid.seats, True, "ended", until)


def newest_first(view: CustomerView) -> list[Employee]:
    """Who holds a seat, the newest first: the order in which seats are lost."""
    return sorted((e for e in view.employees.values() if e.holds_seat),
                  key=lambda e: (e.hired_at or "", e.id), reverse=True)


def terms(view: CustomerView, bought: Entitlement, plan: str | None, chosen: Iterable[str],
          over_until: datetime | None, now: datetime) -> tuple[Terms, datetime | None]:
    """The documents that should be, and when the newest will be paused if too many hold a seat.

    Until then nobody new comes in: as many seats as are held, never more than there were.
    `chosen`: whom the company named; they go first, and at once.
    """
    old = view.customer
    assert old is not None
    offer = view.platform.plans.get(plan or "")
    plan = plan if offer is not None else old.plan
    seats = min(bought.seats, offer.seats.max) if offer is not None else bought.seats
    seats = min(seats, _room(view))
    holders = newest_first(view)
    excess = len(holders) - seats
    if excess <= 0:
        return Terms(plan, seats, bought.suspended), None
    named = [e.id for e in holders if e.id in set(chosen)][:excess]
    if len(named) < excess and (over_until is None or now < over_until):
        stay = len(holders) - len(named)
        over = over_until or now + timedelta(days=view.platform.billing.downgrade_grace_days)
        if now < over:
            # The old plan holds on as well: the new one may not have that many seats.
            kept = plan if offer is None or stay <= offer.seats.max else old.plan
            return Terms(kept, stay, bought.suspended, tuple(named)), over
    named += [e.id for e in holders if e.id not in named][:excess - len(named)]
    return Terms(plan, seats, bought.suspended, tuple(named)), None


def _room(view: CustomerView) -> int:
    """Addresses in a customer's network; the rules refuse more seats."""
    return 2 ** (32 - view.platform.network.prefix_length) - 3
