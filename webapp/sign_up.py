"""Becoming a customer.

With a mail server nothing is made until the address is confirmed: the form leaves a sign-up, the
mail's link turns it into a company with its owner, signed in. So nobody can take another's address,
no company exists that nobody owns, and the page's answer, the work behind it and what may be done
afterwards are the same for an address that has an account, whose mail says just that.

On somebody's own machine (`Settings.local`: no mail server, a domain of .localhost) that mail would
be read in a log: there the company is made at once, its owner uses everything but invitations, a
bar on each page says where the confirming link is, and an address that is taken is told apart from
a free one. No stranger reaches such an installation.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from zoneinfo import available_timezones

from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_babel import gettext
from sqlalchemy import delete, select

from state_repo import changes
from state_repo.documents import Platform
from state_repo.store import Author
from webapp import accounts, links, mail, passwords, signing, team
from webapp.access import access, check_origin, visitor
from webapp.accounts import AccountError
from webapp.api import given, operation
from webapp.models import Account, Letter, SignUp, db, digest, fresh_secret, now

sign_up_pages = Blueprint("sign_up", __name__)
TRIAL_SEATS = 2
LASTS = timedelta(days=2)
_PLAN = re.compile(r"[a-z0-9-]{0,40}")
_ZONES = available_timezones()


def starting_seats(platform: Platform) -> int:
    """Seats of a company that has just signed up, until it chooses a plan: none where plans are
    sold, for a trial is the plan's."""
    sold = current_app.extensions["iw_billing"].payments.mode == "stripe" and any(
        plan.offered for plan in platform.plans.values())
    return 0 if sold else TRIAL_SEATS


def customer_id(company: str) -> str:
    """Always with a random ending: whether a name is taken is nobody's business."""
    slug, _, ending = changes.mint_id(company).rpartition("-")
    return f"{slug[:20].strip('-')}-{ending}"


def known_zone(name: str) -> str:
    return name if name in _ZONES else "UTC"


def zones() -> list[str]:
    """Those that people choose from; the rest are aliases."""
    return ["UTC", *sorted(z for z in _ZONES if "/" in z and not z.startswith(
        ("Etc/", "posix/", "right/", "SystemV/", "US/")))]


def found_company(wanted: SignUp, *, verified: bool) -> Account:
    """The company in the state repo and its owner's account. The account is written first: it is
    what two sign-ups of one address would fight for."""
    customer = customer_id(wanted.company)
    owner = accounts.with_hash(wanted.email, wanted.password_hash, customer=customer,
                               role="owner", name=wanted.name,
                               verified_at=now() if verified else None)
    owner.time_zone = wanted.time_zone
    db.session.add(owner)
    db.session.flush()
    seats = starting_seats(team.platform())
    _, sha = changes.create_customer(team.store(), Author(wanted.name, wanted.email), customer,
                                     wanted.company, seats)
    db.session.commit()
    team.committed(sha)
    return owner


@sign_up_pages.route("/sign-up", methods=["GET", "POST"])
@access("public")
def sign_up() -> Any:
    if visitor() is not None:
        return redirect(url_for("pages.index"))
    form = {name: request.values.get(name, "").strip()
            for name in ("company", "name", "email", "time_zone", "plan")}
    if request.method == "GET":
        return render_template("sign_up.html", given=form, wrong={},
                               seats=starting_seats(team.platform()))
    check_origin()
    password = request.form.get("password", "")
    wrong = _wrong(form, password)
    if wrong:
        return render_template("sign_up.html", given=form, wrong=wrong,
                               seats=starting_seats(team.platform())), 422
    signing.refuse_if_too_many(signing.throttles().flood.take(request.remote_addr or ""))
    with passwords.place():
        kept = passwords.hashed(password)
    wanted = SignUp(email=form["email"].lower(), name=form["name"], company=form["company"],
                    password_hash=kept, plan=form["plan"],
                    time_zone=known_zone(form["time_zone"]), expires_at=now() + LASTS)
    if current_app.config["LOCAL"] and accounts.find(form["email"]) is None:
        owner = found_company(wanted, verified=False)
        mail.send("verify", owner.email)
        db.session.commit()
        return _let_in(owner, form["plan"])
    if signing.throttles().mailbox.take(wanted.email) == 0:
        db.session.execute(delete(SignUp).where(SignUp.expires_at < now()))
        db.session.add(wanted)
        db.session.flush()
        mail.send("sign_up", wanted.email, id=wanted.id)
    db.session.commit()
    return render_template("check_mail.html", email=form["email"])


