"""Rules over documents: what may be wanted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from state_repo.documents import Employee, Platform, Resources, Violation, skill_path
from state_repo.snapshot import CustomerView

_PASSWORD_IN_URL = re.compile(r"//[^/@\s]*:[^/@\s]*@")

Rule = Callable[[CustomerView], Iterator[Violation]]


def seats(view: CustomerView) -> Iterator[Violation]:
    """Employees that are not retired fit the seats; who was paused for want of one holds none."""
    if view.customer is None:
        return
    taken = sum(employee.holds_seat for employee in view.employees.values())
    if taken > view.customer.max_employees:
        yield Violation(
            view.customer.path, 0, "spec.maxEmployees",
            f"is {view.customer.max_employees}, and {taken} employees would hold a seat",
            "retire an employee, or add seats", taken - view.customer.max_employees)


def sizes(view: CustomerView) -> Iterator[Violation]:
    """No employee is larger than the platform allows."""
    for employee in _present(view):
        yield from too_large(employee.resources, view.platform, employee.path)


def too_large(wanted: Resources, platform: Platform, path: str,
              at: str = "spec.resources") -> Iterator[Violation]:
    limits = platform.limits
    for field, value, most in (
            ("cpus", wanted.cpus, limits.max_cpus),
            ("memoryMb", wanted.memory_mb, limits.max_memory_mb),
            ("pids", wanted.pids, limits.max_pids)):
        if value > most:
            yield Violation(path, 0, f"{at}.{field}",
                            f"is {value:g}, and the platform allows at most {most:g}",
                            "lower it, or raise limits in platform.yaml", value - most)


def owners(view: CustomerView) -> Iterator[Violation]:
    """Every employee belongs to the customer whose folder it is in."""
    if view.customer is None:
        return
    for employee in view.employees.values():
        if employee.customer != view.customer.id:
            yield Violation(employee.path, 0, "metadata.customer", f"is {employee.customer}",
                            f"write {view.customer.id}")


def models(view: CustomerView) -> Iterator[Violation]:
    """A model that exists."""
    for employee in _present(view):
        if employee.model.name not in view.platform.models:
            yield Violation(employee.path, 0, "spec.model.name",
                            f"is {employee.model.name!r}, and there is no such model",
                            f"write one of: {', '.join(sorted(view.platform.models))}")


def skills(view: CustomerView) -> Iterator[Violation]:
    """Skills that the catalogue holds."""
    for employee in _present(view):
        for name in employee.skills:
            if name not in view.platform.skills:
                there = ", ".join(sorted(view.platform.skills)) or "(there is none)"
                yield Violation(employee.path, 0, "spec.skills", f"names {name!r}, and the "
                                f"catalogue has no such skill, but: {there}",
                                f"remove {name}, or add {skill_path(name)}")


def plan(view: CustomerView) -> Iterator[Violation]:
    """A plan that exists; its seats, and what each employee may have by it."""
    if view.customer is None or view.customer.plan is None:
        return
    path, name = view.customer.path, view.customer.plan
    bought = view.platform.plans.get(name)
    if bought is None:
        known = ", ".join(sorted(view.platform.plans)) or "(there is none)"
        yield Violation(path, 0, "spec.plan", f"is {name!r}, and there is no such plan",
                        f"write one of: {known}; a plan that somebody holds stays in "
                        "platform.yaml, with offered: false")
        return
    if view.customer.max_employees > bought.seats.max:
        yield Violation(path, 0, "spec.maxEmployees", f"is {view.customer.max_employees}, and the "
                        f"plan {name} has at most {bought.seats.max} seats",
                        "lower it, or choose a larger plan",
                        view.customer.max_employees - bought.seats.max)
    for employee in _present(view):
        for field, value, most in (
                ("resources.cpus", employee.resources.cpus, bought.limits.cpus),
                ("resources.memoryMb", employee.resources.memory_mb, bought.limits.memory_mb),
                ("model.monthlyBudgetUsd", employee.model.monthly_budget_usd,
                 bought.model_budget_usd)):
            if value > most:
                yield Violation(employee.path, 0, f"spec.{field}", f"is {value:g}, and the plan "
                                f"{name} allows at most {most:g}",
                                "lower it, or choose a larger plan", value - most)


def subnet(view: CustomerView) -> Iterator[Violation]:
    """A new or changed subnet lies in the pool, has its size, and is nobody else's."""
    if view.customer is None or view.other_subnets is None:
        return
    path, cidr = view.customer.path, view.customer.subnet
    wanted, pool = view.platform.network, ipaddress.ip_network(view.platform.network.pool)
    try:
        own = ipaddress.ip_network(cidr)
    except ValueError as error:
        yield Violation(path, 0, "spec.network.subnet", f"is {cidr!r} ({error})",
                        f"write a /{wanted.prefix_length} network out of {pool}")
        return
    if not own.subnet_of(pool) or own.prefixlen != wanted.prefix_length:  # type: ignore[arg-type]
        yield Violation(path, 0, "spec.network.subnet", f"is {cidr}",
                        f"write a /{wanted.prefix_length} network out of {pool}")
    for other, theirs in view.other_subnets.items():
        if own.overlaps(ipaddress.ip_network(theirs)):
            yield Violation(path, 0, "spec.network.subnet", f"overlaps {other}'s ({theirs})",
                            "take a free one: `iw` and the web app choose it by themselves")


