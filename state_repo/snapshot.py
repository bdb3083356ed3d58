"""A commit read as values: the platform, and every customer with its employees.

A customer whose files are wrong is still there, with its `violations`: one customer's mistake
must not hide the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from state_repo.documents import Customer, Employee, Freeze, Lesson, Platform, Violation


@dataclass(frozen=True, slots=True)
class CustomerState:
    """One customer's folder at one commit.

    `digest` is git's own hash of the folder's tree (40 hex digits): equal digests, equal
    documents. `customer` is None when its own file is missing or wrong.
    """

    id: str
    digest: str
    customer: Customer | None
    employees: Mapping[str, Employee]
    violations: tuple[Violation, ...] = ()
    lessons: Mapping[str, Lesson] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What should exist, by one commit."""

    commit: str
    platform: Platform
    customers: Mapping[str, CustomerState]

    def freeze_of(self, customer: str | None, now: datetime) -> Freeze | None:
        """What keeps a customer (None: the platform) from being reconciled now."""
        state = self.customers.get(customer or "")
        own = state.customer.freeze if state is not None and state.customer is not None else None
        return next((freeze for freeze in (self.platform.freeze, own)
                     if freeze is not None and freeze.holds(now)), None)


@dataclass(frozen=True, slots=True)
class CustomerView:
    """What the rules look at: one customer as it would be.

    `other_subnets` (customer to CIDR) is there only when the customer's own document is new or
    changed: to read everybody's for each hire would make a commit's cost grow with the fleet.
    """

    platform: Platform
    customer: Customer | None
    employees: Mapping[str, Employee] = field(default_factory=dict)
    other_subnets: Mapping[str, str] | None = None
    lessons: Mapping[str, Lesson] = field(default_factory=dict)
