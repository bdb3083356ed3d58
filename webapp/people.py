"""A company's people: members, their roles, and invitations.

An owner decides about them. A company always has an owner. Who is removed is out at once, with
every session, token and employee's page; whose role changes signs in again. An invitation is a
mailed link: it works once, for a week, and proves the address, so that whoever joins needs no
other confirmation.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import aliased

from webapp import accounts, mail, signing, team
from webapp.access import ROLES, access, check_origin, me
from webapp.accounts import AccountError
from webapp.api import given, operation
from webapp.errors import Problem
from webapp.models import Account, Invitation, Letter, LoginSession, db, digest, fresh_secret, now

people = Blueprint("people", __name__)
LASTS = timedelta(days=7)
MOST_INVITATIONS = 100
_MEMBERS = "/customers/<customer>/members"
_INVITATIONS = "/customers/<customer>/invitations"


# ---- members ---------------------------------------------------------------------------------

def members(customer: str) -> list[Account]:
    return list(db.session.scalars(select(Account).where(Account.customer == customer)
                                   .order_by(func.lower(Account.name), Account.id)))


def member(customer: str, member_id: str) -> Account:
    found = db.session.scalar(select(Account).where(
        Account.id == int(member_id), Account.customer == customer)) if (
            member_id.isdecimal() and len(member_id) < 10) else None
    if found is None:
        raise Problem(404, "not_found", "There is no such member.")
    return found


def set_role(customer: str, member_id: str, role: str) -> Account:
    found = member(customer, member_id)
    if found.role == role:
        return found
    if found.role == "owner":
        _step_down(found, role)
    else:
        found.role = role
    mail.send("told", found.email, what="role")
    db.session.commit()
    signing.end(LoginSession.account_id == found.id)
    return found


def remove(customer: str, member_id: str) -> None:
    found = member(customer, member_id)
    if found.role == "owner":
        _step_down(found, "viewer")
    signing.end_all(found)
    db.session.execute(delete(Account).where(Account.id == found.id))
    db.session.commit()


def _step_down(owner: Account, role: str) -> None:
    """Gives an owner another role where another owner stays: decided by one statement, so that of
    two owners who remove each other one stays."""
    db.session.scalars(select(Account.id).where(
        Account.customer == owner.customer, Account.role == "owner").order_by(Account.id)
        .with_for_update()).all()  # PostgreSQL needs it; SQLite has one writer at a time
    other = aliased(Account)
    others = select(func.count(other.id)).where(
        other.customer == owner.customer, other.role == "owner",
        other.id != owner.id).scalar_subquery()
    changed = db.session.scalar(update(Account).where(Account.id == owner.id, others > 0)
                                .values(role=role).returning(Account.id)
                                .execution_options(synchronize_session=False))
    db.session.commit()
    if changed is None:
        raise Problem(409, "last_owner", "A company needs an owner: make somebody else an owner "
                      "first.")


# ---- invitations -----------------------------------------------------------------------------

def invitations(customer: str) -> list[Invitation]:
    return list(db.session.scalars(select(Invitation).where(Invitation.customer == customer)
                                   .order_by(Invitation.email)))


def invitation(customer: str, invitation_id: str) -> Invitation:
    found = db.session.scalar(select(Invitation).where(
        Invitation.id == int(invitation_id), Invitation.customer == customer)) if (
            invitation_id.isdecimal() and len(invitation_id) < 10) else None
    if found is None:
        raise Problem(404, "not_found", "There is no such invitation.")
    return found


def invite(customer: str, by: Account, email: str, role: str) -> Invitation:
    """Invites somebody; who was invited already gets a new link, and the role that is named now."""
    if by.verified_at is None:
        raise Problem(403, "unverified", "Confirm your own e-mail address first: the link is in "
                      "the mail that we sent you.")
    email = email.strip().lower()
    if not accounts.is_email(email):
        raise Problem(422, "invalid", "This doesn’t look like an e-mail address. One looks like "
                      "ann@example.com.")
    if role not in ROLES:
        raise Problem(422, "invalid", gettext("The role is one of %(roles)s.",
                                              roles=", ".join(ROLES)))
    if any(m.email == email for m in members(customer)):
        raise Problem(409, "member", gettext("%(email)s is a member already.", email=email))
    waiting = invitations(customer)
    found = next((i for i in waiting if i.email == email), None)
    if found is None:
        if len(waiting) >= MOST_INVITATIONS:
            raise Problem(409, "too_many_invitations", gettext("%(invitations)s invitations wait "
                                                               "already. Take some back first.",
                                                               invitations=MOST_INVITATIONS))
        found = Invitation(customer=customer, email=email, role=role, invited_by=by.email,
                           expires_at=now() + LASTS)
        db.session.add(found)
    found.role = role
    _send(found)
    return found


def resend(customer: str, invitation_id: str) -> Invitation:
    found = invitation(customer, invitation_id)
    _send(found)
    return found


def _send(found: Invitation) -> None:
    """A new link; the old one ends."""
    signing.refuse_if_too_many(signing.throttles().mailbox.take(f"invite {found.email}"))
    found.secret, found.expires_at = None, now() + LASTS
    db.session.flush()
    mail.send("invitation", found.email, id=found.id)
    db.session.commit()


def revoke(customer: str, invitation_id: str) -> None:
    db.session.delete(invitation(customer, invitation_id))
    db.session.commit()


@mail.writes("invitation")
def _write_invitation(letter: Letter) -> mail.Text | None:
    found = db.session.get(Invitation, letter.about["id"])
    if found is None or found.expires_at < now():
        return None
    company = team.seats(found.customer)["name"]
    if accounts.find(found.email) is not None:
        return "invitation_exists", {"company": company, "by": found.invited_by}
    secret = fresh_secret()
    found.secret = digest(secret)
    return "invitation", {"company": company, "by": found.invited_by, "role": found.role,
                          "link": mail.link("/join", key=secret)}


@people.route("/join", methods=["GET", "POST"])
@access("public")
def join() -> Any:
    key = request.values.get("key", "")
    found = db.session.scalar(select(Invitation).where(Invitation.secret == digest(key),
                                                       Invitation.expires_at > now()))
    if found is None or accounts.find(found.email) is not None:
        return render_template("link_used.html", to=None), 410
    values: dict[str, Any] = {"key": key, "email": found.email, "role": found.role,
                              "name": request.form.get("name", "").strip(), "wrong": {},
                              "company": team.seats(found.customer)["name"]}
    if request.method == "GET":
        return render_template("join.html", **values)
    check_origin()
    password, wrong = request.form.get("password", ""), values["wrong"]
    if not 1 <= len(values["name"]) <= 80 or not values["name"].isprintable():
        wrong["name"] = gettext("Tell us your name, in at most 80 characters.")
    try:
        accounts.check_password(password, (found.email, values["name"], values["company"]))
    except AccountError as error:
        wrong["password"] = str(error)
    if wrong:
        return render_template("join.html", **values), 422
    account = accounts.new_account(found.email, password, customer=found.customer,
                                   role=found.role, name=values["name"])
    # Deleting decides: of two that come with the same link, one joins.
    used = db.session.scalar(delete(Invitation).where(Invitation.id == found.id)
                             .returning(Invitation.id))
    if used is None:
        return render_template("link_used.html", to=None), 410
    db.session.add(account)
    db.session.commit()
    _, secret = signing.begin(account)
    response = redirect(url_for("pages.index"), code=303)
    signing.set_cookie(response, secret)  # type: ignore[arg-type]
    return response


# ---- the same for programs -------------------------------------------------------------------

def member_json(found: Account) -> dict[str, Any]:
    return {"id": str(found.id), "email": found.email, "name": found.name, "role": found.role,
            "verified": found.verified_at is not None,
            "second_factor": found.totp_secret is not None,
            "since": found.created_at.isoformat()}


def invitation_json(found: Invitation) -> dict[str, Any]:
    return {"id": str(found.id), "email": found.email, "role": found.role,
            "invited_by": found.invited_by, "expires_at": found.expires_at.isoformat(),
            "expired": found.expires_at <= now()}


@operation("GET", _MEMBERS, "account", "The company's people.")
def list_members(customer: str) -> Response:
    return jsonify(members=[member_json(m) for m in members(customer)])


@operation("PATCH", f"{_MEMBERS}/<member>", "account", "Change somebody's role; they sign in "
           "again.", {"role": {"enum": list(ROLES)}}, ("role",), role="owner")
def change_member(customer: str, member: str) -> Response:
    return jsonify(member=member_json(set_role(customer, member, given()["role"])))


@operation("DELETE", f"{_MEMBERS}/<member>", "account", "Remove somebody; they are out at once.",
           role="owner")
def remove_member(customer: str, member: str) -> Response:
    remove(customer, member)
    return jsonify(removed=member)


@operation("GET", _INVITATIONS, "account", "Who is invited and did not join yet.", role="owner")
def list_invitations(customer: str) -> Response:
    return jsonify(invitations=[invitation_json(i) for i in invitations(customer)])


@operation("POST", _INVITATIONS, "account", "Invite somebody by e-mail.",
           {"email": {"type": "string", "maxLength": 254}, "role": {"enum": list(ROLES)}},
           ("email", "role"), role="owner")
def make_invitation(customer: str) -> tuple[Response, int]:
    body = given()
    return jsonify(invitation=invitation_json(
        invite(customer, me(), body["email"], body["role"]))), 201


@operation("POST", f"{_INVITATIONS}/<invitation>/resend", "account",
           "Mail a new link; the old one ends.", role="owner")
def resend_invitation(customer: str, invitation: str) -> Response:
    return jsonify(invitation=invitation_json(resend(customer, invitation)))


@operation("DELETE", f"{_INVITATIONS}/<invitation>", "account", "Take an invitation back.",
           role="owner")
def revoke_invitation(customer: str, invitation: str) -> Response:
    revoke(customer, invitation)
    return jsonify(revoked=invitation)
