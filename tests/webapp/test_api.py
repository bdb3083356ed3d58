from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.webapp.conftest import PASSWORD
from webapp.models import Account, LoginSession, db, digest

TEAM = "/api/v1/customers/acme/employees"


def test_an_employee_s_life(house):
    client = house.client("ann@acme.test")
    hired = client.post(TEAM, json={"name": "Echo", "role": "Sales", "instructions": "Be kind.\n"})
    assert hired.status_code == 201
    echo = hired.json["employee"]
    assert (echo["state"], echo["health_status"]) == ("running", "Progressing")
    assert echo["reason"]
    path = f"{TEAM}/{echo['id']}"
    assert client.patch(path, json={"role": "Support"}).json["employee"]["role"] == "Support"
    assert client.post(f"{path}/pause").json["employee"]["state"] == "paused"
    assert client.post(f"{path}/resume").json["employee"]["state"] == "running"
    assert client.post(f"{path}/retry").status_code == 200
    assert client.post(f"{path}/retire").json["employee"]["state"] == "retired"
    again = client.post(f"{path}/resume")
    assert (again.status_code, again.json["error"]["code"]) == (409, "not_possible")
    info = house.app.extensions["iw_store"].commit_info(hired.json["commit"])
    assert info.author_email == "ann@acme.test"


def test_seats_are_never_passed_by_parallel_hires(house):
    clients = [house.client("ann@acme.test") for _ in range(4)]

    def hire(number: int) -> int:
        return clients[number % 4].post(TEAM, json={"name": "E", "role": "S"}).status_code
    with ThreadPoolExecutor(4) as workers:
        codes = list(workers.map(hire, range(50)))
    assert codes.count(201) == 2 and codes.count(409) == 48  # three seats, one was taken
    assert clients[0].get("/api/v1/customers/acme").json["customer"]["seats_taken"] == 3


def test_bad_input_names_each_field(house):
    client = house.client("ann@acme.test")
    answer = client.post(TEAM, json={"name": "", "resources": {"cpus": "many"}, "colour": "red"})
    assert answer.status_code == 422
    found = {v["field"] for v in answer.json["error"]["violations"]}
    assert {"name", "resources.cpus", "-"} <= found
    too_big = client.post(TEAM, json={"name": "E", "role": "S", "resources": {"cpus": 64}})
    assert too_big.json["error"]["violations"][0]["field"] == "spec.resources.cpus"
    assert client.post(TEAM, data="{", content_type="application/json").status_code == 422


def test_tokens_are_shown_once_work_and_end(house):
    client = house.client("ann@acme.test")
    made = client.post("/api/v1/tokens", json={"name": "ci"}).json
    machine = house.client()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert machine.get(TEAM, headers=bearer).status_code == 200
    hired = machine.post(TEAM, headers=bearer, json={"name": "E", "role": "S"})
    assert hired.status_code == 201, "no browser sends a token by itself: it needs no CSRF token"
    assert made["token"] not in client.get("/api/v1/tokens").text
    other = house.client("ann@bolt.test")
    assert other.delete(f"/api/v1/tokens/{made['id']}").status_code == 404
    assert client.delete(f"/api/v1/tokens/{made['id']}").status_code == 200
    assert machine.get(TEAM, headers=bearer).status_code == 401


def test_engineers_see_everybody_and_create_customers(house):
    engineer = house.client("eng@iw.test")
    assert len(engineer.get("/api/v1/customers").json["customers"]) == 2
    made = engineer.post("/api/v1/customers", json={"id": "cube", "name": "Cube", "seats": 1})
    assert made.status_code == 201
    ann = house.client("ann@acme.test")
    assert ann.post("/api/v1/customers", json={}).status_code == 403
    assert [c["id"] for c in ann.get("/api/v1/customers").json["customers"]] == ["acme"]


def test_sign_in_says_nothing_of_who_exists_and_is_throttled(house):
    client = house.client()

    def attempt(email: str, password: str):
        return client.post("/api/v1/session", json={"email": email, "password": password})
    wrong, nobody = attempt("ann@acme.test", "wrong"), attempt("nobody@acme.test", "wrong")
    assert (wrong.status_code, wrong.json) == (401, nobody.json)
    for _ in range(4):
        attempt("ann@acme.test", "wrong")
    assert attempt("ann@acme.test", PASSWORD).status_code == 429
    assert attempt("ann@bolt.test", PASSWORD).status_code == 200


def test_passwords_are_argon2id_and_sessions_are_kept_as_digests(house):
    client = house.client("ann@acme.test")
    cookie = client.get_cookie("iw_session")
    assert cookie.http_only and cookie.same_site == "Lax"
    with house.app.app_context():
        account = Account.query.filter_by(email="ann@acme.test").one()
        assert account.password_hash.startswith("$argon2id$")
        assert db.session.get(LoginSession, cookie.value) is None
        assert db.session.get(LoginSession, digest(cookie.value)) is not None
    assert client.delete("/api/v1/session").status_code == 200
    client.set_cookie("iw_session", cookie.value)
    assert client.get(TEAM).status_code == 401


def test_the_stream_tells_of_a_hire(house):
    client = house.client("ann@acme.test")
    stream = client.get("/api/v1/customers/acme/events/stream").response
    assert b"retry" in next(stream)
    assert b"event: team" in next(stream)
    client.post(TEAM, json={"name": "Echo", "role": "S"})
    assert b"Echo" in next(stream)


def test_odd_input_gets_an_answer_and_no_fault(house):
    client = house.client("ann@acme.test")
    at = "/api/v1/customers/acme"
    for query in ("after=²", "after=٣", "after=99999999999999999999999", "after=-1", "after=1e9",
                  "limit=²", "limit=0", "limit=99999999999999999999", "after=%00", "after=%ff"):
        assert client.get(f"{at}/events?{query}").status_code == 200, query
    assert client.get(f"{at}/receipts?limit=²&revision=abcd").status_code == 200
    for odd in ("%ff%00", "%00", "zz", "x" * 500):
        assert client.get(f"{at}/receipts?revision={odd}").status_code == 422
    page = client.post("/sign-in", data={"email": "a\0b@c.test", "password": "x\0" * 9},
                       headers={"Origin": "http://app.iw.localhost:2000"})
    assert page.status_code < 500
    hire = f"{at}/employees"
    for body in ('{"name": "\\ud800", "role": "R"}', '{"name": "A", "role": "\\udfff"}',
                 '{"name": "A", "role": "R", "model": {"monthly_budget_usd": NaN}}',
                 '{"name": "A", "role": "R", "resources": {"cpus": Infinity}}',
                 '{"name": "A", "role": "R", "resources": {"cpus": 1e999}}',
                 '{"name": "A", "role": ' + "[" * 100_000 + "]" * 100_000 + "}",
                 '{"name": "\\u0000", "role": "R"}', "[" * 50_000, "nul", '"text"', "{}"):
        answer = client.post(hire, data=body, content_type="application/json")
        assert answer.status_code == 422, (body[:80], answer.text)
    spelt = client.post(hire, json={"name": "A", "role": "Knows what \\u0000 means"})
    assert spelt.status_code == 201, "six characters of text are no NUL"
    for shown in ("é", "\udcff", "x" * 5000):
        refused = client.post(hire, json={"name": "A", "role": "R"},
                              headers={"X-CSRF-Token": shown.encode("utf-8", "replace")
                                       .decode("latin-1")})
        assert refused.status_code == 403
    assert house.client().get("/api/v1/session", headers={
        "Authorization": "Bearer \xff\xfe"}).status_code == 401
