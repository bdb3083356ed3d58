"""`python -m webapp.billing_admin`: what `iw billing` runs. It works while the web app is down,
which is when it is needed most, and prints JSON. It needs the keys in `<data>/secrets/webapp`
(where `make run` puts them) or in its own environment."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from state_repo.instance import InstanceError
from state_repo.status import as_json
from webapp import settings
from webapp.billing import Billing
from webapp.billing_check import ledger, reconcile
from webapp.billing_doctor import examine
from webapp.factory import create_app
from webapp.purchases import PaymentsError


def answer(billing: Billing, verb: str) -> tuple[Any, int]:
    """What to print, and the exit code."""
    if verb == "doctor":
        found = [finding.as_json() for finding in examine(billing)]
        return found, int(any(f["result"] == "fail" for f in found))
    if verb == "reconcile":
        try:
            return reconcile(billing, ledger(billing)).as_json(), 0
        except PaymentsError as error:
            return {"error": f"Stripe: {error}; what was repaired until then stays so. Try "
                             "again, and see iw billing doctor"}, 1
    rows = []
    for row in billing.rows():
        bought = billing.entitlement(row)
        rows.append(as_json(row) | {"phase": bought.phase if bought else "none"})
    return rows, 0


def main(arguments: list[str] | None = None) -> int:
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m webapp.billing_admin")
    parser.add_argument("verb", choices=["doctor", "reconcile", "list"])
    parser.add_argument("--data", type=Path)
    given = parser.parse_args(arguments)
    try:
        app = create_app(settings.of(given.data))
    except InstanceError as error:
        print(json.dumps({"error": str(error)}))
        return 3
    shown, code = answer(app.extensions["iw_billing"], given.verb)
    print(json.dumps(shown, indent=2))
    return code


if __name__ == "__main__":
    sys.exit(main())
