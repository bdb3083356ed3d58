"""Money and seats stay in step: messages, purchases, changes, graces, ends. The fake of Stripe is
tests/fake_stripe.py; sequences of everything at once are in billing_sequences.py."""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from state_repo import changes
from tests.webapp import billing_sequences
from tests.webapp.billing_world import ENGINEER, World, days
from webapp import accounts, billing_mail, buying, mail
from webapp.billing_check import reconcile
from webapp.billing_models import BillingRun, StripeEvent, Subscription
from webapp.entitlement import Entitlement
from webapp.errors import Problem
from webapp.models import Closure, db
from webapp.purchases import PaymentsError


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.parts)])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(tmp_path, request.getfixturevalue("postgres")
                 if request.param == "postgresql" else None)


def events(world: World) -> dict[str, StripeEvent]:
    with world.billing.session() as session:
        return {e.id: e for e in session.scalars(select(StripeEvent))}


# ---- messages --------------------------------------------------------------------------------

def test_a_purchase_becomes_seats(world):
    world.subscribe("large", 3)
    company = world.company
    assert (company.plan, company.max_employees, company.suspended) == ("large", 3, False)
    assert world.hire(50, workers=8) == 3
    made = world.fake.subscriptions()[0]
    assert made["metadata"] == {"customer": world.customer, "instance": "0badcafe",
                                "plan": "large", "max_employees": "3"}


def test_a_forged_message_changes_nothing_and_is_logged(world, caplog):
    world.subscribe()
    with caplog.at_level(logging.WARNING):
        world.forge()
    assert caplog.text.count("proves nothing and was dropped") == 5
    assert "evt_forged" not in events(world)


def test_a_replayed_message_changes_nothing_and_is_logged(world, caplog):
    world.subscribe()
    before = world._state()
    with caplog.at_level(logging.WARNING):
        for event in world.fake.outbox:
            assert world.deliver(event) == 200
    assert world._state() == before and "was taken before" in caplog.text


