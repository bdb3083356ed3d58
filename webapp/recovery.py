"""A forgotten password. Who asks is told the same for every address, after the same work: whether
there is an account is looked up when the mail is written (`mail`)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import gettext

from webapp import accounts, links, mail, passwords, signing
from webapp.access import access, check_origin
from webapp.accounts import AccountError
from webapp.models import Account, Letter, LoginSession, db, now

recovery = Blueprint("recovery", __name__)


@recovery.route("/forgot", methods=["GET", "POST"])
@access("public")
def forgot() -> Any:
    if request.method == "GET":
        return render_template("forgot.html", email=request.args.get("email", ""), wrong=None)
    check_origin()
    email = request.form.get("email", "").strip().lower()
    if not accounts.is_email(email):
        return render_template("forgot.html", email=email, wrong=gettext(
            "This doesn’t look like an e-mail address. One looks like ann@example.com.")), 422
    signing.refuse_if_too_many(signing.throttles().flood.take(request.remote_addr or ""))
    if signing.throttles().mailbox.take(email) == 0:
        mail.send("reset", email)
    db.session.commit()
    return render_template("forgot_sent.html", email=email)


@recovery.route("/reset", methods=["GET", "POST"])
@access("public")
def reset() -> Any:
    """Chooses a new password. It signs nobody in: a second factor, where there is one, is still
    asked for; and what somebody else may have open ends."""
    key = request.values.get("key", "")
    account = links.whose(key, "reset")
    if account is None:
        return render_template("link_used.html", to=url_for("recovery.forgot")), 410
    if request.method == "GET":
        return render_template("reset.html", key=key, email=account.email, wrong=None)
    check_origin()
    password = request.form.get("password", "")
    try:
        accounts.check_password(password, (account.email, account.name))
    except AccountError as error:
        return render_template("reset.html", key=key, email=account.email, wrong=str(error)), 422
    account = links.use(key, "reset")
    if account is None:
        return render_template("link_used.html", to=url_for("recovery.forgot")), 410
    set_password(account, password)
    account.verified_at = account.verified_at or now()
    db.session.commit()
    signing.end(LoginSession.account_id == account.id)
    response = redirect(url_for("pages.sign_in", done="reset"), code=303)
    signing.forget_cookie(response)  # type: ignore[arg-type]
    return response


def set_password(account: Account, password: str) -> None:
    """The caller has judged it, commits, and ends what must end."""
    account.password_hash = passwords.hashed(password)
    mail.send("told", account.email, what="password")


@mail.writes("reset")
def _write_reset(letter: Letter) -> mail.Text | None:
    account = accounts.find(letter.to)
    if account is None:
        return None
    return "reset", {"name": account.name,
                     "link": mail.link("/reset", key=links.mint(account, "reset"))}


@mail.writes("told")
def _write_told(letter: Letter) -> mail.Text | None:
    """What the account's owner should know of, had somebody else done it."""
    account = accounts.find(letter.to)
    if account is None:
        return None
    return "told", {"name": account.name, "what": letter.about["what"],
                    "link": mail.link("/forgot")}
