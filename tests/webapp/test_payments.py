"""Stripe's SDK as we use it: against the fake for errors and repeats, and against stripe-mock,
which knows Stripe's own description of its API, for whether each call and each field exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.conftest import ROOT
from tests.fake_stripe import FakeStripe, InProcess
from tests.webapp.billing_world import KEYS, PLANS, PRICES
from webapp.payments import API_VERSION, StripePayments
from webapp.purchases import ForgedError, Paid, PaymentsError, Purchase
from webapp.settings import StripeSettings, stripe_settings

NOW = datetime(2027, 1, 15, tzinfo=UTC)
LARGE = PLANS["large"]
# What only a process of ours needs to know how to do, and no call of Stripe's.
NO_CALLS = {"verified", "mode"}


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(PRICES)


@pytest.fixture
def payments(fake: FakeStripe) -> StripePayments:
    return StripePayments(KEYS, "0badcafe", InProcess(fake))


def purchase(payer: str, key: str = "k") -> Purchase:
    return Purchase("acme", payer, "large", LARGE, 2, 14, "https://x/s", "https://x/c", key)


def every_call(payments: StripePayments, pay: Any) -> set[str]:
    """Calls each method that asks Stripe something. `pay(checkout)`: somebody pays, and what they
    have then. Returns the names of the methods."""
    payer = payments.payer("acme", "Acme", "ann@acme.test")
    payments.abandon(payments.checkout(purchase(payer, "first")).id)
    paid = pay(payments.checkout(purchase(payer)), payer)
    list(payments.everything())
    assert payments.subscriptions(payer) is not None
    payments.portal(payer, "https://x/billing")
    payments.quote(paid, LARGE, 3, NOW)
    payments.change(paid, "large", LARGE, 3, NOW)
    payments.end(paid)
    payments.end(paid, ends=False)
    payments.bills(payer)
    payments.next_bill(paid)
    list(payments.events(NOW))
    payments.report_usage(payer, 12, "iw-1", NOW)
    payments.account()
    payments.price(LARGE.price_id or "")
    payments.endpoints()
    payments.portals()
    payments.clock()
    payments.undo(paid, paid.created)
    return {name for name in dir(payments) if not name.startswith("_")} - NO_CALLS - {"settings"}


def test_a_lost_answer_a_broken_server_and_a_second_click_make_one_thing(fake, payments):
    fake.faults = ["lost", None, None, "broken", "lost", None]
    payer = payments.payer("acme", "Acme", "ann@acme.test")
    assert payments.payer("acme", "Acme", "ann@acme.test") == payer
    first = payments.checkout(purchase(payer))
    assert payments.checkout(purchase(payer)).id == first.id


@pytest.mark.parametrize(("fault", "trouble", "times"), [
    ("busy", "busy", 1), ("broken", "away", 3), ("lost", "away", 3)])
def test_errors_become_our_words(fake, payments, fault, trouble, times):
    fake.faults = [fault] * 9
    with pytest.raises(PaymentsError) as caught:
        payments.subscriptions("cus_1")
    assert caught.value.trouble == trouble
    assert len(fake.requests) == times, "who is told to wait does not ask again at once"


def test_lists_are_read_to_their_end(fake, payments):
    fake.page_most = 2
    payer = payments.payer("acme", "Acme", "ann@acme.test")
    for number in range(5):
        fake.pay(payments.checkout(purchase(payer, str(number))).id)
    assert len(payments.subscriptions(payer)) == len(list(payments.everything())) == 5


@pytest.mark.parametrize(("body", "signature"), [
    (b"{}", ""), (b"{}", "t=x,v1=1"), (b"\xff", "t=1,v1=1"), (b"{}", "v1=1"), (b"[]", "t=1"),
    (b"", "t=" + "9" * 400)])
def test_what_proves_nothing_is_forged(payments, body, signature):
    with pytest.raises(ForgedError):
        payments.verified(body, signature)


@pytest.mark.parametrize("body", ["[]", "3", "{}", '{"id": 1, "type": "x", "created": 1, "data": {'
                                  '"object": {}}}', "not json"])
def test_what_is_signed_and_no_event_is_forged_too(fake, payments, body):
    import stripe
    signature = stripe.WebhookSignature.generate_signature_header(body, fake.secret)
    with pytest.raises(ForgedError):
        payments.verified(body.encode(), signature)


def test_without_a_webhook_secret_every_message_is_forged(fake):
    payments = StripePayments(StripeSettings("sk_test_x"), "i", InProcess(fake))
    with pytest.raises(ForgedError):
        payments.verified(*FakeStripe({}, secret="").signed({"id": "evt_1"}))


def test_keys_come_from_the_environment_or_from_secret_files(tmp_path):
    from state_repo.instance import Instance
    instance = Instance("0badcafe", tmp_path)
    assert stripe_settings(instance, {}) is None
    (tmp_path / "secrets" / "webapp").mkdir(parents=True)
    (tmp_path / "secrets" / "webapp" / "stripe-secret-key").write_text("sk_test_file\n")
    (tmp_path / "secrets" / "webapp" / "stripe-webhook-secret").write_text("whsec_file\n")
    assert stripe_settings(instance, {}) == StripeSettings("sk_test_file", "whsec_file")
    env = {"STRIPE_SECRET_KEY": "sk_test_env", "STRIPE_METER": "spend"}
    assert stripe_settings(instance, env) == StripeSettings("sk_test_env", "whsec_file",
                                                            meter="spend")


# ---- stripe-mock -----------------------------------------------------------------------------

@pytest.fixture(scope="session")
def mock() -> Iterator[str]:
    program = ROOT / ".build" / "bin" / "stripe-mock"
    if not program.exists():
        pytest.fail("this test needs stripe-mock: run it with `make test-parts`")
    # Without an address for https it takes a fixed port, which another copy may hold. It chooses
    # both itself, and says that of http first.
    server = subprocess.Popen(
        [str(program), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    said = ""
    while (found := re.search(r"HTTP at address: (\S+)\n", said)) is None:
        line = server.stdout.readline()
        assert line, f"stripe-mock ended: {said}"
        said += line
    yield f"http://{found[1]}"
    server.terminate()
    server.communicate(timeout=10)


@pytest.mark.parts
def test_every_method_reads_stripe_s_own_answers(mock):
    payments = StripePayments(StripeSettings("sk_test_123", api_base=mock, meter="spend",
                                             automatic_tax=True), "0badcafe")

    def pay(checkout, payer) -> Paid:
        assert checkout.url
        return payments.subscriptions(payer)[0]
    called = every_call(payments, pay)
    assert {"payer", "checkout", "quote", "change", "undo", "report_usage"} <= called


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{number}]")
    else:
        yield name, value


@pytest.mark.parts
def test_whatever_is_asked_of_the_fake_is_known_to_stripe(mock, fake, payments):
    def pay(checkout, payer) -> Paid:
        fake.pay(checkout.id)
        return payments.subscriptions(payer)[0]
    asked_for = every_call(payments, pay)
    fake.card(fake.subscriptions()[0]["customer"], True)
    asked = {(method, path.partition("?")[0]) for method, path, _ in fake.requests}
    assert len(asked) > 14 and asked_for
    for method, path, params in fake.requests:
        given = dict(_flat(params))
        answer = requests.request(
            method, mock + path, auth=("sk_test_123", ""), timeout=20,
            headers={"Stripe-Version": API_VERSION,
                     "Content-Type": "application/x-www-form-urlencoded"},
            **({"data": given} if method == "POST" else {"params": given}))
        assert answer.status_code == 200, (method, path, params, answer.text)


@pytest.mark.parts
def test_the_fake_invents_no_field(mock, fake, payments):
    every_call(payments, lambda checkout, payer: fake.pay(checkout.id) and payments.subscriptions(
        payer)[0])
    seen = 0
    for method, path, params in list(fake.requests):
        if (method, path.rpartition("/")[2]) == ("DELETE", "subscriptions"):
            continue
        try:
            status, ours = fake.handle(method, path, params)
        except Exception:
            continue
        if status != 200:
            continue
        theirs = requests.request(method, mock + path, auth=("sk_test_123", ""), timeout=20, **(
            {"data": dict(_flat(params))} if method == "POST" else {
                "params": dict(_flat(params))})).json()
        assert _invented(ours, theirs) == [], (method, path)
        seen += 1
    assert seen > 12


def _invented(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Fields of ours that Stripe's own example of the same object has not."""
    if isinstance(ours, list) and isinstance(theirs, list) and ours and theirs:
        if isinstance(ours[0], dict) and ours[0].get("object") == "event":
            ours, theirs = [ours[0] | {"data": None}], [theirs[0] | {"data": None}]
        return _invented(ours[0], theirs[0], at)
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return []
    found = []
    for name, value in ours.items():
        if name not in theirs:
            found.append(f"{at}.{name}")
        elif name not in ("metadata", "payload"):
            found += _invented(value, theirs[name], f"{at}.{name}")
    return found
