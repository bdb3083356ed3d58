"""The pages of a team: everybody on it, one employee's workspace, and hiring somebody. What they
load and change goes through the public API; the hiring form works without JavaScript as well."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import gettext

from state_repo import changes
from state_repo.store import RejectedError
from webapp import hiring, roles, team
from webapp.access import access, holds, me
from webapp.errors import Problem

team_pages = Blueprint("team", __name__)


def show_team(customer: str, everybody: list[str]) -> str:
    """The team's page. `everybody`: the companies that an engineer may choose from."""
    return render_template(
        "team.html", employees=team.employees(customer), everybody=everybody,
        **_frame(customer), **_form(customer))


@team_pages.get("/employees/<employee>")
@access("account", page=True)
def workspace(employee: str) -> Any:
    """One employee: its chat, its browser, and all that belongs to it."""
    company = me().customer
    shown = team.employee(company, employee) if company else None
    if shown is None:
        raise Problem(404, "not_found", gettext("There is no employee %(employee)s.",
                                                employee=employee))
    if shown["updated_at"] is None:
        return redirect(url_for("team.hired", employee=employee))  # nobody took the order up yet
    return render_template(
        "workspace.html", employee=shown, skills=team.skills(), limits=hiring.LIMITS,
        **_frame(shown["customer"]))


@team_pages.route("/hire", methods=["GET", "POST"])
@access("account", page=True, role="manager")
def hire() -> Any:
    """The hiring form as a page of its own."""
    account = me()
    company = account.customer or request.values.get("customer", "")
    if not account.sees(company):
        raise Problem(404, "not_found", gettext("There is no customer %(company)s.",
                                                company=company))
    team.seats(company)
    values = None
    wrong: list[dict[str, str]] = []
    if request.method == "POST":
        values = _typed()
        made, wrong = _hire(company, values)
        if made is not None:
            return redirect(url_for("team.hired", employee=made), code=303)
    return render_template(
        "hire.html", **_frame(company),
        **_form(company, request.values.get("role_id"), values, wrong)), 422 if wrong else 200


@team_pages.get("/hire/<employee>")
@access("account", page=True)
def hired(employee: str) -> Any:
    """The steps of a hire that is under way."""
    row, account = team.status().employee(employee), me()
    company = account.customer or (row.customer if row else None)
    if company is None:
        raise Problem(404, "not_found", gettext("There is no employee %(employee)s.",
                                                employee=employee))
    return render_template("hired.html", progress=hiring.progress_of(company, employee),
                           **_frame(company))


def _frame(customer: str) -> dict[str, Any]:
    """What every page of these needs beside the shell's own."""
    account = me()
    return {"customer": team.seats(customer), "can_change": holds(account, "manager"),
            "is_owner": holds(account, "owner"),
            "grace_days": team.platform().grace_days}


def _form(customer: str, chosen: str | None = None,
          values: dict[str, Any] | None = None, wrong: list[dict[str, str]] | None = None
          ) -> dict[str, Any]:
    """What the hiring form needs, in the dialog and on its own page."""
    role = roles.BY_ID.get(chosen or "")
    start = {"name": "", "role": role.title if role else "",
             "instructions": role.instructions if role else "",
             "skills": role.skills if role else (),
             "budget": role.budget_usd if role else hiring.LIMITS["budget"]}
    taken = {e.name.lower() for e in team.documents(customer)}
    return {"roles": roles.ROLES, "chosen": role, "skills": team.skills(), "limits": hiring.LIMITS,
            "names": roles.free_names(taken), "values": start | (values or {}),
            "wrong": {p["field"]: p["message"] for p in wrong or []}}


def _typed() -> dict[str, Any]:
    """The posted form. Who chose a role and left its fields empty means its defaults."""
    form, known = request.form, team.skills()
    chosen = roles.BY_ID.get(form.get("role_id", ""))
    text = form.get("instructions", "").replace("\r\n", "\n")
    try:
        budget: float | None = float(form.get("budget") or hiring.LIMITS["budget"])
    except ValueError:
        budget = None
    return {"name": form.get("name", "").strip(),
            "role": form.get("role", "").strip() or (chosen.title if chosen else ""),
            "instructions": text or (chosen.instructions if chosen else ""),
            "skills": tuple(form.getlist("skills")) or (
                tuple(s for s in chosen.skills if s in known)
                if chosen and not text else ()),
            "budget": budget}


def _hire(company: str, typed: dict[str, Any]) -> tuple[str | None, list[dict[str, str]]]:
    """The new employee's id, or what is wrong with the form."""
    wish = {name: typed[name] for name in ("name", "role", "instructions", "skills")}
    if typed["budget"] is None:
        return None, [{"field": "budget", "message": str(hiring.TOLD["budget"])}]
    wish["model"] = {"monthly_budget_usd": typed["budget"]}
    wrong = hiring.problems(company, wish)
    if wrong:
        return None, wrong
    try:
        made, sha = changes.hire(team.store(), team.author(me()), company, **wish)
    except RejectedError as error:  # somebody was quicker than the check
        return None, hiring.for_people(error.violations, wish)
    team.committed(sha)
    return made.id, []
