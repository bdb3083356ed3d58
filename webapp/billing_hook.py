"""Stripe's messages. The signature, over the raw body and a time, is the only proof of who sends
them; so the route is open to all, and whatever does not prove itself changes nothing."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, current_app, jsonify, request

from webapp.access import access
from webapp.billing import Billing
from webapp.purchases import ForgedError, PaymentsError

MOST_BYTES = 512 * 1024
hook = Blueprint("billing_hook", __name__)
log = logging.getLogger(__name__)


def billing() -> Billing:
    return current_app.extensions["iw_billing"]


@hook.post("/webhooks/stripe")
@access("public")
def stripe_message() -> Any:
    """200: taken (or taken before). 400: it proves nothing. 503: send it again."""
    request.max_content_length = MOST_BYTES
    body = request.get_data(cache=False)
    try:
        event = billing().payments.verified(body, request.headers.get("Stripe-Signature", ""))
    except ForgedError as error:
        log.warning("a message to the webhook from %s proves nothing and was dropped: %s",
                    request.remote_addr, error)
        return jsonify(error="the signature does not match"), 400
    try:
        effect = billing().take(event)
    except PaymentsError as error:
        log.warning("the message %s (%s) could not be followed: %s", event.id, event.type, error)
        return jsonify(error="not now; send it again"), 503
    log.info("Stripe's %s (%s): %s", event.type, event.id, effect)
    return jsonify(received=True)
