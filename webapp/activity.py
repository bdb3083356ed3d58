"""What happened to one employee, in plain words: receipts (what became of each order) and events
(what was noticed) in one list, the newest first."""

from __future__ import annotations

import json
import re
from typing import Any

from state_repo.status import Event, Receipt
from webapp import team, words
from webapp.texts import N_

_MOST = 500  # rows looked at; of a company's, those of one employee are chosen
_ORDERS = (
    (r"Hire (.+) for \S+$", r"\1 was hired"),
    (r"Pause .+", N_("Paused")), (r"Resume .+", N_("Resumed")), (r"Retire .+", N_("Retired")),
    (r"Retry .+", N_("Tried again: its workplace was made new, its files kept")),
    (r"Change (.+) of .+", r"Settings changed: \1"),
    (r"Rotate the model key of .+", N_("It got a new key")),
    (r"Approve a lesson of .+", N_("A lesson was approved")),
    (r"Reject a lesson of .+", N_("A lesson was rejected")),
)
_NOTICED = {"Healthy": N_("Is at work"), "Progressing": N_("Is starting"),
            "Degraded": N_("Needs attention"), "Missing": N_("Is not there"),
            "Suspended": N_("Was stopped"), "Vanished": N_("Was lost"), "Storage": N_("Storage"),
            "Drift": N_("Something was off"), "Repaired": N_("Was put right"),
            "Failed": N_("Did not work")}
_BAD = ("Degraded", "Missing", "Vanished", "Failed")
_BLANK = "Ready to be hired is "  # of the time before it was hired


def of(customer: str, employee: str, most: int = 100) -> list[dict[str, Any]]:
    """`at` (RFC 3339), `kind` (order or event), `tone`, `text`, `detail`, `by`, `seconds`."""
    receipts = [_order(r) for r in team.status().receipts(customer, _MOST)
                if employee in f"{r.subject} {r.message} {json.dumps(r.changes)}"]
    events = [_event(e) for e in team.status().events(customer, limit=_MOST)
              if (e.employee == employee or employee in e.message)
              and not e.message.startswith(_BLANK)]
    return sorted(receipts + events, key=lambda row: row["at"], reverse=True)[:most]


def _order(receipt: Receipt) -> dict[str, Any]:
    done = receipt.result == "succeeded"
    text = receipt.subject
    if receipt.cause == "commit":
        for pattern, wanted in _ORDERS:
            if re.fullmatch(pattern, text):
                text = re.sub(pattern, wanted, text)
                break
    else:
        text = N_("Something was off, and was put right") if done else (
            N_("Something is off, and could not be put right yet"))
    return {"at": receipt.started_at.isoformat(), "kind": "order",
            "tone": "good" if done else "bad", "text": text if done else f"{text}: did not work",
            "detail": "" if done else words.plain(receipt.message),
            "by": receipt.author if receipt.cause == "commit" else "",
            "seconds": round(receipt.total_s, 1)}


def _event(event: Event) -> dict[str, Any]:
    reason = event.message.partition(": ")[2] if event.employee else event.message
    if event.kind in ("Drift", "Repaired"):
        reason = ""
    return {"at": event.at.isoformat(), "kind": "event",
            "tone": "bad" if event.kind in _BAD else "",
            "text": _NOTICED.get(event.kind, event.kind), "detail": words.plain(reason), "by": "",
            "seconds": None}
