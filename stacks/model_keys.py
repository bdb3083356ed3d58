"""An employee's key for the model proxy, and what the proxy knows of it.

The key itself is a secret file of ours and a line in the employee's configuration. The proxy gets
one small file a key, named by the key's SHA-256: whose it is, what it opens, from where, and how
much it may spend. It reads that file at each request, so that to remove it is to revoke the key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from stacks import StackError
from stacks.identity import WARM_MODEL, key_name
from stacks.providers.servicer import Inputs, Kind
from stacks.secret_files import existing, remove_secret, secret
from state_repo import StateRepoError
from state_repo.documents import Customer, Employee
from state_repo.files import read_secret
from state_repo.instance import Instance

UID = 10005
FOLDER = "config/model_proxy/keys"


def grant(customer: Customer, employee: Employee) -> Inputs:
    """What the proxy is told of an employee's key. A blank asks for the model that it will have,
    and a stand-in answers, for nothing: to change the model's name at the claim would cost the
    first answer seconds."""
    is_blank = employee.state == "warm"
    found: Inputs = {
        "employee": employee.id, "customer": customer.id, "subnet": customer.subnet,
        "version": employee.model.key_version,
        "models": [employee.model.name],
        "monthlyBudgetUsd": 0.0 if is_blank else employee.model.monthly_budget_usd,
        "requestsPerMinute": employee.model.requests_per_minute}
    if is_blank:
        found["standIn"] = WARM_MODEL
    if customer.monthly_budget_usd is not None:
        found["customerMonthlyBudgetUsd"] = customer.monthly_budget_usd
    return found


class ModelKey(Kind):
    """`grant`'s properties. A new `version` is made before the old one is revoked, so that the
    employee's configuration changes in between."""

    token = "instantworker:model:Key"
    properties = frozenset({"employee", "customer", "subnet", "version", "models",
                            "standIn", "monthlyBudgetUsd", "customerMonthlyBudgetUsd",
                            "requestsPerMinute"})
    in_place = frozenset({"subnet", "models", "standIn", "monthlyBudgetUsd",
                          "customerMonthlyBudgetUsd", "requestsPerMinute"})

    def __init__(self, instance: Instance,
                 let_end: Callable[[str], None] = lambda _: None) -> None:
        """`let_end(employee)`: waits while it is at work that it began with the old key."""
        self._instance, self._let_end = instance, let_end

    def replaces_first(self, inputs: Inputs) -> bool:
        return True

    def create(self, inputs: Inputs) -> str:
        path = _registration(self._instance, secret(
            self._instance, key_name(inputs["employee"], int(inputs["version"]))))
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with open(handle, "w") as file:
            file.write(_registered(inputs))
            file.flush()
            os.fsync(file.fileno())
        os.chown(fresh, UID, UID)
        fresh.rename(path)
        return f"{inputs['employee']}-{int(inputs['version'])}"

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        return inputs if is_registered(self._instance, inputs) else None

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        self._let_end(inputs["employee"])
        name = key_name(inputs["employee"], int(inputs["version"]))
        with contextlib.suppress(StackError):  # without the key nobody can show it
            _registration(self._instance, existing(self._instance, name)).unlink(missing_ok=True)
        remove_secret(self._instance, name)


def _registration(instance: Instance, key: str) -> Path:
    """The proxy's file for a key."""
    return instance.data / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


_seen: dict[tuple[Path, str], tuple[tuple[int, int, int], ...]] = {}


def is_registered(instance: Instance, inputs: Inputs) -> bool:
    """Whether the proxy knows the key, and of it what it should. What was read once is not read
    again while neither file was touched: a look at a large fleet asks for everybody."""
    name = key_name(inputs["employee"], int(inputs["version"]))
    wanted = _registered(inputs)
    known = (instance.secrets_path / name, wanted)
    try:
        key_stat = _touched(known[0])
        path = _registration(instance, _key_of(known[0], key_stat))
        if _seen.get(known) == (key_stat, _touched(path)):
            return True
        if path.read_text() != wanted:
            return False
        if len(_seen) > 50_000:
            _seen.clear()
        _seen[known] = (key_stat, _touched(path))
    except (OSError, StateRepoError):
        return False
    return True


@lru_cache(maxsize=50_000)
def _key_of(path: Path, touched: tuple[int, int, int]) -> str:
    return read_secret(path)


def _touched(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _registered(inputs: Inputs) -> str:
    return json.dumps({
        "employee": inputs["employee"], "customer": inputs["customer"],
        "models": inputs["models"], "stand_in": inputs.get("standIn"), "subnet": inputs["subnet"],
        "monthly_budget_usd": float(inputs["monthlyBudgetUsd"]),
        "customer_monthly_budget_usd": inputs.get("customerMonthlyBudgetUsd"),
        "requests_per_minute": int(inputs["requestsPerMinute"])}, sort_keys=True)