def room(view: CustomerView) -> Iterator[Violation]:
    """The customer's network has an address for every seat."""
    if view.customer is None:
        return
    try:
        network = ipaddress.ip_network(view.customer.subnet)
    except ValueError:
        return  # `subnet` says so
    fits = network.num_addresses - 3  # the network, the broadcast and the gateway are nobody's
    if view.customer.max_employees > fits:
        yield Violation(view.customer.path, 0, "spec.maxEmployees",
                        f"is {view.customer.max_employees}, and its network has {fits} "
                        "addresses", "lower it, or set network.prefixLength in platform.yaml to a "
                        "smaller number and give this customer a subnet of that size "
                        "(spec.network.subnet)", view.customer.max_employees - fits)


CUSTOMER_RULES: tuple[Rule, ...] = (seats, sizes, owners, models, skills, plan, subnet,
                                    room)


def check_customer(view: CustomerView) -> list[Violation]:
    """Every violation of one customer's documents."""
    return [violation for rule in CUSTOMER_RULES for violation in rule(view)]


def check_platform(platform: Platform) -> list[Violation]:
    """Every violation of platform.yaml."""
    found = []
    pool = platform.network
    try:
        network = ipaddress.ip_network(pool.pool)
    except ValueError as error:
        return [Violation(platform.path, 0, "spec.network.pool", f"is {pool.pool!r} ({error})",
                          "write a private network such as 10.192.0.0/12")]
    if not network.is_private:
        found.append(Violation(platform.path, 0, "spec.network.pool", f"is {network}",
                               "write a private network: its addresses are containers'"))
    if pool.prefix_length < network.prefixlen:
        found.append(Violation(platform.path, 0, "spec.network.prefixLength",
                               f"is {pool.prefix_length}, larger than the pool {network}",
                               f"write {network.prefixlen + 1} or more"))
    found += too_large(platform.defaults, platform, platform.path)
    for name, offered in platform.models.items():
        if offered.model != "demo" and offered.input_usd_per_million == 0 and (
                offered.output_usd_per_million == 0):
            found.append(Violation(
                platform.path, 0, f"spec.models.{name}", "has no price, so that no budget holds",
                "write inputUsdPerMillion and outputUsdPerMillion"))
    for name, plan in platform.plans.items():
        if not plan.seats.min <= plan.seats.included <= plan.seats.max:
            found.append(Violation(
                platform.path, 0, f"spec.plans.{name}.seats", "are not in order",
                "write min, included and max so that none is below the one before it"))
        found += too_large(Resources(plan.limits.cpus, plan.limits.memory_mb), platform,
                           platform.path, f"spec.plans.{name}.limits")
    prices = [plan.price_id for plan in platform.plans.values() if plan.price_id]
    for twice in sorted({price for price in prices if prices.count(price) > 1}):
        found.append(Violation(platform.path, 0, "spec.plans", f"name {twice} more than once",
                               "give each plan a price of its own: a payment says its price"))
    mail = platform.alerts.mail
    for at, receiver in enumerate(platform.alerts.receivers):
        if receiver.email and mail is None:
            found.append(Violation(
                platform.path, 0, f"spec.alerts.receivers[{at}]", "is told by e-mail, and there is "
                "no mail server", "write spec.alerts.mail with server and from"))
    if mail and bool(mail.user) != bool(mail.secret):
        found.append(Violation(
            platform.path, 0, "spec.alerts.mail", "names a user or a secret, and not both",
            "write both, or none for a server that asks for no password"))
    if _PASSWORD_IN_URL.search(platform.backups.repository or ""):
        found.append(Violation(
            platform.path, 0, "spec.backups.repository", "holds a password, and everybody who "
            "reads the state repo would have it", "take a place that is opened by a key (sftp), or "
            "by what backups.access names (s3, b2, azure, gs)"))
    if "default" not in platform.models:
        found.append(Violation(platform.path, 0, "spec.models", "has no model named default",
                               "name one of them default: who is hired uses it"))
    return found


def _present(view: CustomerView) -> Iterator[Employee]:
    return (e for e in view.employees.values() if e.state != "retired")


__all__ = ["CUSTOMER_RULES", "check_customer", "check_platform"]
