"""Hiring as people see it: what is wrong with a wish, in words, and how far a hire has come.

A wish is judged by the same parser and rules as a commit (`changes.check_hire`), so the form can't
allow what the server refuses, or the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from flask import Response, jsonify
from flask_babel import gettext, lazy_gettext

from state_repo import changes
from state_repo.documents import Violation
from state_repo.schema import SCHEMAS
from webapp import team, words
from webapp.api import given, operation
from webapp.texts import N_

_SPEC = SCHEMAS["Employee"]["properties"]["spec"]["properties"]
_METADATA = SCHEMAS["Employee"]["properties"]["metadata"]["properties"]
_BUDGET = _SPEC["model"]["properties"]["monthlyBudgetUsd"]
# The form's attributes: out of the documents' own schema.
LIMITS = {"name": _METADATA["name"]["maxLength"], "role": _METADATA["role"]["maxLength"],
          "instructions": _SPEC["instructions"]["maxLength"],
          "budget_min": _BUDGET["minimum"], "budget_max": _BUDGET["maximum"],
          "budget": _BUDGET["default"]}
_FIELDS = {"metadata.name": "name", "metadata.role": "role", "spec.instructions": "instructions",
           "spec.skills": "skills", "spec.model.monthlyBudgetUsd": "budget",
           "spec.maxEmployees": "seats"}
_EMPTY = {"name": N_("Give it a name, so that you can call it."),
          "role": N_("Say in a few words what it is hired for.")}
TOLD = {"name": lazy_gettext("Keep the name to one line of at most %(most)s characters.",
                             most=LIMITS["name"]),
        "role": lazy_gettext("Keep the role to one line of at most %(most)s characters.",
                             most=LIMITS["role"]),
        "instructions": lazy_gettext(
            "That is more than %(most)s characters. Put long texts into your company's knowledge "
            "instead.", most=format(LIMITS["instructions"], ",")),
        "budget": lazy_gettext("Name an amount from %(least)s to %(most)s US dollars.",
                               least=format(LIMITS["budget_min"], "g"),
                               most=format(LIMITS["budget_max"], ",g")),
        "seats": lazy_gettext("All seats are taken. Retire somebody, or add seats.")}


def problems(customer: str, wish: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong with a wish (the fields of `changes.hire`), a field at a time; nothing is
    committed."""
    return for_people(changes.check_hire(team.store(), customer, **wish), wish)


def for_people(violations: Iterable[Violation], wish: dict[str, Any]) -> list[dict[str, str]]:
    """`field` of the form (or "form") and what to say at it, once a field."""
    found: dict[str, str] = {}
    for violation in violations:
        field = _FIELDS.get(violation.field.partition("[")[0], "form")
        if field in _EMPTY and not str(wish.get(field, "")).strip():
            text = gettext(_EMPTY[field])
        else:
            text = str(TOLD.get(field, f"{violation.message}; {violation.fix}.".capitalize()))
        found.setdefault(field, text)
    return [{"field": field, "message": text} for field, text in found.items()]


# ---- how far it has come -----------------------------------------------------------------------

State = Literal["done", "now", "waiting", "failed"]
# name, what it says while it is done, what it waits for
_STEPS = (("ordered", N_("Your order is written down")),
          ("planned", N_("Checked, and planned")),
          ("workplace", N_("Its own protected workplace is set up")),
          ("answers", N_("It answers")),
          ("ready", N_("Ready to work")))


def progress(employee: dict[str, Any], *, container: bool, refused: bool) -> dict[str, Any]:
    """How far a hire has come: steps with their state and the reason of any wait, from what the
    reconciler saw. `container`: whether one exists. `refused`: by the rules over the plan."""
    group = words.group_of(employee)
    taken_up = employee["updated_at"] is not None
    answers = group in ("work", "asleep")
    ready = answers and employee["sync_status"] != "OutOfSync"
    reached = (1 if not taken_up or refused else 2 if not container else 3 if not answers
               else 4 if not ready else 5)
    states: list[State] = ["done" if at < reached else "waiting" for at in range(len(_STEPS))]
    if reached < len(_STEPS):
        states[reached] = "failed" if group == "attention" else "now"
    reason = words.plain(employee["reason"])
    steps = [{"name": name, "text": text, "state": state,
              "reason": reason if state in ("now", "failed") else ""}
             for (name, text), state in zip(_STEPS, states, strict=True)]
    return {"steps": steps, "ready": ready, "failed": "failed" in states,
            "since": employee["updated_at"], "deadline": employee["deadline"],
            "employee": employee}


def progress_of(customer: str, employee: str) -> dict[str, Any]:
    """Raises Problem 404."""
    shown = team.employee(customer, employee)
    row, stack = team.status().employee(employee), team.status().stack(f"customer/{customer}")
    return progress(shown, container=bool(row and row.container_id),
                    refused=bool(stack and stack.waiting_for == "policy"))


# ---- the API ---------------------------------------------------------------------------------

@operation("POST", "/customers/<customer>/employees/check", "account",
           "What a hire with these fields would be refused for; nothing is made.",
           {"name": {"type": "string"}, "role": {"type": "string"},
            "instructions": {"type": "string"},
            "skills": {"type": "array", "items": {"type": "string"}},
            "model": {"type": "object", "additionalProperties": False, "properties": {
                "monthly_budget_usd": {"type": "number"}}}}, role="manager")
def check_employee(customer: str) -> Response:
    wish = {"name": "", "role": "", **given()}
    wish["skills"] = tuple(wish.get("skills", ()))
    team.seats(customer)
    return jsonify(problems=problems(customer, wish))


@operation("GET", "/customers/<customer>/employees/<employee>/progress", "account",
           "How far a hire has come, step by step, and why it waits.")
def employee_progress(customer: str, employee: str) -> Response:
    return jsonify(progress=progress_of(customer, employee))
