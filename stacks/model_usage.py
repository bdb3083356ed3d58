"""What was spent on models: read from the model proxy's ledger, which only the proxy writes."""

from __future__ import annotations

import sqlite3
from typing import Any

from state_repo.instance import Instance


def usage(instance: Instance, customer: str, month: str) -> dict[str, Any]:
    """One customer's month ("2026-01"): `{"month", "customer": spent, "employees": {id: spent}}`
    with `spent` as {settled_usd, reserved_usd, calls, tokens}."""
    nothing = {"settled_usd": 0.0, "reserved_usd": 0.0, "calls": 0, "tokens": 0}
    path = instance.data / "data" / "model_proxy" / "ledger.db"
    if not path.exists():
        return {"month": month, "customer": nothing, "employees": {}}
    ledger = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        ledger.row_factory = sqlite3.Row
        rows = ledger.execute(
            "SELECT * FROM spend WHERE month = ? AND (scope = ? OR scope IN (SELECT DISTINCT "
            "'employee:' || employee FROM calls WHERE customer = ? AND month = ?))",
            (month, f"customer:{customer}", customer, month)).fetchall()
    finally:
        ledger.close()
    spent = {row["scope"]: {name: row[name] for name in nothing} for row in rows}
    return {"month": month, "customer": spent.pop(f"customer:{customer}", nothing),
            "employees": {scope.removeprefix("employee:"): values
                          for scope, values in spent.items()}}
