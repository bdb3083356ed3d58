"""An employee's key for the model proxy, and what the proxy knows of it.

The key itself is a secret file of ours and a line in the employee's configuration. The proxy gets
one small file a key, named by the key's SHA-256: whose it is, what it opens, from where, and how
much it may spend. It reads that file at each request, so that to remove it is to revoke the key.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from stacks.identity import WARM_MODEL, key_name
from stacks.providers.servicer import Inputs, Kind
from stacks.secret_files import remove_secret, secret
from state_repo.documents import Customer, Employee
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
    replace_first = True

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def create(self, inputs: Inputs) -> str:
        path = registration(self._instance, inputs)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with open(handle, "w") as file:
            file.write(_registered(inputs))
        os.chown(fresh, UID, UID)
        fresh.rename(path)
        return f"{inputs['employee']}-{int(inputs['version'])}"

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        return inputs if is_registered(self._instance, inputs) else None

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        registration(self._instance, inputs).unlink(missing_ok=True)
        remove_secret(self._instance, key_name(inputs["employee"], int(inputs["version"])))


def registration(instance: Instance, inputs: Inputs) -> Path:
    """The proxy's file for the key."""
    key = secret(instance, key_name(inputs["employee"], int(inputs["version"])))
    return instance.data / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def is_registered(instance: Instance, inputs: Inputs) -> bool:
    """Whether the proxy knows the key, and of it what it should."""
    try:
        return registration(instance, inputs).read_text() == _registered(inputs)
    except OSError:
        return False


def _registered(inputs: Inputs) -> str:
    return json.dumps({
        "employee": inputs["employee"], "customer": inputs["customer"],
        "models": inputs["models"], "stand_in": inputs.get("standIn"), "subnet": inputs["subnet"],
        "monthly_budget_usd": float(inputs["monthlyBudgetUsd"]),
        "customer_monthly_budget_usd": inputs.get("customerMonthlyBudgetUsd"),
        "requests_per_minute": int(inputs["requestsPerMinute"])}, sort_keys=True)
