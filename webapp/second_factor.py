"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

A wrong password is answered before any code is asked for, after as long as a right one takes; a
right one leads to the code. Where both come at once (the JSON API) the answer doesn't tell which
was wrong. A code works once, also for whoever looked over a shoulder.
"""

from __future__ import annotations

import base64
import re
import secrets
from datetime import timedelta
from typing import Any

import pyotp
import segno
from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy import delete, func, or_, select, update

from webapp import mail, signing
from webapp.access import access, check_origin, cookie, safe_next
from webapp.errors import Problem
from webapp.models import Account, RecoveryCode, SecondStep, db, digest, fresh_secret, now

second_factor = Blueprint("second_factor", __name__)
STEP_S, CODES, TRIES = 30, 10, 5
_WITHIN = timedelta(minutes=10)


# ---- at sign-in ------------------------------------------------------------------------------

def ask_or_begin(account: Account, to: str) -> Any:
    """After a right password: to the second step, or in; then to the page `to`."""
    if account.totp_secret is None:
        _, secret = signing.begin(account)
        response = redirect(to, code=303)
        signing.set_cookie(response, secret)  # type: ignore[arg-type]
        return response
    secret = fresh_secret()
    db.session.add(SecondStep(id=digest(secret), account_id=account.id, failures=0,
                              expires_at=now() + _WITHIN))
    db.session.commit()
    response = redirect(url_for("second_factor.code", next=to if to != "/" else None),
                        code=303)
    signing.set_cookie(response, secret, "step", days=_WITHIN / timedelta(days=1))  # type: ignore[arg-type]
    return response


def check_with_password(account: Account, code: str | None) -> None:
    """For who sends both at once.

    Raises:
        Problem: 401.
    """
    if account.totp_secret is None:
        return
    if code is None:
        raise Problem(401, "second_factor", "This account has a second factor: send the code of "
                      "your authenticator app, or a recovery code, as `code` too.")
    if not accepts(account, code):
        raise Problem(401, "wrong_credentials", "E-mail or password is not right.")


@second_factor.route("/sign-in/code", methods=["GET", "POST"])
@access("public")
def code() -> Any:
    shown = cookie("step") or ""
    step = db.session.get(SecondStep, digest(shown))
    if step is None or step.expires_at <= now() or step.failures >= TRIES:
        return redirect(url_for("pages.sign_in"), code=303)
    to = safe_next(request.values.get("next"))
    if request.method == "GET":
        return render_template("sign_in_code.html", problem=None, next=to)
    check_origin()
    try:
        right = accepts(step.account, request.form.get("code", ""))
    except Problem as problem:
        return render_template("sign_in_code.html", problem=problem.message,
                               next=to), problem.status
    if not right:
        step.failures += 1
        db.session.commit()
        if step.failures >= TRIES:
            return redirect(url_for("pages.sign_in", done="tries"), code=303)
        return render_template("sign_in_code.html", next=to, problem=gettext(
            "This code is not right, or was used already. Wait for the next one.")), 401
    account = step.account
    used = db.session.scalar(delete(SecondStep).where(SecondStep.id == step.id)
                             .returning(SecondStep.id))
    if used is None:
        return redirect(url_for("pages.sign_in"), code=303)
    _, secret = signing.begin(account)
    response = redirect(to, code=303)
    signing.set_cookie(response, secret)  # type: ignore[arg-type]
    signing.forget_cookie(response, "step")  # type: ignore[arg-type]
    return response


# ---- codes -----------------------------------------------------------------------------------

def accepts(account: Account, code: str) -> bool:
    """Whether a code is right; using it up.

    Raises:
        Problem: 429 after too many.
    """
    throttle, key = signing.throttles().code, str(account.id)
    signing.refuse_if_too_many(throttle.take(key))
    plain = re.sub(r"[\s-]", "", code).upper()
    right = _use_totp(account, plain) if plain.isdecimal() else _use_recovery(account, plain)
    if right:
        throttle.give_back(key)
    return right


def _use_totp(account: Account, code: str) -> bool:
    step = matching_step(account.totp_secret or "", code)
    if step is None:
        return False
    # The update decides: of two with the same code, one is let in.
    used = db.session.scalar(update(Account).where(
        Account.id == account.id, or_(Account.totp_last.is_(None), Account.totp_last < step))
        .values(totp_last=step).returning(Account.id))
    db.session.commit()
    return used is not None


def matching_step(secret: str, code: str) -> int | None:
    """Which 30 seconds a code belongs to: this, the last or the next (clocks differ)."""
    if not secret:
        return None
    current, totp = int(now().timestamp()) // STEP_S, pyotp.TOTP(secret)
    found = [step for step in (current - 1, current, current + 1)
             if pyotp.utils.strings_equal(totp.generate_otp(step), code)]
    return found[-1] if found else None


def _use_recovery(account: Account, code: str) -> bool:
    used = db.session.scalar(delete(RecoveryCode).where(
        RecoveryCode.id == _kept(account, code)).returning(RecoveryCode.id))
    if used is not None:
        mail.send("told", account.email, what="recovery")
    db.session.commit()
    return used is not None


def _kept(account: Account, code: str) -> str:
    # 80 random bits: a slow hash would add nothing.
    return digest(f"{account.id}:{code}")


# ---- setting it up ---------------------------------------------------------------------------

def propose(account: Account) -> str:
    """The secret to be scanned; it counts once a code of it was shown."""
    if account.totp_pending is None:
        account.totp_pending = pyotp.random_base32()
        db.session.commit()
    return account.totp_pending


def picture(account: Account, secret: str) -> str:
    """The secret as a QR code: an <svg> without styles, black on white in every theme."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=account.email, issuer_name="InstantWorker")
    return segno.make(uri, micro=False).svg_inline(
        scale=5, border=3, light="#fff", svgclass="qr", lineclass=None, title="QR code")


def confirm(account: Account, code: str) -> list[str] | None:
    """Turns it on; the recovery codes, or None for a wrong code."""
    step = matching_step(account.totp_pending or "", re.sub(r"\s", "", code))
    if step is None:
        return None
    account.totp_secret, account.totp_pending, account.totp_last = account.totp_pending, None, step
    mail.send("told", account.email, what="factor_on")
    return new_codes(account)


def new_codes(account: Account) -> list[str]:
    """Fresh recovery codes instead of the old ones; shown once."""
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    codes = [base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(CODES)]
    db.session.add_all(RecoveryCode(id=_kept(account, c), account_id=account.id) for c in codes)
    db.session.commit()
    return ["-".join(re.findall("....", c)) for c in codes]


def codes_left(account: Account) -> int:
    return db.session.scalar(select(func.count()).select_from(RecoveryCode).where(
        RecoveryCode.account_id == account.id)) or 0


def remove(account: Account) -> None:
    account.totp_secret = account.totp_pending = None
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    mail.send("told", account.email, what="factor_off")
    db.session.commit()
