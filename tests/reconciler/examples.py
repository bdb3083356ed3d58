"""Small documents for tests of the loop."""

from __future__ import annotations

from state_repo.documents import Customer, Employee, Platform
from state_repo.snapshot import CustomerState, Snapshot

IMAGE = f"instantworker/employee@sha256:{'a' * 64}"


def employee(id: str = "pulse-aaaaaa", customer: str = "acme") -> Employee:
    return Employee(id, customer, "Pulse", "Marketing assistant", IMAGE)


def acme() -> CustomerState:
    one = employee()
    return CustomerState("acme", "d" * 40, Customer("acme", "Acme", 10, "10.192.0.0/25"),
                         {one.id: one})


def platform() -> Platform:
    return Platform(images={"employee": IMAGE})


def snapshot(*states: CustomerState) -> Snapshot:
    return Snapshot("c1", platform(), {state.id: state for state in states})
