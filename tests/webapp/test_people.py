"""Sign-up, recovery, invitations, members, tokens: what they let in, and what they tell."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.webapp.conftest import PASSWORD
from webapp import accounts, mail, people, sign_up
from webapp.models import (
    Account,
    ApiToken,
    EdgeSession,
    Invitation,
    Letter,
    LoginSession,
    MailLink,
    SignUp,
    db,
    now,
)

GOOD = "purple kettle orbit"
FORM = {"company": "Cube & Sons", "name": "Carl", "email": "carl@cube.test", "password": GOOD}


class Post:
    """Takes the mails that would be sent."""

    def __init__(self, house) -> None:
        self._house, self.sent = house, []
        house.app.extensions["iw_mail"] = self
        self.url, self.sender = "smtp://nowhere.invalid", "InstantWorker <no-reply@iw.test>"
        house.app.config["LOCAL"] = False

    def send(self, message) -> None:
        self.sent.append(message)

    def deliver(self):
        self.sent.clear()
        mail.deliver_due(self._house.app)
        return self.sent

    def link(self) -> str:
        """The path of the link in the one mail that is due."""
        [message] = self.deliver()
        return re.search(r"https?://[^/\s]+(/\S+\?key=\S+)", message.get_content())[1]


@pytest.fixture
def post(house) -> Post:
    return Post(house)


def key_of(link: str) -> str:
    return link.partition("key=")[2]


def account(house, email: str):
    with house.app.app_context():
        return accounts.find(email)


def text_of(answer) -> str:
    return re.sub(r"\S+@\S+\.test", "ADDRESS", answer.text)


# ---- sign-up ---------------------------------------------------------------------------------

def test_a_company_is_made_when_its_address_is_confirmed(house, post):
    client, head = house.client(), house.app.extensions["iw_store"].head()
    answer = client.post("/sign-up", data=FORM)
    assert answer.status_code == 200 and "Check your mail" in answer.text
    assert account(house, "carl@cube.test") is None
    assert house.app.extensions["iw_store"].head() == head
    link = post.link()
    assert client.get(link).status_code == 200
    assert account(house, "carl@cube.test") is None, "a mail scanner that looks makes nothing"
    made = client.post("/sign-up/confirm", data={"key": key_of(link)})
    assert made.status_code == 303
    carl = account(house, "carl@cube.test")
    assert carl.role == "owner" and carl.verified_at is not None
    assert re.fullmatch(r"cube-sons-[a-z2-7]{6}", carl.customer)
    seats = client.get(f"/api/v1/customers/{carl.customer}").json["customer"]
    assert (seats["name"], seats["seats"]) == ("Cube & Sons", sign_up.TRIAL_SEATS)
    assert house.client().post("/sign-up/confirm", data={"key": key_of(link)}).status_code == 410


def test_sign_up_says_nothing_of_who_exists(house, post):
    stranger = house.client()
    free = stranger.post("/sign-up", data=FORM)
    taken = stranger.post("/sign-up", data=FORM | {"email": "ann@acme.test"})
    assert (free.status_code, text_of(free)) == (taken.status_code, text_of(taken))
    assert free.headers.getlist("Set-Cookie") == taken.headers.getlist("Set-Cookie") == []
    with house.app.app_context():
        assert [x.kind for x in db.session.scalars(select(Letter))] == ["sign_up", "sign_up"]
    post.deliver()
    told = {m["To"]: m["Subject"] for m in post.sent}
    assert told["ann@acme.test"] == "You have an account already"
    assert "Confirm" in told["carl@cube.test"]
    # Nor afterwards: neither can sign in with the password that the stranger chose.
    for email in ("ann@acme.test", "carl@cube.test"):
        answer = stranger.post("/sign-in", data={"email": email, "password": GOOD})
        assert answer.status_code == 401


def test_two_sign_ups_of_one_address_make_one_company(house, post):
    client = house.client()
    client.post("/sign-up", data=FORM)
    client.post("/sign-up", data=FORM | {"company": "Cone"})
    links = [re.search(r"key=(\S+)", m.get_content())[1] for m in post.deliver()]
    assert client.post("/sign-up/confirm", data={"key": links[0]}).status_code == 303
    assert house.client().post("/sign-up/confirm", data={"key": links[1]}).status_code == 410


def test_an_old_sign_up_is_over(house, post):
    house.client().post("/sign-up", data=FORM)
    link = post.link()
    with house.app.app_context():
        db.session.query(SignUp).update({"expires_at": now() - timedelta(seconds=1)})
        db.session.commit()
    assert house.client().get(link).status_code == 410


def test_on_ones_own_machine_nobody_waits_for_a_mail(house, post):
    house.app.config["LOCAL"] = True
    client = house.client()
    answer = client.post("/sign-up", data=FORM)
    assert answer.status_code == 303
    carl = account(house, "carl@cube.test")
    assert carl.verified_at is None
    assert "Confirm your e-mail address" in client.get("/").text
    client.environ_base["HTTP_X_CSRF_TOKEN"] = client.get("/api/v1/session").json["csrf_token"]
    path = f"/api/v1/customers/{carl.customer}/invitations"
    refused = client.post(path, json={"email": "x@y.test", "role": "viewer"})
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "unverified")
    assert client.post("/verify", data={"key": key_of(post.link())}).status_code == 303
    assert client.post(path, json={"email": "x@y.test", "role": "viewer"}).status_code == 201


@pytest.mark.parametrize(("change", "field"), [
    ({"password": "short"}, "10 characters"), ({"password": "password123"}, "first that anybody"),
    ({"password": "Sunshine2024"}, "easy to guess"),
    ({"password": "cube & sons"}, "first that anybody"),
    ({"password": "q1w2e3r4t5"}, "first that anybody"), ({"password": "x" * 201}, "at most 200"),
    ({"email": "carl"}, "e-mail address"), ({"company": ""}, "company’s name"),
    ({"name": "a" * 81}, "your name"), ({"company": "a\nb"}, "company’s name")])
def test_what_is_wrong_is_said_and_nothing_else_is_lost(house, change, field):
    answer = house.client().post("/sign-up", data=FORM | change)
    assert answer.status_code == 422
    assert field in answer.text
    kept = FORM["name"] if "name" not in change else FORM["email"]
    assert f'value="{kept}"' in answer.text
    assert (FORM | change)["password"] not in answer.text or len(change.get("password", "")) > 200


def test_the_hint_while_typing_knows_the_same_rules(house):
    client = house.client()

    def judged(password: str, *about: str) -> dict:
        return client.post("/api/v1/passwords/judge",
                           json={"password": password, "about": about}).json
    assert judged(GOOD)["good"] is True
    assert judged("password123")["good"] is False
    assert judged("carl@cube.test", "carl@cube.test")["good"] is False
    assert judged("carl@cube.test", "ann@acme.test")["good"] is True, "others' words leave no trace"


def test_the_same_name_twice_gives_two_companies_with_other_ids(house):
    assert sign_up.customer_id("Acme") != sign_up.customer_id("Acme")
    for name in ("Äcme Größe GmbH & Co. KG und noch viel mehr", "株式会社", "1st", "-"):
        assert re.fullmatch(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", sign_up.customer_id(name)), name


# ---- recovery --------------------------------------------------------------------------------

def test_a_reset_works_once_and_ends_every_session(house, post):
    ann, stranger = house.client("ann@acme.test"), house.client()
    stranger.post("/forgot", data={"email": "Ann@acme.test "})
    link = post.link()
    assert stranger.get(link).status_code == 200
    weak = stranger.post("/reset", data={"key": key_of(link), "password": "password123"})
    assert weak.status_code == 422, "and the link still works"
    done = stranger.post("/reset", data={"key": key_of(link), "password": GOOD})
    assert done.status_code == 303
    assert stranger.get("/settings").status_code == 302, "it signs nobody in"
    assert ann.get("/api/v1/session").status_code == 401
    again = stranger.post("/reset", data={"key": key_of(link), "password": GOOD + "!"})
    assert again.status_code == 410
    for password, status in ((PASSWORD, 401), (GOOD, 200)):
        assert house.client().post("/api/v1/session", json={
            "email": "ann@acme.test", "password": password}).status_code == status
    assert [m["Subject"] for m in post.deliver()] == ["Your password was changed"]


def test_recovery_says_nothing_of_who_exists(house, post):
    client = house.client()
    known = client.post("/forgot", data={"email": "ann@acme.test"})
    nobody = client.post("/forgot", data={"email": "nobody@acme.test"})
    assert (known.status_code, text_of(known)) == (nobody.status_code, text_of(nobody))
    with house.app.app_context():
        assert db.session.query(Letter).count() == 2, "the same work for both"
    assert [m["To"] for m in post.deliver()] == ["ann@acme.test"]
    with house.app.app_context():
        assert db.session.query(Letter).count() == 0


def test_an_old_link_and_another_kind_s_are_refused(house, post):
    client = house.client()
    client.post("/forgot", data={"email": "ann@acme.test"})
    link = post.link()
    assert client.get(f"/verify?key={key_of(link)}").status_code == 410
    with house.app.app_context():
        assert db.session.query(MailLink).filter(MailLink.id == key_of(link)).count() == 0
        db.session.query(MailLink).update({"expires_at": now() - timedelta(seconds=1)})
        db.session.commit()
    assert client.get(link).status_code == 410


def test_nobody_floods_a_mailbox(house, post):
    for _ in range(8):
        assert house.client().post("/forgot", data={"email": "ann@acme.test"}).status_code == 200
    assert len(post.deliver()) == 5


# ---- invitations and members -----------------------------------------------------------------

def invited(house, post, email="ben@acme.test", role="manager"):
    ann = house.client("ann@acme.test")
    made = ann.post("/api/v1/customers/acme/invitations", json={"email": email, "role": role})
    assert made.status_code == 201
    return ann, made.json["invitation"]["id"], post.link()


def joined(house, post, role="manager", email="ben@acme.test"):
    ann, _, link = invited(house, post, email, role)
    ben = house.client()
    answer = ben.post("/join", data={"key": key_of(link), "name": "Ben", "password": GOOD})
    assert answer.status_code == 303
    ben.environ_base["HTTP_X_CSRF_TOKEN"] = ben.get("/api/v1/session").json["csrf_token"]
    return ann, ben, account(house, email)


def test_an_invited_person_joins_once(house, post):
    _, _, link = invited(house, post)
    ben = house.client()
    assert "Join Acme" in ben.get(link).text
    assert ben.post("/join", data={"key": key_of(link), "name": "", "password": GOOD}
                    ).status_code == 422
    assert ben.post("/join", data={"key": key_of(link), "name": "Ben", "password": GOOD}
                    ).status_code == 303
    made = account(house, "ben@acme.test")
    assert (made.customer, made.role, made.verified_at is not None) == ("acme", "manager", True)
    assert house.client().get(link).status_code == 410


def test_resending_ends_the_old_link_and_revoking_ends_it_at_all(house, post):
    ann, invitation, first = invited(house, post)
    path = f"/api/v1/customers/acme/invitations/{invitation}"
    assert ann.post(f"{path}/resend").status_code == 200
    second = post.link()
    assert ann.get(first).status_code == 410
    assert house.client().get(second).status_code == 200
    assert ann.delete(path).status_code == 200
    assert house.client().get(second).status_code == 410


def test_an_address_with_an_account_is_told_by_mail_alone(house, post):
    ann = house.client("ann@acme.test")
    made = ann.post("/api/v1/customers/acme/invitations",
                    json={"email": "ann@bolt.test", "role": "viewer"})
    assert made.status_code == 201, "that it has an account is not the inviter's business"
    [message] = post.deliver()
    assert "already has an account" in message.get_content()
    member = ann.post("/api/v1/customers/acme/invitations",
                      json={"email": "ann@acme.test", "role": "viewer"})
    assert member.status_code == 409


def test_who_is_removed_is_out_at_once(house, post):
    ann, ben, member = joined(house, post)
    token = ben.post("/api/v1/tokens", json={"name": "t"}).json["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    team = "/api/v1/customers/acme/employees"
    assert house.client().get(team, headers=bearer).status_code == 200
    ben.get(f"/employees/{house.pulse}/open/chat")
    assert ann.delete(f"/api/v1/customers/acme/members/{member.id}").status_code == 200
    assert ben.get(team).status_code == 401
    assert house.client().get(team, headers=bearer).status_code == 401
    with house.app.app_context():
        for table in (LoginSession, ApiToken, EdgeSession):
            assert db.session.query(table).filter(table.account_id == member.id).count() == 0
        assert db.session.get(Account, member.id) is None


def test_a_new_role_counts_at_once_and_signs_out(house, post):
    ann, ben, member = joined(house, post, "viewer")
    path = f"/api/v1/customers/acme/members/{member.id}"
    assert ben.patch(path, json={"role": "owner"}).status_code == 403
    assert ann.patch(path, json={"role": "manager"}).json["member"]["role"] == "manager"
    assert ben.get("/api/v1/session").status_code == 401


def test_a_company_always_has_an_owner(house, post):
    ann, ben, member = joined(house, post, "owner")
    me = account(house, "ann@acme.test").id
    assert ben.delete(f"/api/v1/customers/acme/members/{me}").status_code == 200
    mine = f"/api/v1/customers/acme/members/{member.id}"
    for answer in (ben.delete(mine), ben.patch(mine, json={"role": "viewer"})):
        assert (answer.status_code, answer.json["error"]["code"]) == (409, "last_owner")
    assert account(house, "ben@acme.test").role == "owner"
    assert ann.get("/api/v1/session").status_code == 401


def test_members_and_invitations_of_others_are_nobody_s_business(house, post):
    _, invitation, _ = invited(house, post)
    bolt, theirs = house.client("ann@bolt.test"), account(house, "ann@acme.test").id
    for method, path in (("PATCH", f"members/{theirs}"), ("DELETE", f"members/{theirs}"),
                         ("POST", f"invitations/{invitation}/resend"),
                         ("DELETE", f"invitations/{invitation}")):
        for customer in ("bolt", "acme"):
            answer = bolt.open(f"/api/v1/customers/{customer}/{path}", method=method,
                               json={"role": "viewer"})
            assert answer.status_code == 404, (method, path, customer)
    csrf = {"csrf_token": bolt.environ_base["HTTP_X_CSRF_TOKEN"]}
    for path in (f"{theirs}/remove", f"{theirs}/role", f"invitations/{invitation}/revoke"):
        answer = bolt.post(f"/settings/people/{path}", data=csrf | {"role": "viewer"})
        assert answer.status_code == 404, path
    with house.app.app_context():
        assert db.session.get(Account, theirs).role == "owner"
        assert db.session.query(Invitation).count() == 1


OWNERS = [("PATCH", "/api/v1/customers/acme"), ("POST", "/api/v1/customers/acme/closure"),
          ("DELETE", "/api/v1/customers/acme/closure"), ("GET", "/api/v1/customers/acme/export"),
          ("GET", "/api/v1/customers/acme/invitations"),
          ("POST", "/api/v1/customers/acme/invitations"),
          ("DELETE", "/api/v1/customers/acme/invitations/1"),
          ("POST", "/api/v1/customers/acme/invitations/1/resend"),
          ("PATCH", "/api/v1/customers/acme/members/1"),
          ("DELETE", "/api/v1/customers/acme/members/1"),
          ("POST", "/settings/name"), ("POST", "/settings/people/invite"),
          ("POST", "/settings/people/invitations/1/revoke"),
          ("POST", "/settings/people/1/role"), ("POST", "/settings/people/1/remove"),
          ("POST", "/settings/data/delete"), ("POST", "/settings/data/undo")]
EVERYBODY = ["/settings", "/settings/people", "/settings/security", "/settings/security/factor",
             "/settings/tokens", "/settings/notifications", "/settings/data",
             "/api/v1/customers/acme/members", "/api/v1/sessions", "/api/v1/tokens"]


@pytest.mark.parametrize("role", ["viewer", "manager"])
def test_what_takes_an_owner(house, post, role):
    _, ben, _ = joined(house, post, role)
    head = house.app.extensions["iw_store"].head()
    for method, path in OWNERS:
        answer = ben.open(path, method=method, json={})
        assert answer.status_code == 403, path
    assert house.app.extensions["iw_store"].head() == head
    for path in EVERYBODY:
        answer = ben.get(path)
        assert answer.status_code == 200, path
    page = ben.get("/settings/people").text
    assert "Invite somebody" not in page and "Remove" not in page
    assert ben.post("/api/v1/tokens", json={"name": "mine", "scope": "read"}).status_code == 201


def test_an_engineer_has_own_settings_and_no_company(house):
    engineer = house.client("eng@iw.test")
    assert engineer.get("/settings").location == "/settings/security"
    for path in ("/settings/security", "/settings/tokens", "/settings/notifications"):
        page = engineer.get(path)
        assert page.status_code == 200 and "/settings/people" not in page.text
    for path in ("/settings/people", "/settings/data"):
        assert engineer.get(path).status_code == 404
    assert "ann@acme.test" not in {m["email"] for m in engineer.get(
        "/api/v1/customers/bolt/members").json["members"]}


# ---- API tokens ------------------------------------------------------------------------------

def test_a_token_that_reads_changes_nothing(house):
    client = house.client("ann@acme.test")
    made = client.post("/api/v1/tokens", json={"name": "r", "scope": "read", "days": 7}).json
    machine, bearer = house.client(), {"Authorization": f"Bearer {made['token']}"}
    team = "/api/v1/customers/acme/employees"
    assert machine.get(team, headers=bearer).status_code == 200
    head = house.app.extensions["iw_store"].head()
    for rule in house.app.url_map.iter_rules():
        for method in rule.methods - {"GET", "HEAD", "OPTIONS"}:
            view = house.app.view_functions[rule.endpoint]
            if view.access not in ("account", "engineer"):
                continue
            from tests.webapp.test_routes import path
            answer = machine.open(path(rule, "acme", house.pulse), method=method, json={},
                                  headers=bearer)
            assert answer.status_code == 403, rule
    assert house.app.extensions["iw_store"].head() == head
    listed = client.get("/api/v1/tokens").json["tokens"]
    assert listed[0]["scope"] == "read" and listed[0]["last_used_at"]


def test_a_token_makes_no_token_and_ends_no_session(house):
    client = house.client("ann@acme.test")
    token = client.post("/api/v1/tokens", json={"name": "w"}).json["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    for method, path in (("POST", "tokens"), ("DELETE", "sessions"),
                         ("POST", "customers/acme/closure")):
        answer = house.client().open(f"/api/v1/{path}", method=method, headers=bearer,
                                     json={"name": "x"})
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "person")


def test_a_token_ends_on_its_day(house):
    client = house.client("ann@acme.test")
    token = client.post("/api/v1/tokens", json={"name": "w", "days": 1}).json["token"]
    with house.app.app_context():
        db.session.query(ApiToken).update({"expires_at": now() - timedelta(seconds=1)})
        db.session.commit()
    assert house.client().get("/api/v1/session", headers={"Authorization": f"Bearer {token}"}
                              ).status_code == 401
    assert client.get("/api/v1/tokens").json["tokens"][0]["expired"] is True
    for wrong in ({"scope": "all"}, {"days": 0}, {"days": 366}, {"name": ""}):
        assert client.post("/api/v1/tokens", json={"name": "w"} | wrong).status_code == 422


def test_a_token_that_reads_looks_and_does_not_talk(house):
    client = house.client("ann@acme.test")
    token = client.post("/api/v1/tokens", json={"name": "r", "scope": "read"}).json["token"]

    def ask(kind: str):
        return house.client().get("/edge/authorize", headers={
            "Authorization": f"Bearer {token}", "X-Forwarded-Uri": "/",
            "X-Forwarded-Host": f"{house.pulse}.{kind}.iw.localhost:2000"})
    assert ask("gw").status_code == 403
    assert ask("vnc").headers["X-Desk-Access"] == "view"


def test_pages_of_tokens_show_a_secret_once(house):
    client = house.client("ann@acme.test")
    csrf = {"csrf_token": client.environ_base["HTTP_X_CSRF_TOKEN"]}
    page = client.post("/settings/tokens", data=csrf | {"name": "Reports", "scope": "read",
                                                        "days": "30"})
    secret = re.search(r"iw_[\w-]{43}", page.text)[0]
    assert secret not in client.get("/settings/tokens").text
    [token] = client.get("/api/v1/tokens").json["tokens"]
    assert client.post(f"/settings/tokens/{token['id']}/revoke", data=csrf).status_code == 303
    assert client.get("/api/v1/tokens").json["tokens"] == []


def test_the_people_module_s_roles_are_those_of_the_house():
    assert people.ROLES == ("viewer", "manager", "owner")
