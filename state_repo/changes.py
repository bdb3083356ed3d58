"""The verbs on documents: what the web app and `iw` do to the desired state.

Each is one commit with the acting person as its author. Each works on the newest state, again if
somebody else was first, so that what it checks is what it commits.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from state_repo import StateRepoError
from state_repo.documents import (
    PLATFORM_PATH,
    Customer,
    Employee,
    EmployeeState,
    Freeze,
    Lesson,
    Model,
    Platform,
    Resources,
    Violation,
    customer_path,
)
from state_repo.parsing import dump
from state_repo.snapshot import CustomerView
from state_repo.store import Author, Files, Store

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
CHANGEABLE = ("name", "role", "image", "model", "resources", "skills", "instructions")


class NotFoundError(StateRepoError):
    """There is no such customer or employee."""


class ChangeError(StateRepoError):
    """The change makes no sense for the document as it is; the message says what does."""


def mint_id(name: str) -> str:
    """`Pulse` to `pulse-7f3k2a`: DNS-safe, at most 40 characters, and with 2^30 endings never
    the same again."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:32].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"e-{slug}".strip("-")[:32]
    return f"{slug}-{''.join(secrets.choice(_ALPHABET) for _ in range(6))}"


def set_platform(store: Store, author: Author, message: str,
                 change: Callable[[Platform], Platform]) -> str:
    return store.commit(author, message,
                        lambda view: {PLATFORM_PATH: dump(change(view.platform))})


def set_freeze(store: Store, author: Author, customer: str | None, freeze: Freeze | None) -> str:
    """Freezes one customer, or all (None), or lets them go on (`freeze` None); returns the
    commit."""
    word = "Go on with" if freeze is None else "Freeze"
    if customer is None:
        return set_platform(store, author, f"{word} everything", lambda p: replace(
            p, freeze=freeze))

    def apply(view: CustomerView) -> Files:
        made = replace(_customer(view, customer), freeze=freeze)
        return {made.path: dump(made)}
    return store.commit(author, f"{word} {customer}", apply, customer)


def create_customer(store: Store, author: Author, customer: str, name: str,
                    max_employees: int) -> tuple[Customer, str]:
    """Makes a customer, with the first free subnet of the pool."""
    made: list[Customer] = []

    def change(view: CustomerView) -> Files:
        if view.customer is not None:
            raise ChangeError(f"customer {customer} exists already; choose another id")
        made[:] = [Customer(customer, name, max_employees, _free_subnet(view))]
        return {customer_path(customer): dump(made[0]), **_blanks(view.platform, made[0], {})}
    sha = store.commit(author, f"Create customer {customer} with {max_employees} seats", change,
                       customer)
    return made[0], sha


def set_seats(store: Store, author: Author, customer: str, max_employees: int | None = None,
              suspended: bool | None = None) -> tuple[Customer, str]:
    made: list[Customer] = []

    def change(view: CustomerView) -> Files:
        old = _customer(view, customer)
        made[:] = [replace(
            old, max_employees=old.max_employees if max_employees is None else max_employees,
            suspended=old.suspended if suspended is None else suspended)]
        return {old.path: dump(made[0]), **_blanks(view.platform, made[0], view.employees)}
    sha = store.commit(author, f"Change seats of {customer}", change, customer)
    return made[0], sha


def rename_customer(store: Store, author: Author, customer: str, name: str
                    ) -> tuple[Customer, str]:
    """Changes what a customer is called; its id stays."""
    made: list[Customer] = []

    def change(view: CustomerView) -> Files:
        old = _customer(view, customer)
        made[:] = [replace(old, name=name)]
        return {old.path: dump(made[0])}
    sha = store.commit(author, f"Rename {customer} to {name}", change, customer)
    return made[0], sha


@dataclass(frozen=True, slots=True)
class Terms:
    """What was bought. `unseat`: the employees that lose their seat, and are paused."""

    plan: str | None
    seats: int
    suspended: bool
    unseat: tuple[str, ...] = ()


