"""Sessions, the second factor, and the brakes on guessing."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlsplit

import argon2
import pyotp
import pytest
from sqlalchemy import func, select

from state_repo.instance import PORTS, Instance
from tests.webapp.conftest import PASSWORD
from tests.webapp.test_people import GOOD, Post
from webapp import accounts, passwords, second_factor
from webapp.access import IDLE, safe_next
from webapp.factory import create_app
from webapp.models import Attempts, LoginSession, db, digest, now
from webapp.settings import Settings
from webapp.throttle import Book, GrowingDelay, SignInThrottle, Throttle
from webapp.tokens import device

ANN = {"email": "ann@acme.test", "password": PASSWORD}


def csrf(client) -> dict[str, str]:
    return {"csrf_token": client.environ_base["HTTP_X_CSRF_TOKEN"]}


def renew(client):
    client.environ_base["HTTP_X_CSRF_TOKEN"] = client.get("/api/v1/session").json["csrf_token"]
    return client


# ---- sessions --------------------------------------------------------------------------------

def test_a_session_that_was_planted_is_not_used(house):
    client = house.client()
    client.set_cookie("iw_session", "planted")
    client.post("/sign-in", data=ANN)
    assert client.get_cookie("iw_session").value != "planted"
    client.set_cookie("iw_session", "planted")
    assert client.get("/api/v1/session").status_code == 401


def test_signing_in_again_ends_the_session_before(house):
    client = house.client("ann@acme.test")
    old = client.get_cookie("iw_session").value
    client.post("/sign-in", data=ANN)
    assert client.get_cookie("iw_session").value != old
    client.set_cookie("iw_session", old)
    assert client.get("/api/v1/session").status_code == 401


def test_a_session_ends_unused_and_in_any_case(house):
    for change in ({"last_seen_at": now() - IDLE - timedelta(minutes=1)},
                   {"expires_at": now() - timedelta(seconds=1)}):
        client = house.client("ann@acme.test")
        with house.app.app_context():
            db.session.query(LoginSession).update(change)
            db.session.commit()
        assert client.get("/api/v1/session").status_code == 401


def test_using_a_session_keeps_it(house):
    client = house.client("ann@acme.test")
    with house.app.app_context():
        db.session.query(LoginSession).update({"last_seen_at": now() - timedelta(hours=5)})
        db.session.commit()
    assert client.get("/api/v1/session").status_code == 200
    with house.app.app_context():
        assert LoginSession.query.one().last_seen_at > now() - timedelta(minutes=1)


def test_sessions_are_listed_and_ended(house):
    here, there = house.client("ann@acme.test"), house.client()
    there.post("/api/v1/session", json=ANN, headers={
        "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko Firefox/130.0"})
    found = here.get("/api/v1/sessions").json["sessions"]
    assert {s["device"] for s in found} == {"A program", "Firefox on Windows"}
    assert [s["device"] for s in found if s["this"]] == ["A program"]
    other = next(s["id"] for s in found if not s["this"])
    assert house.client("ann@bolt.test").delete(f"/api/v1/sessions/{other}").status_code == 404
    assert here.delete(f"/api/v1/sessions/{other}").status_code == 200
    assert there.get("/api/v1/session").status_code == 401
    assert here.get("/api/v1/session").status_code == 200


def test_signing_out_everywhere_closes_the_employees_pages_too(house):
    here, there, edge = (house.client("ann@acme.test"), house.client("ann@acme.test"),
                         house.client())
    url = urlsplit(there.get(f"/employees/{house.pulse}/open/chat").location)

    def ask(uri: str) -> int:
        return edge.get("/edge/authorize", headers={
            "X-Forwarded-Host": f"{house.pulse}.gw.iw.localhost", "X-Forwarded-Uri": uri}
            ).status_code
    assert ask(f"/?{url.query}") == 303 and ask("/") == 200
    assert here.post("/settings/security/sessions/end", data=csrf(here)).status_code == 303
    assert ask("/") == 401
    for client in (here, there):
        assert client.get("/api/v1/session").status_code == 401


def test_a_new_password_renews_this_session_and_ends_the_others(house):
    here, there = house.client("ann@acme.test"), house.client("ann@acme.test")
    old = here.get_cookie("iw_session").value
    form = csrf(here) | {"current": PASSWORD, "password": GOOD}
    assert here.post("/settings/security/password", data=form | {"current": "wrong"}
                     ).status_code == 403
    assert here.post("/settings/security/password", data=form | {"password": "password123"}
                     ).status_code == 422
    assert here.post("/settings/security/password", data=form).status_code == 303
    assert here.get_cookie("iw_session").value != old
    assert here.get("/api/v1/session").status_code == 200
    assert there.get("/api/v1/session").status_code == 401
    here.set_cookie("iw_session", old)
    assert here.get("/api/v1/session").status_code == 401


def test_cookies_are_host_only_where_there_is_tls(tmp_path):
    instance = Instance(id="0badcafe", data=tmp_path, domain="iw.example",
                        ports={name: 443 if name == "edge" else 1 for name in PORTS})
    app = create_app(Settings(instance))
    accounts.ensure(instance, "eng@iw.test", PASSWORD, customer=None, role="engineer")
    answer = app.test_client().post("/sign-in", data=ANN | {"email": "eng@iw.test"},
                                    base_url="https://app.iw.example")
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-iw_session=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in cookie
    assert "Domain" not in cookie
    assert app.config["LOCAL"] is False


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/sign-up/confirm", "/forgot", "/reset",
                                  "/verify", "/join", "/api/v1/session",
                                  "/api/v1/passwords/judge"])
@pytest.mark.parametrize("sent", [{"Origin": "https://evil.test"}, {"Origin": "null"},
                                  {"Sec-Fetch-Site": "cross-site"},
                                  {"Sec-Fetch-Site": "same-site"},
                                  {"Origin": "http://pulse.gw.iw.localhost:2000"}])
def test_no_other_site_signs_anybody_in_or_up(house, path, sent):
    Post(house)
    client = house.client()
    with house.app.app_context():
        from webapp.models import Invitation, SignUp
        ann = accounts.find("ann@acme.test")
        db.session.add(second_factor.mail.Letter(kind="told", to="x@y.test", about={}))
        db.session.add(SignUp(secret=digest("s"), email="c@d.test", name="C", company="D",
                              password_hash="x", time_zone="UTC", plan="",
                              expires_at=now() + timedelta(days=1)))
        db.session.add(Invitation(secret=digest("i"), customer="acme", email="b@c.test",
                                  role="viewer", invited_by="x", expires_at=now() + timedelta(1)))
        from webapp.models import MailLink
        for kind in ("verify", "reset"):
            db.session.add(MailLink(id=digest(kind), account_id=ann.id, kind=kind,
                                    expires_at=now() + timedelta(days=1)))
        db.session.commit()
    key = {"/sign-up/confirm": "s", "/join": "i", "/verify": "verify", "/reset": "reset"}.get(path)
    body = ANN | {"company": "X", "name": "Y", "key": key}
    answer = client.post(path, headers=sent, **(
        {"json": ANN} if path.startswith("/api/") else {"data": body}))
    assert answer.status_code == 403
    assert client.get_cookie("iw_session") is None


@pytest.mark.parametrize(("path", "kept"), [
    ("/settings/tokens?done=x", True), ("//evil.test", False), ("https://evil.test", False),
    ("/\\evil.test", False), ("/a\nb", False), (None, False), ("", False)])
def test_the_way_back_stays_here(path, kept):
    assert safe_next(path) == (path if kept else "/")


def test_a_stranger_comes_back_to_the_page_that_they_wanted(house):
    client = house.client()
    to = client.get("/settings/tokens").location
    assert to == "/sign-in?next=/settings/tokens"
    assert 'value="/settings/tokens"' in client.get(to).text
    assert client.post("/sign-in", data=ANN | {"next": "/settings/tokens"}
                       ).location == "/settings/tokens"
    assert house.client().post("/sign-in", data=ANN | {"next": "//evil.test"}).location == "/"


# ---- the second factor -----------------------------------------------------------------------

def with_factor(house):
    """Ann with a second factor: her client, the secret and her recovery codes."""
    client = house.client("ann@acme.test")
    page = client.get("/settings/security/factor")
    assert "<svg" in page.text and "style=" not in page.text
    secret = re.search(r'class="key">([^<]+)<', page.text)[1].replace(" ", "")
    form = csrf(client) | {"password": PASSWORD}
    assert client.post("/settings/security/factor", data=form | {"code": "000000"}
                       ).status_code == 422
    done = client.post("/settings/security/factor", data=form | {
        "code": pyotp.TOTP(secret).now()})
    codes = re.findall(r"<code>((?:[A-Z2-7]{4}-){3}[A-Z2-7]{4})</code>", done.text)
    assert done.status_code == 200 and len(codes) == second_factor.CODES
    return renew(client), secret, codes


def test_the_second_step_is_asked_for_and_a_code_works_once(house):
    _, secret, _ = with_factor(house)
    client, again = house.client(), house.client()
    for one in (client, again):
        asked = one.post("/sign-in", data=ANN)
        assert (asked.status_code, asked.location) == (303, "/sign-in/code")
        assert one.get("/settings").status_code == 302, "half is nothing"
    code = pyotp.TOTP(secret).at(time.time() + 30)  # the one before was used
    assert client.post("/sign-in/code", data={"code": "123 456"}).status_code == 401
    assert client.post("/sign-in/code", data={"code": f"{code[:3]} {code[3:]}"}).location == "/"
    assert client.get("/settings").status_code == 200
    assert again.post("/sign-in/code", data={"code": code}).status_code == 401, "it was used"


def test_a_wrong_password_is_told_the_same_with_and_without_a_factor(house):
    with_factor(house)
    client = house.client()
    answers = [client.post("/sign-in", data={"email": email, "password": "wrong"})
               for email in ("ann@acme.test", "ann@bolt.test", "nobody@acme.test")]
    bodies = {re.sub(r"\w+@\w+\.test", "", a.text) for a in answers}
    assert {a.status_code for a in answers} == {401} and len(bodies) == 1


def test_the_api_asks_for_the_code_and_does_not_tell_which_was_wrong(house):
    _, secret, codes = with_factor(house)
    client = house.client()

    def attempt(**more: str):
        return client.post("/api/v1/session", json=ANN | more)
    assert attempt().json["error"]["code"] == "second_factor"
    wrong_code, wrong_both = attempt(code="000000"), attempt(code="000000", password="wrong")
    assert (wrong_code.status_code, wrong_code.json) == (401, wrong_both.json)
    assert attempt(code=pyotp.TOTP(secret).at(time.time() + 30)).status_code == 200
    assert attempt(code=codes[0]).status_code == 200
    assert attempt(code=codes[0]).status_code == 401, "a recovery code works once"


def test_codes_can_not_be_guessed(house):
    with_factor(house)
    client = house.client()
    client.post("/sign-in", data=ANN)
    answers = [client.post("/sign-in/code", data={"code": "000000"}) for _ in range(5)]
    assert [a.status_code for a in answers] == [401] * 4 + [303]
    client.post("/sign-in", data=ANN)
    assert client.post("/sign-in/code", data={"code": "000000"}).status_code == 429


def test_turning_it_off_takes_the_password_and_ends_other_sessions(house):
    client, _, codes = with_factor(house)
    form = csrf(client)
    assert client.post("/settings/security/factor/remove", data=form).status_code == 403
    fresh = client.post("/settings/security/factor/codes", data=form | {"password": PASSWORD})
    assert codes[0] not in fresh.text and "recovery codes" in fresh.text
    assert client.post("/settings/security/factor/remove", data=form | {"password": PASSWORD}
                       ).status_code == 303
    assert house.client().post("/sign-in", data=ANN).location == "/"


def test_a_reset_does_not_pass_the_second_step(house):
    with_factor(house)
    post = Post(house)
    post.deliver()
    client = house.client()
    client.post("/forgot", data={"email": "ann@acme.test"})
    key = post.link().partition("key=")[2]
    client.post("/reset", data={"key": key, "password": GOOD})
    assert client.post("/sign-in", data=ANN | {"password": GOOD}).location == "/sign-in/code"


# ---- brakes ----------------------------------------------------------------------------------

class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def book(house):
    """Of a clock that stands still."""
    with house.app.app_context():
        return Book(db.engine, Clock())


def test_a_throttle_lets_go_again(book):
    throttle, clock = Throttle(book, "t", 2, 60), book.clock
    assert throttle.take("a") == throttle.take("a") == 0
    assert throttle.take("a") == 60 and throttle.take("b") == 0
    clock.now += 60
    assert throttle.take("a") == 0


def test_a_growing_delay_never_locks_out_for_good(book):
    delay, clock = GrowingDelay(book, "d", free=2, most_s=300), book.clock
    waits = []
    for _ in range(14):
        while wait := delay.take("a"):
            waits.append(wait)
            clock.now += wait
    assert waits[:4] == [1, 2, 4, 8] and max(waits) == 300


def test_strangers_do_not_keep_out_who_signed_in_from_there_before(book):
    throttle = SignInThrottle(book)
    assert throttle.take("ann", "home") == 0
    throttle.succeeded("ann", "home")
    for n in range(40):
        throttle.take("ann", f"10.0.0.{n}")
    assert throttle.take("ann", "10.0.0.99") > 0
    assert throttle.take("ann", "home") == 0


def test_one_address_can_not_try_everybody(book):
    throttle = SignInThrottle(book)
    waits = [throttle.take(f"somebody{n}", "10.0.0.1") for n in range(60)]
    assert waits[:50] == [0] * 50 and waits[50] > 0
    assert throttle.take("somebody1", "10.0.0.2") == 0


def test_brakes_outlast_a_restart_and_hold_under_concurrency(book):
    def guess(_: int) -> bool:
        return Throttle(Book(book._engine, book.clock), "t", 5, 300).take("ann") == 0
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(guess, range(40))) == 5
    book.clock.now += 301
    book.forget_old()
    with book._engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Attempts)) == 0


def test_who_finds_no_place_is_told_so_at_once_and_has_not_tried(house):
    places = 4 * (os.cpu_count() or 1)
    with ExitStack() as held:
        for _ in range(places):
            held.enter_context(passwords.place())
        for _ in range(20):
            answer = house.client().post("/api/v1/session", json=ANN)
            assert (answer.status_code, answer.json["error"]["code"]) == (503, "busy")
        page = house.client().post("/sign-in", data=ANN)
        assert page.status_code == 503 and "Try again in a few seconds" in page.text
    assert house.client().post("/api/v1/session", json=ANN).status_code == 200


def test_nobody_is_named_among_the_attempts(house):
    house.client().post("/api/v1/session", json={"email": "ann@acme.test", "password": "wrong"})
    with house.app.app_context():
        rows = db.session.scalars(select(Attempts)).all()
        assert len(rows) == 3 and all(len(row.key) == 64 and "ann" not in row.times for row in rows)


def test_a_wrong_password_is_as_much_work_as_no_account(monkeypatch):
    kept, done = passwords.hashed(GOOD), []

    class Hasher:
        @staticmethod
        def verify(hash: str, password: str) -> bool:
            done.append(argon2.extract_parameters(hash))
            return real.verify(hash, password)
    real = passwords._HASHER
    monkeypatch.setattr(passwords, "_HASHER", Hasher)
    assert not passwords.matches(kept, "wrong") and not passwords.matches(None, "wrong")
    assert len(done) == 2 and done[0] == done[1]


@pytest.mark.parametrize(("agent", "words"), [
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1",
     "Safari on iPhone"),
    ("Mozilla/5.0 (Linux; Android 14) AppleWebKit Chrome/129.0 Mobile Safari/537.36",
     "Chrome on Android"),
    ("Mozilla/5.0 (Macintosh; Intel) Chrome/129 Safari/537 Edg/129.0", "Edge on a Mac"),
    ("curl/8.5", "A program"), ("", "A program")])
def test_a_device_in_plain_words(agent, words):
    assert device(agent) == words
