"""Mailed links that prove an account: each works once, for a while, and only its digest is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from sqlalchemy import delete

from webapp.models import Account, MailLink, db, digest, fresh_secret, now

Kind = Literal["verify", "reset"]
LASTS: dict[Kind, timedelta] = {"verify": timedelta(days=7), "reset": timedelta(hours=1)}


def mint(account: Account, kind: Kind) -> str:
    """The secret of a new link; the caller commits."""
    secret = fresh_secret()
    db.session.add(MailLink(id=digest(secret), account_id=account.id, kind=kind,
                            expires_at=now() + LASTS[kind]))
    return secret


def whose(secret: str, kind: Kind) -> Account | None:
    """The account that a link proves; it stays usable."""
    found = db.session.get(MailLink, digest(secret))
    good = found is not None and found.kind == kind and found.expires_at > now()
    return found.account if found is not None and good else None


def use(secret: str, kind: Kind) -> Account | None:
    """The account that a link proves; of two who come with one link, one gets it. The caller
    commits, which uses up the account's other links of that kind too."""
    account = whose(secret, kind)
    if account is None:
        return None
    # Deleting decides.
    used = db.session.scalar(delete(MailLink).where(MailLink.id == digest(secret))
                             .returning(MailLink.id))
    if used is None:
        return None
    db.session.execute(delete(MailLink).where(MailLink.account_id == account.id,
                                              MailLink.kind == kind))
    return account