def set_plan(store: Store, author: Author, customer: str, message: str,
             decide: Callable[[CustomerView], Terms | None]) -> tuple[Customer, str]:
    """Makes the documents what was bought, in one commit: plan, seats, whether all is suspended;
    who is left without a seat is paused, and nobody has more than the plan gives. `decide` is
    asked on the newest state, while no other writer can come in between; None: leave it."""
    made: list[Customer] = []

    def change(view: CustomerView) -> Files:
        old = _customer(view, customer)
        terms = decide(view)
        if terms is None:
            made[:] = [old]
            return {}
        made[:] = [replace(old, plan=terms.plan, max_employees=terms.seats,
                           suspended=terms.suspended)]
        after = {e.id: _within(e, view.platform, old, made[0], terms.unseat)
                 for e in view.employees.values()}
        changed = {e.path: dump(e) for e in after.values() if e != view.employees[e.id]}
        return {old.path: dump(made[0]), **changed,
                **_blanks(view.platform, made[0], after)}
    sha = store.commit(author, message, change, customer)
    return made[0], sha


def _within(employee: Employee, platform: Platform, old: Customer, new: Customer,
            unseat: tuple[str, ...]) -> Employee:
    """One employee after a change of plan: at most what it gives, and its model budget with it."""
    if employee.state == "retired":
        return employee
    if employee.id in unseat:
        employee = replace(employee, state="paused", seat=False)
    before, after = platform.plans.get(old.plan or ""), platform.plans.get(new.plan or "")
    if after is None:
        return employee
    had, size = employee.model.monthly_budget_usd, employee.resources
    follows = before is not None and had == before.model_budget_usd
    budget = after.model_budget_usd if follows else min(had, after.model_budget_usd)
    return replace(
        employee, model=replace(employee.model, monthly_budget_usd=budget),
        resources=replace(size, cpus=min(size.cpus, after.limits.cpus),
                          memory_mb=min(size.memory_mb, after.limits.memory_mb)))


