"""A company, a fake Stripe and the web app's billing, with a clock: for tests of sequences.

Messages go through the real route with a real signature; the SDK's calls go to the fake without a
socket. `python -m tests.webapp.billing_sequences 2000` runs many of them.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from policies.documents import check_customer
from state_repo import StateRepoError, changes
from state_repo.documents import Billing as Days
from state_repo.documents import Plan, PlanLimits, Platform, SeatRange
from state_repo.git_door import GitDoor
from state_repo.instance import PORTS, Instance
from state_repo.objects import Objects
from state_repo.store import Author, Store
from tests.fake_stripe import DAY, FakeStripe, InProcess
from webapp import buying
from webapp.billing_check import Report, reconcile
from webapp.billing_models import BillingRun, StripeEvent, Subscription, UsageReport
from webapp.billing_setup import billing_of
from webapp.errors import Problem
from webapp.factory import create_app
from webapp.purchases import PaymentsError
from webapp.settings import Settings, StripeSettings

ENGINEER = Author("Engineer", "eng@iw.test")
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
PLANS = {
    "small": Plan("Small", 1000, price_id="price_small", trial_days=14, seats=SeatRange(1, 1, 4),
                  limits=PlanLimits(1.0, 3072), model_budget_usd=10.0),
    "large": Plan("Large", 2500, price_id="price_large", seats=SeatRange(2, 1, 60),
                  limits=PlanLimits(2.0, 4096), model_budget_usd=20.0),
}
PRICES = {"price_small": 1000, "price_large": 2500}
KEYS = StripeSettings("sk_test_fake", "whsec_fake", meter="model_spend")
GRACE = Days(unpaid_grace_days=7, downgrade_grace_days=3, retention_days=30)


class MemoryDoor(GitDoor):
    """A branch in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.head: str | None = None
        self._swapping = threading.Lock()

    def swap(self, new: str, old: str | None) -> bool:
        with self._swapping:
            if self.head != old:
                return False
            self.head = new
            return True


class MemoryObjects(Objects):
    """Objects in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._objects: dict[bytes, bytes] = {}

    def write(self, kind: str, data: bytes) -> bytes:
        sha = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).digest()
        self._objects[sha] = data
        return sha

    def read(self, sha: bytes) -> bytes:
        return self._objects[sha]

    def read_document(self, blob: bytes) -> bytes:
        return self._objects[blob]


class MemoryStore(Store):
    """The state repo without its disk and git's processes: the same trees, rules and swap."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.objects = MemoryObjects(self.path)
        self._door = self._memory = MemoryDoor(self.path)

    def head(self) -> str | None:
        return self._memory.head


