"""What the web app does by itself, in threads of its process: sends mails, looks for what people
want to be told, ends companies whose time has come, keeps money and seats in step. Off in tests,
which call the jobs themselves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask

from state_repo import changes
from state_repo.store import Author
from webapp import billing_check, company, mail
from webapp.notices import Watcher

log = logging.getLogger(__name__)
TIDY = Author("InstantWorker", "tidy@instantworker.invalid")


def start(app: Flask) -> threading.Event:
    """Starts the threads; setting what it returns ends them."""
    over = threading.Event()
    _every(2.0, "mail", over, lambda: mail.deliver_due(app))
    watcher = Watcher(app)
    _every(60.0, "notices", over, watcher.look)
    billing = app.extensions["iw_billing"]
    _every(5.0, "billing", over, billing.apply_pending)
    _every(600.0, "billing: comparison", over, lambda: billing_check.reconcile(
        billing, billing_check.ledger(billing)))
    _every(60.0, "closures", over, lambda: company.finish_due(app))
    _every(6 * 3600.0, "retired long ago", over, lambda: _forget_retired(app))
    _every(3600.0, "attempts", over, app.extensions["iw_throttles"].book.forget_old)
    if app.extensions["iw_mail"].url is None:
        log.info("No mail server is set (IW_SMTP_URL): mails are written here.")
    return over


def _forget_retired(app: Flask) -> None:
    store = app.extensions["iw_store"]
    for customer in store.customers(store.head() or ""):
        changes.forget_retired(store, TIDY, customer, datetime.now(UTC))


def _every(seconds: float, name: str, over: threading.Event, job: Callable[[], object]) -> None:
    def run() -> None:
        while not over.wait(seconds):
            try:
                job()
            except Exception:  # whatever it is, it is tried again
                log.exception("%s", name)
    threading.Thread(target=run, name=name, daemon=True).start()