@sign_up_pages.route("/sign-up/confirm", methods=["GET", "POST"])
@access("public")
def confirm() -> Any:
    """A page with a button: mail scanners open links, and would use this one up."""
    key = request.values.get("key", "")
    wanted = db.session.scalar(select(SignUp).where(SignUp.secret == digest(key),
                                                    SignUp.expires_at > now()))
    if wanted is None or accounts.find(wanted.email) is not None:
        return render_template("link_used.html", to=url_for("sign_up.sign_up")), 410
    if request.method == "GET":
        return render_template("confirm.html", company=wanted.company, key=key)
    check_origin()
    plan = wanted.plan
    # Deleting decides: of two that come with the same link, one founds the company.
    used = db.session.scalar(delete(SignUp).where(SignUp.id == wanted.id).returning(SignUp.id))
    if used is None:
        return render_template("link_used.html", to=url_for("sign_up.sign_up")), 410
    return _let_in(found_company(wanted, verified=True), plan)


@sign_up_pages.route("/verify", methods=["GET", "POST"])
@access("public")
def verify() -> Any:
    key = request.values.get("key", "")
    account = links.whose(key, "verify")
    if account is None:
        return render_template("link_used.html", to=url_for("pages.index")), 410
    if request.method == "GET":
        return render_template("confirm.html", company=None, key=key)
    check_origin()
    account = links.use(key, "verify")
    if account is not None:
        account.verified_at = now()
    db.session.commit()
    return redirect(url_for("pages.index"), code=303)


@operation("POST", "/passwords/judge", "public", "How good a password is; nothing is kept.",
           {"password": {"type": "string", "maxLength": 200},
            "about": {"type": "array", "items": {"type": "string", "maxLength": 254},
                      "maxItems": 5}}, ("password",))
def judge_password() -> Response:
    """The same rules as when it is set: a hint that the page says as one types."""
    check_origin()
    signing.refuse_if_too_many(signing.throttles().asked.take(request.remote_addr or ""))
    body = given()
    fine, score, told = passwords.judge(body["password"], body.get("about", ()))
    return jsonify(good=fine, score=score, told=told)


@mail.writes("sign_up")
def _write_sign_up(letter: Letter) -> mail.Text | None:
    wanted = db.session.get(SignUp, letter.about["id"])
    if wanted is None or wanted.expires_at < now():
        return None
    if accounts.find(wanted.email) is not None:
        return "account_exists", {"sign_in": mail.link("/sign-in"), "reset": mail.link("/forgot")}
    secret = fresh_secret()
    wanted.secret = digest(secret)
    return "sign_up", {"name": wanted.name, "company": wanted.company,
                       "link": mail.link("/sign-up/confirm", key=secret)}


@mail.writes("verify")
def _write_verify(letter: Letter) -> mail.Text | None:
    account = accounts.find(letter.to)
    if account is None or account.verified_at is not None:
        return None
    return "verify", {"name": account.name,
                      "link": mail.link("/verify", key=links.mint(account, "verify"))}


def _wrong(form: dict[str, str], password: str) -> dict[str, str]:
    """What is wrong with the form, by field. The same for every address."""
    wrong = {}
    for field, text in (
            ("company", gettext("Tell us your company’s name, in at most 80 characters.")),
            ("name", gettext("Tell us your name, in at most 80 characters."))):
        if not 1 <= len(form[field]) <= 80 or not form[field].isprintable():
            wrong[field] = text
    if not accounts.is_email(form["email"]):
        wrong["email"] = gettext("This doesn’t look like an e-mail address. One looks like "
                                 "ann@example.com.")
    if not _PLAN.fullmatch(form["plan"]):
        form["plan"] = ""
    try:
        accounts.check_password(password, (form["email"], form["name"], form["company"]))
    except AccountError as error:
        wrong["password"] = str(error)
    return wrong


def _let_in(owner: Account, plan: str) -> Any:
    _, secret = signing.begin(owner)
    to = "/onboarding" + (f"?plan={plan}" if plan else "")
    if plan and current_app.extensions["iw_billing"].payments.mode == "stripe":
        to = f"/billing?plan={plan}"  # the seats first: nobody can be hired without one
    response = redirect(to, code=303)
    signing.set_cookie(response, secret)  # type: ignore[arg-type]
    return response