def _terms(platform: Platform, customer: Customer | None, resources: Resources | None = None,
           model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a new employee gets: what was asked for, else the platform's usual within the plan."""
    size, plan = platform.defaults, platform.plans.get((customer and customer.plan) or "")
    if plan is None:
        return {"resources": resources or size, "model": Model(**(model or {}))}
    return {"model": Model(**({"monthly_budget_usd": plan.model_budget_usd} | dict(model or {}))),
            "resources": resources or replace(
                size, cpus=min(size.cpus, plan.limits.cpus),
                memory_mb=min(size.memory_mb, plan.limits.memory_mb))}


def hire(store: Store, author: Author, customer: str, name: str, role: str, *,
         instructions: str = "", skills: tuple[str, ...] = (),
         resources: Resources | None = None, model: Mapping[str, Any] | None = None
         ) -> tuple[Employee, str]:
    """Adds a running employee: claims the blank that is kept warm, if any, under the id that it
    has; else under a new one. The next blank is asked for in the same commit. `model`: what differs
    from the defaults. Raises what `Store.commit` raises, and NotFoundError for an unknown
    customer."""
    identifier = mint_id(name)
    made: list[Employee] = []

    def change(view: CustomerView) -> Files:
        company = _customer(view, customer)
        if company.suspended:
            raise ChangeError("the company is suspended, so nobody can be hired; its billing page "
                              "says why")
        image = _employee_image(view.platform)
        warm = next((e for e in view.employees.values() if e.state == "warm"), None)
        made[:] = [Employee(warm.id if warm else identifier, customer, name, role,
                            warm.image if warm else image, skills=skills,
                            instructions=instructions,
                            hired_at=datetime.now(UTC).isoformat(),
                            **_terms(view.platform, company, resources, model))]
        after = {**view.employees, made[0].id: made[0]}
        return {made[0].path: dump(made[0]), **_blanks(view.platform, company, after)}
    sha = store.commit(author, f"Hire {name} for {customer}", change, customer)
    return made[0], sha


def check_hire(store: Store, customer: str, name: str, role: str, **fields: Any
               ) -> list[Violation]:
    """What would refuse this hire: the parser and the rules of a commit, and no commit."""
    snapshot = store.snapshot()
    state = snapshot.customers.get(customer)
    given = _terms(snapshot.platform, state.customer if state else None,
                   fields.pop("resources", None), fields.pop("model", None))
    return store.check(Employee(mint_id("check"), customer, name, role,
                                f"check@sha256:{'0' * 64}", **given, **fields))


def _blanks(platform: Platform, customer: Customer, employees: Mapping[str, Employee]) -> Files:
    """Blanks to add, so that enough are kept warm for the seats that are free."""
    taken = sum(e.holds_seat for e in employees.values())
    warm = sum(e.state == "warm" for e in employees.values())
    wanted = min(platform.warm_per_customer, customer.max_employees - taken) - warm
    fresh = [Employee(mint_id("emp"), customer.id, "Ready to be hired", "Nobody yet",
                      _employee_image(platform), state="warm", **_terms(platform, customer))
             for _ in range(wanted)]
    return {e.path: dump(e) for e in fresh}


def _employee_image(platform: Platform) -> str:
    if "employee" not in platform.images:
        raise ChangeError("platform.yaml names no employee image; `make run` sets it")
    return platform.images["employee"]


def change(store: Store, author: Author, customer: str, employee: str,
           **fields: Any) -> tuple[Employee, str]:
    """Changes some of CHANGEABLE; of `model` and `resources`, a mapping changes what it names."""
    if unknown := set(fields) - set(CHANGEABLE):
        raise ChangeError(f"{', '.join(sorted(unknown))}: can't be changed; what can is "
                          f"{', '.join(CHANGEABLE)}")

    def edit(e: Employee) -> Employee:
        parts = {name: replace(getattr(e, name), **value) for name, value in fields.items()
                 if isinstance(value, Mapping)}
        return replace(_present(e), **{**fields, **parts})
    return _edit(store, author, customer, employee, f"Change {', '.join(sorted(fields))} of", edit)


def pause(store: Store, author: Author, customer: str, employee: str) -> tuple[Employee, str]:
    return _edit(store, author, customer, employee, "Pause",
                 lambda e: replace(_present(e), state="paused"))


def resume(store: Store, author: Author, customer: str, employee: str) -> tuple[Employee, str]:
    return _edit(store, author, customer, employee, "Resume",
                 lambda e: replace(_present(e), state="running", seat=True))


def retry(store: Store, author: Author, customer: str, employee: str) -> tuple[Employee, str]:
    """Replaces the container; files and memory stay."""
    return _edit(store, author, customer, employee, "Retry",
                 lambda e: replace(_present(e), restarts=e.restarts + 1))


def rotate_key(store: Store, author: Author, customer: str, employee: str) -> tuple[Employee, str]:
    """Makes a new key for the model proxy and revokes the old one."""
    return _edit(store, author, customer, employee, "Rotate the model key of", lambda e: replace(
        _present(e), model=replace(e.model, key_version=e.model.key_version + 1)))


def decide_lesson(store: Store, author: Author, lesson: Lesson) -> str:
    """Records that a lesson was approved (every employee of the company is told) or rejected."""
    def change(view: CustomerView) -> Files:
        _customer(view, lesson.customer)
        return {lesson.path: dump(lesson)}
    verb = "Approve" if lesson.state == "approved" else "Reject"
    return store.commit(author, f"{verb} a lesson of {lesson.employee} ({lesson.customer})",
                        change, lesson.customer)


def retire(store: Store, author: Author, customer: str, employee: str, *,
           now: datetime | None = None) -> tuple[Employee, str]:
    """Ends the employment: the container goes now, the files after the grace period."""
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    retired: EmployeeState = "retired"
    return _edit(store, author, customer, employee, "Retire",
                 lambda e: e if e.state == retired else replace(e, state=retired, retired_at=at))


CANARY = "upgrade-canary"


def set_canary(store: Store, author: Author, image: str | None, state: EmployeeState, *,
               first: str) -> Employee:
    """The employee that new images are tried on, in this state, at `image` (None: at the one that
    it has): one of a company of its own, made with the image `first` when it is not there yet. It
    is kept, so that what it remembers gets as old as its colleagues' memory."""
    made: list[Employee] = []

    def change(view: CustomerView) -> Files:
        company = view.customer or Customer(CANARY, "Canary of upgrades", 1, _free_subnet(view))
        old = next((e for e in view.employees.values() if e.state in ("running", "paused")), None)
        made[:] = [replace(old, image=image or old.image, state=state) if old else Employee(
            mint_id("canary"), CANARY, "Canary", "Upgrade check", image or first, state,
            instructions=
            "The platform asks you short questions. Do what they say and answer in one sentence.",
            **_terms(view.platform, company))]
        return {company.path: dump(company), made[0].path: dump(made[0])}
    store.commit(author, f"Canary of upgrades: {state}", change, CANARY)
    return made[0]


def set_image(store: Store, author: Author, customer: str, employee: str, image: str, *,
              anew: bool = False) -> tuple[Employee, str]:
    """Takes an employee, or a blank, to an image. `anew`: its files are written anew, as by a
    retry."""
    def edit(e: Employee) -> Employee:
        if e.state == "retired":
            raise ChangeError(f"{e.id} is retired; it needs no image any more")
        return replace(e, image=image, restarts=e.restarts + anew)
    return _edit(store, author, customer, employee, "Change the image of", edit)


RETIRED_KEPT = timedelta(days=90)


def forget_retired(store: Store, author: Author, customer: str, now: datetime) -> str | None:
    """Removes the documents of who was retired so long ago that the files went RETIRED_KEPT ago,
    so that they do not grow for ever; git's history keeps them. Returns the commit, or None when
    there was nobody."""
    def over(employee: Employee, grace_days: int) -> bool:
        return employee.state == "retired" and employee.retired_at is not None and (
            datetime.fromisoformat(employee.retired_at) + timedelta(days=grace_days)
            + RETIRED_KEPT <= now)

    def change(view: CustomerView) -> Files:
        return {e.path: None for e in view.employees.values()
                if over(e, view.platform.grace_days)}
    head = store.head() or ""
    grace = store.platform(head).grace_days
    if not any(over(e, grace) for e in store.read_customer(head, customer).employees.values()):
        return None
    return store.commit(author, f"Forget who was retired long ago ({customer})", change, customer)


def _edit(store: Store, author: Author, customer: str, employee: str, verb: str,
          edit: Callable[[Employee], Employee]) -> tuple[Employee, str]:
    made: list[Employee] = []

    def apply(view: CustomerView) -> Files:
        _customer(view, customer)
        if employee not in view.employees:
            raise NotFoundError(f"customer {customer} has no employee {employee}; "
                                "see the list with `iw status`")
        made[:] = [edit(view.employees[employee])]
        return {made[0].path: dump(made[0])}
    sha = store.commit(author, f"{verb} {employee} ({customer})", apply, customer)
    return made[0], sha


def _present(employee: Employee) -> Employee:
    if employee.state == "retired":
        raise ChangeError(f"{employee.id} is retired, and an id is never used again; hire anew")
    if employee.state == "warm":
        raise ChangeError(f"{employee.id} is nobody yet: it is kept ready for the next hire")
    return employee


def _customer(view: CustomerView, customer: str) -> Customer:
    if view.customer is None:
        raise NotFoundError(f"there is no customer {customer}, or its file is not valid")
    return view.customer


def _free_subnet(view: CustomerView) -> str:
    pool = ipaddress.ip_network(view.platform.network.pool)
    used = {ipaddress.ip_network(cidr) for cidr in (view.other_subnets or {}).values()}
    for subnet in pool.subnets(new_prefix=view.platform.network.prefix_length):
        if subnet not in used and not any(subnet.overlaps(other) for other in used):
            return str(subnet)
    raise ChangeError(f"the network pool {pool} is used up; enlarge network.pool in platform.yaml")
