"""A person's own settings: name, password, second factor, sessions, API tokens, notifications."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from webapp import accounts, company, mail, recovery, second_factor, signing, tokens
from webapp.access import Visitor, access, me, visitor
from webapp.accounts import AccountError
from webapp.errors import Problem
from webapp.models import Account, LoginSession, db
from webapp.settings_pages import back
from webapp.sign_up import known_zone, zones

own_settings = Blueprint("own_settings", __name__)


# ---- you and security ------------------------------------------------------------------------

@own_settings.get("/settings/security")
@access("account", page=True)
def security() -> Any:
    return _security()


def _security(problem: Problem | None = None, about: str = "") -> Any:
    return render_template(
        "settings_security.html", problem=problem, about=about, done=request.args.get("done"),
        sessions=[tokens.session_json(s) for s in tokens.sessions_of(me())],
        codes_left=second_factor.codes_left(me())), problem.status if problem else 200


@own_settings.post("/settings/security/profile")
@access("account", page=True, role="viewer", person=True)
def profile() -> Any:
    name = " ".join(request.form.get("name", "").split())
    if not 1 <= len(name) <= 80 or not name.isprintable():
        return _security(Problem(422, "invalid", "A name has at most 80 characters."), "profile")
    me().name = name
    db.session.commit()
    return back("own_settings.security", "profile")


@own_settings.post("/settings/security/password")
@access("account", page=True, role="viewer", person=True)
def password() -> Any:
    account, wanted = me(), request.form.get("password", "")
    try:
        company.prove_again(account, request.form.get("current", ""))
        accounts.check_password(wanted, (account.email, account.name))
    except Problem as problem:
        return _security(problem, "password")
    except AccountError as error:
        return _security(Problem(422, "weak", str(error)), "password")
    recovery.set_password(account, wanted)
    db.session.commit()
    return _renewed(account, back("own_settings.security", "password"))


@own_settings.post("/settings/security/sessions/<session>/end")
@access("account", page=True, role="viewer", person=True)
def end_session(session: str) -> Any:
    try:
        tokens.end_session(me(), session)
    except Problem as problem:
        return _security(problem, "sessions")
    return back("own_settings.security", "session")


@own_settings.post("/settings/security/sessions/end")
@access("account", page=True, role="viewer", person=True)
def end_sessions() -> Any:
    signing.end(LoginSession.account_id == me().id)
    response = redirect(url_for("pages.sign_in", done="everywhere"), code=303)
    signing.forget_cookie(response)  # type: ignore[arg-type]
    return response


@own_settings.post("/settings/verify")
@access("account", page=True, role="viewer", person=True)
def verify() -> Any:
    """Mails the link again that confirms the address."""
    account = me()
    signing.refuse_if_too_many(signing.throttles().mailbox.take(account.email))
    mail.send("verify", account.email)
    db.session.commit()
    return back("own_settings.security", "verify")


# ---- the second factor -----------------------------------------------------------------------

@own_settings.route("/settings/security/factor", methods=["GET", "POST"])
@access("account", page=True, role="viewer", person=True)
def factor() -> Any:
    """Sets it up: a picture to scan, then a code that shows that it was scanned."""
    account = me()
    if account.totp_secret is not None:
        return redirect(url_for("own_settings.security"), code=303)
    problem = None
    if request.method == "POST":
        try:
            company.prove_again(account, request.form.get("password", ""))
            codes = second_factor.confirm(account, request.form.get("code", ""))
            if codes is not None:
                return _renewed(account, make_response(
                    render_template("settings_codes.html", codes=codes, fresh=True)))
            problem = Problem(422, "wrong_code", "This code is not right. Is the phone’s clock? "
                              "Wait for the next code and try again.")
        except Problem as refused:
            problem = refused
    secret = second_factor.propose(account)
    return render_template("settings_factor.html", problem=problem, secret=secret,
                           picture=Markup(second_factor.picture(account, secret))), (
        problem.status if problem else 200)


@own_settings.post("/settings/security/factor/<any(remove, codes):what>")
@access("account", page=True, role="viewer", person=True)
def change_factor(what: str) -> Any:
    account = me()
    try:
        company.prove_again(account, request.form.get("password", ""))
    except Problem as problem:
        return _security(problem, "factor")
    if account.totp_secret is None:
        return redirect(url_for("own_settings.security"), code=303)
    if what == "codes":
        return render_template("settings_codes.html", codes=second_factor.new_codes(account),
                               fresh=False)
    second_factor.remove(account)
    return _renewed(account, back("own_settings.security", "factor_off"))


def _renewed(account: Account, response: Any) -> Any:
    """After a change of what proves the person: a new session for this one, the end of others."""
    session = signing.begin_anew(account, response)
    g.visitor = Visitor(session.account, session)
    return response


# ---- API tokens ------------------------------------------------------------------------------

@own_settings.get("/settings/tokens")
@access("account", page=True)
def list_tokens() -> Any:
    return _tokens()


def _tokens(problem: Problem | None = None, secret: str | None = None) -> Any:
    form = request.form if problem else {}
    return render_template(
        "settings_tokens.html", tokens=[tokens.token_json(t) for t in tokens.tokens_of(me())],
        problem=problem, secret=secret, form=form, days=tokens.DAYS,
        done=request.args.get("done")), problem.status if problem else 200


@own_settings.post("/settings/tokens")
@access("account", page=True, role="viewer", person=True)
def make_token() -> Any:
    days = request.form.get("days", "")
    try:
        _, secret = tokens.make(me(), request.form.get("name", ""), request.form.get("scope", ""),
                                int(days) if days.isdecimal() else 0)
    except Problem as problem:
        return _tokens(problem)
    return _tokens(secret=secret)


@own_settings.post("/settings/tokens/<token>/revoke")
@access("account", page=True, role="viewer", person=True)
def revoke_token(token: str) -> Any:
    try:
        tokens.revoke(me(), token)
    except Problem as problem:
        return _tokens(problem)
    return back("own_settings.list_tokens", "revoked")


# ---- notifications ---------------------------------------------------------------------------

@own_settings.route("/settings/notifications", methods=["GET", "POST"])
@access("account", page=True, role="viewer")
def notifications() -> Any:
    account = me()
    if request.method == "POST":
        account.mail_attention = "attention" in request.form
        account.mail_budget = "budget" in request.form
        account.time_zone = known_zone(request.form.get("time_zone", ""))
        db.session.commit()
        return back("own_settings.notifications", "saved")
    who = visitor()
    return render_template("settings_notifications.html", zones=zones(),
                           done=request.args.get("done"), mine=who.account if who else account)