def test_the_same_message_twice_at_once_is_taken_once(world):
    session = world.checkout("large", 2)
    world.fake.pay(session)
    body, signature = world.fake.signed(world.fake.outbox[-1])
    threads = [threading.Thread(target=lambda: world.app.test_client().post(
        "/webhooks/stripe", data=body, headers={"Stripe-Signature": signature}))
        for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.company.max_employees == 2
    assert len(events(world)) == 1


def test_an_unknown_message_is_acknowledged_and_kept(world):
    world.subscribe()
    odd = {"id": "evt_odd", "object": "event", "type": "tax.settings.updated", "created": 1,
           "data": {"object": {"object": "tax.settings"}}}
    assert world.deliver(odd) == 200
    assert events(world)["evt_odd"].effect == "kept"
    other = {"id": "evt_other", "object": "event", "type": "invoice.paid", "created": 1,
             "data": {"object": {"object": "invoice", "customer": "cus_someone_else"}}}
    assert world.deliver(other) == 200
    assert events(world)["evt_other"].effect == "of nobody here"


def test_a_message_that_could_not_be_followed_is_not_noted_and_may_come_again(world):
    session = world.checkout("large", 2)
    world.fake.pay(session)
    world.fake.faults += ["broken"] * 3
    assert world.deliver(world.fake.outbox[-1]) == 503
    assert events(world) == {}
    assert world.deliver(world.fake.outbox[-1]) == 200
    assert world.company.max_employees == 2


def test_the_body_has_a_limit(world):
    assert world.post(b"x" * (600 * 1024), "t=1,v1=0") == 413


def test_a_crash_between_the_record_and_the_commit_is_made_good(world, monkeypatch):
    session = world.checkout("large", 2)
    world.fake.pay(session)

    def crash(customer):
        raise SystemError
    with monkeypatch.context() as broken:
        broken.setattr(world.billing, "apply", crash)
        with pytest.raises(SystemError):
            world.billing.sync(world.customer)
    assert world.company.max_employees == 0 and world.row.seats == 2
    assert world.billing.apply_pending() == 1
    assert world.company.max_employees == 2


def test_who_was_slower_does_not_overwrite_who_was_newer(world):
    made = world.subscribe("large", 2)
    slow, fast = world.billing.payments.subscriptions, []

    def overtaken(payer):
        found = slow(payer)
        if not fast:
            fast.append(True)
            world.fake.portal_seats(made["id"], 5)
            world.billing.sync(world.customer)  # the newer one is written meanwhile
        return found
    world.billing.payments.subscriptions = overtaken
    world.billing.sync(world.customer)
    assert world.row.seats == 5 and world.company.max_employees == 5


# ---- buying ----------------------------------------------------------------------------------

def test_a_first_plan_has_its_trial_and_a_second_one_has_not(world):
    made = world.subscribe("small", 1)
    assert made["status"] == "trialing" and world.company.max_employees == 1
    world.fake.portal_cancel(made["id"], at_once=True)
    world.deliver_all()
    assert world.company.suspended
    assert world.subscribe("small", 1)["status"] == "active"
    assert not world.company.suspended


def test_a_second_plan_can_t_be_bought_beside_the_first(world):
    session = world.checkout("large", 2)
    world.fake.pay(session)  # its message never arrives
    with pytest.raises(Problem, match="has a plan already"):
        buying.checkout(world.billing, world.customer, "large", 2, name="A", email="a@b.test")
    assert world.company.max_employees == 2, "what was bought was found by looking"


def test_an_older_checkout_is_closed_by_a_newer_one(world):
    first, second = world.checkout("large", 2), world.checkout("large", 3)
    assert first != second
    assert world.fake.pay(first) is None
    assert world.fake.pay(second) is not None


def test_a_double_click_opens_one_checkout(world):
    made = []
    workers = [threading.Thread(target=lambda: made.append(world.checkout("large", 2)))
               for _ in range(2)]
    world.checkout("small", 1)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    paid = [world.fake.pay(session) for session in set(filter(None, made))]
    world.deliver_all()
    world.reconcile()
    assert len(world.living()) == 1 and any(paid)
    billing_sequences._nobody_paid_twice(world)


@pytest.mark.parametrize(("plan", "seats"), [("gold", 1), ("small", 0), ("small", 5)])
def test_only_what_is_offered_can_be_bought(world, plan, seats):
    with pytest.raises(Problem):
        buying.checkout(world.billing, world.customer, plan, seats, name="A", email="a@b.test")


def test_a_change_shows_its_price_before_and_is_charged_once(world):
    world.subscribe("large", 2)
    world.pass_days(15)
    quote = buying.preview(world.billing, world.customer, "large", 4)
    assert quote.quote.due_now == 2500  # two seats, half a period
    for _ in range(2):  # a double click
        buying.change(world.billing, world.customer, "large", 4, quote.quote.at, ())
    assert world.company.max_employees == 4
    made = world.fake.subscriptions()[0]
    assert [b["total"] for b in world.fake.bills(made["id"])] == [5000, 2500]


def test_an_old_price_is_not_taken(world):
    world.subscribe("large", 2)
    quote = buying.preview(world.billing, world.customer, "large", 4)
    world.pass_days(0.5)
    with pytest.raises(Problem, match="shown a while ago"):
        buying.change(world.billing, world.customer, "large", 4, quote.quote.at, ())


def test_a_declined_card_changes_nothing(world):
    world.subscribe("large", 2)
    world.fake.card(world.row.payer, False)
    quote = buying.preview(world.billing, world.customer, "large", 4)
    with pytest.raises(PaymentsError) as caught:
        buying.change(world.billing, world.customer, "large", 4, quote.quote.at, ())
    assert caught.value.trouble == "declined"
    assert (world.company.max_employees, world.row.chosen) == (2, [])


def test_a_lost_answer_is_not_paid_twice(world):
    world.subscribe("large", 2)
    quote = buying.preview(world.billing, world.customer, "large", 4)
    world.fake.faults += [None, "lost"]  # the preview of the change, then the change itself
    buying.change(world.billing, world.customer, "large", 4, quote.quote.at, ())
    assert len(world.fake.bills(world.fake.subscriptions()[0]["id"])) == 2


# ---- fewer seats than are used ----------------------------------------------------------------

def test_who_is_named_is_paused_at_once_and_may_come_back(world):
    world.subscribe("large", 3)
    world.hire(3)
    people = sorted(world.documents.employees.values(), key=lambda e: e.hired_at)
    quote = buying.preview(world.billing, world.customer, "large", 2)
    assert quote.excess == 1 and quote.holders[0].id == people[-1].id
    buying.change(world.billing, world.customer, "large", 2, quote.quote.at, [people[0].id])
    assert world.company.max_employees == 2
    gone = world.documents.employees[people[0].id]
    assert (gone.state, gone.seat) == ("paused", False)
    quote = buying.preview(world.billing, world.customer, "large", 3)
    buying.change(world.billing, world.customer, "large", 3, quote.quote.at, ())
    assert changes.resume(world.store, ENGINEER, world.customer, gone.id)[0].seat


def test_otherwise_the_newest_after_a_grace_of_which_a_mail_tells(world):
    made = world.subscribe("large", 3)
    world.hire(3)
    people = sorted(world.documents.employees.values(), key=lambda e: e.hired_at)
    world.fake.portal_seats(made["id"], 1)
    world.deliver_all()
    assert world.company.max_employees == 3 and world.running() == 3
    assert [kind for _, kind, _ in world.told] == ["over"]
    assert world.hire(1) == 0
    changes.retire(world.store, ENGINEER, world.customer, people[0].id)
    world.billing.apply(world.customer)
    assert world.company.max_employees == 2, "a seat that got free is not taken again"
    world.pass_days(3)
    world.billing.apply_pending()
    assert world.company.max_employees == 1
    states = [world.documents.employees[e.id].state for e in people]
    assert states == ["retired", "running", "paused"]
    assert [kind for _, kind, _ in world.told] == ["over"]


def test_a_company_may_choose_during_the_grace(world):
    made = world.subscribe("large", 2)
    world.hire(2)
    first = min(world.documents.employees.values(), key=lambda e: e.hired_at)
    world.fake.portal_seats(made["id"], 1)
    world.deliver_all()
    buying.choose(world.billing, world.customer, [first.id])
    assert world.company.max_employees == 1 and world.row.over_until is None
    assert world.documents.employees[first.id].state == "paused"
    with pytest.raises(Problem):
        buying.choose(world.billing, world.customer, [first.id])


def test_a_smaller_plan_lowers_what_each_has(world):
    world.subscribe("large", 1)
    world.hire(1)
    quote = buying.preview(world.billing, world.customer, "small", 1)
    assert [e.name for e in quote.smaller] == ["E0"]
    buying.change(world.billing, world.customer, "small", 1, quote.quote.at, ())
    (employee,) = world.documents.employees.values()
    assert employee.model.monthly_budget_usd == 10.0 and world.company.plan == "small"


# ---- unpaid, ended ---------------------------------------------------------------------------

def test_unpaid_has_a_grace_a_stop_and_a_return_within_one_message(world):
    world.subscribe("large", 2)
    world.hire(2)
    world.fake.card(world.row.payer, False)
    world.pass_days(31)
    world.deliver_all()
    assert world.billing.entitlement(world.row).phase == "unpaid" and world.running() == 2
    world.pass_days(7)
    world.reconcile()
    assert world.company.suspended and world.running() == 0
    world.fake.card(world.row.payer, True)
    world.deliver_all()
    assert not world.company.suspended and world.running() == 2
    assert [kind for _, kind, _ in world.told] == ["unpaid", "stopped", "paid"]


def test_who_cancels_keeps_all_to_the_end_and_then_can_export(world):
    made = world.subscribe("large", 1)
    world.hire(1)
    world.fake.portal_cancel(made["id"], at_once=False)
    world.deliver_all()
    assert world.billing.entitlement(world.row).phase == "ending" and world.running() == 1
    world.pass_days(31)
    world.deliver_all()
    bought = world.billing.entitlement(world.row)
    assert bought.phase == "ended" and world.running() == 0
    assert bought.until == world.row.ended_at + days(30)
    assert [e.state for e in world.documents.employees.values()] == ["running"]  # as it was
    assert world.hire(1) == 0


@pytest.mark.parametrize(("kind", "about", "says"), [
    ("unpaid", {"until": "2027-03-04T05:06:00+00:00"}, "until 4 March 2027"),
    ("stopped", {}, "a bill is still open"), ("paid", {}, "go on as before"),
    ("ended", {"until": "2027-03-04T05:06:00+00:00"}, "until 4 March 2027"),
    ("over", {"seats": 1, "over_until": "2027-03-04T05:06:00+00:00"}, "has 1 seat now"),
    ("doubled", {"returned": 5000}, "50.00 that it cost")])
def test_mails_go_to_owners_and_say_what_to_do(world, monkeypatch, kind, about, says):
    accounts.ensure(world.settings.instance, "ann@acme.test", "correct horse battery",
                    customer=world.customer, role="owner")
    accounts.ensure(world.settings.instance, "val@acme.test", "correct horse battery",
                    customer=world.customer, role="viewer")
    sent = []
    monkeypatch.setattr(mail.Server, "send", lambda _, message: sent.append(message))
    world.app.extensions["iw_mail"] = mail.Server("smtp://x", "i@iw.test")
    row = Entitlement(1, False, kind)
    monkeypatch.setattr(world.billing, "entitlement", lambda _: row)
    billing_mail.teller(world.app)(world.customer, kind, about)
    mail.deliver_due(world.app)
    (message,) = sent
    assert message["To"] == "ann@acme.test" and says in message.get_content()
    assert "/billing" in message.get_content()


def test_a_mail_that_is_no_longer_so_is_not_sent(world, monkeypatch):
    accounts.ensure(world.settings.instance, "ann@acme.test", "correct horse battery",
                    customer=world.customer, role="owner")
    world.subscribe()
    billing_mail.teller(world.app)(world.customer, "unpaid", {})
    assert mail.deliver_due(world.app) == 0


# ---- reconciliation --------------------------------------------------------------------------

def test_lost_messages_are_made_good_and_reported(world):
    session = world.checkout("large", 2)
    world.fake.pay(session)
    world.pass_days(0.1)
    report = world.reconcile()
    assert world.company.max_employees == 2
    assert report.lost_events == 3 and "behind Stripe's" in report.found[0]
    said = [e.message for e in world.status.events(world.customer)]
    assert any("behind Stripe's" in text for text in said)
    world.carry("deliver", random.Random(0))  # late: each of those was noted as taken
    with world.billing.session() as rows:
        run = rows.scalars(select(BillingRun)).one()
    assert run.lost_events == 3 and run.found == report.found
    assert world.reconcile().found == []


def test_seats_written_by_hand_are_reported_and_set_back(world):
    world.subscribe("large", 2)
    changes.set_seats(world.store, ENGINEER, world.customer, 9)
    report = world.reconcile()
    assert world.company.max_employees == 2
    assert "its documents were not what is paid for: maxEmployees 9 → 2" in report.found[0]


def test_seats_that_were_never_bought_stay_as_people_made_them(world):
    changes.set_seats(world.store, ENGINEER, world.customer, 7)
    assert world.reconcile().found == []
    assert world.company.max_employees == 7


def test_two_paid_windows_end_as_one_and_the_second_is_given_back(world):
    chance = random.Random(1)
    billing_sequences._step(world, "buy_twice", ["large", 2, 3], chance)
    assert len(world.living()) == 2
    world.reconcile()
    assert len(world.living()) == 1 and world.company.max_employees == 2
    billing_sequences._nobody_paid_twice(world)
    assert "doubled" in [kind for _, kind, _ in world.told]


def test_after_a_restore_a_subscription_is_found_again(world):
    world.subscribe("large", 2)
    with world.billing.session.begin() as session:
        session.delete(session.get(Subscription, world.customer))
    report = world.reconcile()
    assert "of which we knew nothing" in report.found[0]
    assert world.row.seats == 2 and world.company.max_employees == 2


def test_a_price_that_nobody_knows_is_reported_and_keeps_the_plan(world):
    made = world.subscribe("large", 2)
    world.fake.prices["price_new"] = 10
    made["metadata"] = {}
    world.fake._set(made, "price_new", 3)
    world.reconcile()
    assert (world.company.plan, world.company.max_employees) == ("large", 3)


def test_model_spend_is_reported_once_whatever_happens(world):
    world.subscribe("large", 1)
    spent = {"usd": 1.25}

    def spend(customer: str, month: str) -> float:
        return spent["usd"] if month == world.billing.clock().strftime("%Y-%m") else 0.0
    world.fake.faults += ["broken"] * 0
    reconcile(world.billing, spend)
    reconcile(world.billing, spend)
    spent["usd"] = 3.0
    real = world.billing.payments.report_usage

    def answer_lost(*given):
        real(*given)
        raise PaymentsError("away", "the answer was lost")
    world.billing.payments.report_usage = answer_lost
    assert any("model spend" in line for line in reconcile(world.billing, spend).found)
    spent["usd"] = 4.0
    world.billing.payments.report_usage = real
    reconcile(world.billing, spend)
    assert sum(world.fake.metered().values()) == 400


def test_keys_are_in_no_text(world):
    assert "sk_test_fake" not in repr(world.settings) and "whsec" not in repr(world.settings)


def test_a_plan_of_the_local_mode_holds_and_is_reported_once_there_are_keys(world):
    from webapp.billing_setup import billing_of
    local = billing_of(replace(world.settings, stripe=None), world.store, world.status,
                       clock=world.billing.clock)
    buying.checkout(local, world.customer, "large", 4, name="A", email="a@b.test")
    local.sync(world.customer)
    assert world.company.max_employees == 4
    report = world.reconcile()
    assert "chosen in the local mode" in report.found[0] and world.company.max_employees == 4
    world.subscribe("large", 2)
    assert world.company.max_employees == 2 and world.reconcile().found == []


# ---- stopped by somebody else ------------------------------------------------------------------

def test_who_was_suspended_by_hand_stays_so_and_is_reported(world):
    world.subscribe("large", 2)
    changes.set_seats(world.store, ENGINEER, world.customer, suspended=True)
    report = world.reconcile()
    assert world.company.suspended and "suspended by hand" in report.found[0]
    assert not [e for e in world.status.events(world.customer) if "by hand" in e.message]


def test_a_company_that_is_deleted_is_not_charged_and_may_come_back(world):
    made = world.subscribe("large", 2)
    with world.app.app_context():
        db.session.add(Closure(customer=world.customer, asked_by="ann@acme.test",
                               due_at=world.billing.clock() + days(14)))
        db.session.commit()
        closure = db.session.get(Closure, world.customer)
        world.reconcile()
        assert world.company.suspended and made["cancel_at_period_end"]
        db.session.delete(closure)
        db.session.commit()
        changes.set_seats(world.store, ENGINEER, world.customer, suspended=False)
        world.reconcile()
        assert not world.company.suspended and not made["cancel_at_period_end"]
        db.session.add(Closure(customer=world.customer, asked_by="ann@acme.test",
                               due_at=world.billing.clock(), done_at=world.billing.clock()))
        db.session.commit()
        world.reconcile()
    assert made["status"] == "canceled"


# ---- any sequence ----------------------------------------------------------------------------

@pytest.mark.parametrize("sequences", [30, pytest.param(2_000, marks=[
    pytest.mark.long, pytest.mark.timeout(3600)])])
def test_any_sequence_ends_with_money_and_seats_in_step(tmp_path_factory, sequences):
    logging.disable(logging.CRITICAL)
    try:
        billing_sequences.check(World(tmp_path_factory.mktemp("world")), sequences)
    finally:
        logging.disable(logging.NOTSET)