class World:
    """One app for many sequences: `fresh` begins one, with a new company and a new Stripe."""

    def __init__(self, data: Path, database: str | None = None) -> None:
        instance = Instance(id="0badcafe", data=data, database=database, network_pool="10.0.0.0/8",
                            ports={name: 2000 + n for n, name in enumerate(PORTS)})
        self.settings = Settings(instance, stripe=KEYS)
        self.app: Any = create_app(self.settings)
        self.store = MemoryStore.open_or_create(instance, check_customer)
        self.status = self.app.extensions["iw_status"]
        changes.set_platform(self.store, ENGINEER, "P", lambda old: Platform(
            images={"employee": IMAGE}, plans=PLANS, billing=GRACE, network=type(old.network)(
                "10.0.0.0/8", 25)))
        self.client = self.app.test_client()
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self._count = 0
        self.fresh()

    def fresh(self) -> None:
        self._count += 1
        self.fake = FakeStripe(PRICES)
        self.fake.page_most = 2  # so that every list has pages
        self.billing = billing_of(
            self.settings, self.store, self.status, http_client=InProcess(self.fake),
            clock=lambda: datetime.fromtimestamp(self.fake.now, UTC),
            tell=lambda customer, kind, about: self.told.append((customer, kind, about)))
        self.app.extensions["iw_billing"] = self.billing
        self.customer = f"c{self._count}"
        changes.create_customer(self.store, ENGINEER, self.customer, "Acme", 0)
        self.told.clear()
        self.late: list[dict[str, Any]] = []
        self._carried = 0
        with self.billing.session.begin() as session:
            for table in (Subscription, StripeEvent, BillingRun, UsageReport):
                session.execute(delete(table))

    # ---- looking -----------------------------------------------------------------------------

    @property
    def row(self) -> Subscription | None:
        return self.billing.row(self.customer)

    @property
    def documents(self) -> Any:
        return self.store.read_customer(self.store.head(), self.customer)

    @property
    def company(self) -> Any:
        return self.documents.customer

    def running(self) -> int:
        return 0 if self.company.suspended else sum(
            e.state == "running" for e in self.documents.employees.values())

    def living(self) -> list[dict[str, Any]]:
        return [s for s in self.fake.subscriptions() if s["status"] != "canceled"]

    # ---- messages ----------------------------------------------------------------------------

    def post(self, body: bytes, signature: str) -> int:
        return self.client.post("/webhooks/stripe", data=body, headers={
            "Stripe-Signature": signature, "Content-Type": "application/json"}).status_code

    def deliver(self, event: dict[str, Any]) -> int:
        return self.post(*self.fake.signed(event))

    def carry(self, how: str, chance: random.Random) -> None:
        """What becomes of the messages that were made since the last time."""
        fresh, self._carried = self.fake.outbox[self._carried:], len(self.fake.outbox)
        if how == "drop":
            return
        if how == "late":
            self.late += fresh
            return
        if how == "mixed":
            fresh = [e for e in fresh + self.late if chance.random() < 0.7]
            self.late = []
            chance.shuffle(fresh)
        for event in fresh:
            for _ in range(2 if how == "double" else 1):
                faults = list(self.fake.faults)
                if (status := self.deliver(event)) != 200:
                    # Stripe did not answer just then, so its message was refused: it comes again.
                    assert status == 503 and faults
                    self.late.append(event)

    def deliver_all(self) -> None:
        self.carry("deliver", random.Random(0))

    def forge(self, event: dict[str, Any] | None = None) -> None:
        """Messages that prove nothing, or are too old: each is refused, and nothing changes."""
        known = event or (self.fake.outbox[-1] if self.fake.outbox else {
            "id": "evt_forged", "type": "customer.subscription.updated", "created": self.fake.now,
            "data": {"object": {"customer": "cus_000001", "object": "subscription"}}})
        told, before = known | {"id": "evt_forged"}, self._state()
        body, signature = self.fake.signed(told, secret="whsec_other")
        good, old = self.fake.signed(told, at=int(time.time()) - 3600)
        assert self.post(body, signature) == 400
        assert self.post(good, old) == 400
        assert self.post(good[:-1] + b" }", self.fake.signed(told)[1]) == 400
        assert self.post(good, "") == 400 and self.post(b"\xff", "t=1,v1=0") == 400
        assert self._state() == before

    def _state(self) -> tuple[Any, ...]:
        row = self.row
        return (self.store.head(), row.version if row else None, row.seats if row else None)

    # ---- people ------------------------------------------------------------------------------

    def checkout(self, plan: str, seats: int) -> str | None:
        """Goes to the checkout; its id, or None if that was refused."""
        try:
            return buying.checkout(self.billing, self.customer, plan, seats, name="Acme",
                                   email="ann@acme.test").id
        except (Problem, PaymentsError):
            return None

    def subscribe(self, plan: str = "large", seats: int = 2) -> dict[str, Any]:
        session = self.checkout(plan, seats)
        assert session is not None
        made = self.fake.pay(session)
        assert made is not None
        self.deliver_all()
        return made

    def change(self, plan: str, seats: int, named: int = 0, twice: bool = False) -> bool:
        try:
            quote = buying.preview(self.billing, self.customer, plan, seats)
            chosen = [e.id for e in quote.holders[-named:]] if named else []
            for _ in range(2 if twice else 1):
                buying.change(self.billing, self.customer, plan, seats, quote.quote.at, chosen)
        except (Problem, PaymentsError):
            return False
        return True

    def hire(self, count: int, workers: int = 1) -> int:
        """So many hires, several at once. How many were let in."""
        def one(number: int) -> bool:
            try:
                changes.hire(self.store, ENGINEER, self.customer, f"E{number}", "R")
            except StateRepoError:
                return False
            return True
        if workers == 1:
            return sum(map(one, range(count)))
        with ThreadPoolExecutor(workers) as pool:
            return sum(pool.map(one, range(count)))

    def act(self, verb: str, chance: random.Random) -> None:
        people = sorted(self.documents.employees)
        if not people:
            return
        try:
            getattr(changes, verb)(self.store, ENGINEER, self.customer, chance.choice(people))
        except StateRepoError:
            return

    def pass_days(self, days: float) -> None:
        self.fake.advance(int(days * DAY))

    def reconcile(self) -> Report:
        return reconcile(self.billing)


def days(number: float) -> timedelta:
    return timedelta(days=number)
