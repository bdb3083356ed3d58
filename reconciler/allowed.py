"""What of refused documents is brought into force all the same: a pure function of both states.

Where the state repo's own hooks don't run (a forge holds it), what the rules refuse reaches main.
One document's mistake must keep neither its colleagues from being hired nor anybody from being
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from state_repo.documents import Customer, Employee, Violation, customer_path
from state_repo.snapshot import CustomerState


def allowed(ran: CustomerState | None, wanted: CustomerState, refused: Iterable[Violation],
            is_worse: Callable[[CustomerState], bool]) -> CustomerState | None:
    """The documents that nothing is wrong with beside what was applied of the others; where those
    don't go together (`is_worse`), or some can't be read, what was applied without those whom the
    documents stop. None when that changes nothing."""
    if not corruption(wanted):
        found = _without(ran, wanted, {violation.path for violation in refused})
        if found is not None and not is_worse(found):
            return None if ran is not None and _same(found, ran) else found
    return stops_only(ran, wanted) if ran is not None else None


def corruption(state: CustomerState) -> list[Violation]:
    """Why a customer can't be read whole."""
    if state.violations or state.customer is not None:
        return list(state.violations)
    return [Violation(customer_path(state.id), 0, "file", "is missing",
                      "restore it from the history of the state repo")]


def stops_only(ran: CustomerState, wanted: CustomerState) -> CustomerState | None:
    """What was applied, but for those whom readable documents pause, retire or suspend; None when
    they stop nobody who is not stopped already."""
    employees = {id: _stopped(old, wanted.employees.get(id)) for id, old in ran.employees.items()}
    found = replace(ran, customer=_suspended(ran.customer, wanted.customer), employees=employees)
    return None if _same(found, ran) else found


def waiting(part: CustomerState, wanted: CustomerState) -> frozenset[str]:
    """The employees who are not yet what is wanted of them."""
    return frozenset(id for id in part.employees.keys() | wanted.employees.keys()
                     if part.employees.get(id) != wanted.employees.get(id))


def _without(ran: CustomerState | None, wanted: CustomerState, blamed: Collection[str]
             ) -> CustomerState | None:
    customer = wanted.customer
    if customer is None or customer.path in blamed:
        customer = _suspended(ran.customer if ran else None, customer)
    if customer is None:
        return None
    before = ran.employees if ran else {}
    employees = {id: new for id, new in wanted.employees.items() if new.path not in blamed}
    for id, new in wanted.employees.items():
        if new.path in blamed and id in before:
            employees[id] = _stopped(before[id], new)
    return replace(wanted, customer=customer, employees=employees)


def _stopped(old: Employee, new: Employee | None) -> Employee:
    if new is None or new.state not in ("paused", "retired") or old.state == "retired":
        return old
    return replace(old, state=new.state, seat=new.seat, retired_at=new.retired_at)


def _suspended(old: Customer | None, new: Customer | None) -> Customer | None:
    return replace(old, suspended=True) if old and new and new.suspended else old


def _same(one: CustomerState, other: CustomerState) -> bool:
    return (one.customer, one.employees, one.lessons) == (
        other.customer, other.employees, other.lessons)
