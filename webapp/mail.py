"""Mails: written into a table, sent in the background.

Whoever wants a mail sent adds a letter to the current transaction, and no more: the request costs
the same whether there is a mail server, and whether the address means anything. A letter names a
kind and what it is about; its writer (`writes`) makes the text when it is sent, and may decide that
nothing is to be said. Links with secrets are made there too, so that none lies in the table.

Without a mail server (IW_SMTP_URL) the text goes into the web app's log.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import formataddr, formatdate, make_msgid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, current_app
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import delete, select, update

from webapp.models import Account, Letter, db, now

log = logging.getLogger(__name__)
_TIMEOUT_S, _GIVE_UP = 20, timedelta(days=3)
# Plain text, and without the frame of a page: nobody is signed in where mails are written.
_TEXTS = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates" / "mail"),
                     undefined=StrictUndefined, autoescape=False)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Text = tuple[str, dict[str, Any]]
WRITERS: dict[str, Callable[[Letter], Text | None]] = {}


@dataclass(frozen=True, slots=True)
class Server:
    """Where mails go. `url` as in `Settings.smtp_url`; None: into the log."""

    url: str | None
    sender: str

    def send(self, message: EmailMessage) -> None:
        where = urlsplit(self.url or "")
        host, context = where.hostname or "localhost", ssl.create_default_context()
        if where.scheme == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(host, where.port or 465, timeout=_TIMEOUT_S,
                                                    context=context)
        else:
            client = smtplib.SMTP(host, where.port or 25, timeout=_TIMEOUT_S)
        with client:
            client.ehlo()
            # A password never goes over the network in the clear.
            if where.scheme != "smtps" and (client.has_extn("starttls") or (
                    where.username and host not in _LOOPBACK)):
                client.starttls(context=context)
            if where.username:
                client.login(unquote(where.username), unquote(where.password or ""))
            client.send_message(message)


def send(kind: str, to: str, **about: Any) -> None:
    """Adds a letter; the caller commits."""
    db.session.add(Letter(kind=kind, to=to, about=about))


def writes(kind: str) -> Callable[[Callable[[Letter], Text | None]], Any]:
    """Declares the writer of a kind of letter: the name of a template in `templates/mail` with its
    values, or None when there is nothing to send (any more)."""
    def declare(writer: Callable[[Letter], Text | None]) -> Any:
        WRITERS[kind] = writer
        return writer
    return declare


def link(path: str, **query: str) -> str:
    return f"{current_app.config['APP_URL']}{path}" + (f"?{urlencode(query)}" if query else "")


def local_time(account: Account, when: datetime) -> str:
    """A time as a person reads it in a mail: 3 May 2026, 14:05 (Europe/Berlin)."""
    try:
        zone = ZoneInfo(account.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    there = when.astimezone(zone)
    return f"{there.day} {there:%B %Y, %H:%M} ({zone.key})"


def deliver_due(app: Flask) -> int:
    """Sends what is due; returns how many were sent. One thread calls it."""
    sent = 0
    with app.app_context():
        due = db.session.scalars(select(Letter.id).where(Letter.next_at <= now())
                                 .order_by(Letter.id).limit(100)).all()
        db.session.rollback()  # holds no connection while it sends
        for letter in due:
            sent += _deliver(letter)
    return sent


def _deliver(letter_id: int) -> bool:
    letter = db.session.get(Letter, letter_id)
    if letter is None:
        return False
    to, created_at, attempts = letter.to, letter.created_at, letter.attempts
    try:
        text = WRITERS[letter.kind](letter)
        if text is not None:
            message = _message(to, *text)
            db.session.commit()  # the links that it names are good from now on
            _hand_over(message)
    except Exception as error:  # whatever it is, the next letter is sent
        db.session.rollback()
        refused = isinstance(error, smtplib.SMTPRecipientsRefused) and all(
            500 <= code < 600 for code, _ in error.recipients.values())
        if not refused and created_at > now() - _GIVE_UP:
            wait = timedelta(seconds=min(30 * 2 ** attempts, 3600))
            db.session.execute(update(Letter).where(Letter.id == letter_id).values(
                attempts=attempts + 1, next_at=now() + wait, error=str(error)[:500]))
            db.session.commit()
            log.warning("a mail to %s was not sent (%s); again in %s", to, error, wait)
            return False
        log.error("a mail to %s is given up: %s", to, error)
        text = None
    db.session.execute(delete(Letter).where(Letter.id == letter_id))
    db.session.commit()
    return text is not None


def _message(to: str, template: str, values: dict[str, Any]) -> EmailMessage:
    """The template's first line is the subject."""
    text = _TEXTS.get_template(f"{template}.txt").render(**values)
    subject, _, body = text.partition("\n")
    message = EmailMessage()
    message["From"], message["To"] = _server().sender, to
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=_server().sender.rpartition("@")[2].strip("> "))
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body.strip() + "\n")
    return message


def _server() -> Server:
    return current_app.extensions["iw_mail"]


def _hand_over(message: EmailMessage) -> None:
    if _server().url is None:
        log.info("No mail server is set (IW_SMTP_URL); this would have gone to %s:\n%s\n\n%s",
                 message["To"], message["Subject"], message.get_content())
        return
    _server().send(message)


def default_sender(domain: str) -> str:
    return formataddr(("InstantWorker", f"no-reply@{domain}"))
