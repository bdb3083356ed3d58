"""The team's pages and what they ask: words, hiring, steps, activity, the screen's picture."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from state_repo import changes
from tests.rows import put_employee, put_receipt, put_stack
from tests.webapp.conftest import ENGINEER, PASSWORD
from tools import catalogue
from webapp import accounts, roles, words, workspace
from webapp.hiring import LIMITS

TEAM = "/api/v1/customers/acme/employees"


def seen(state="running", health="Healthy", sync="Synced", reason="", asleep=None):
    return {"state": state, "health_status": health, "sync_status": sync, "reason": reason,
            "asleep_since": asleep}


@pytest.mark.parametrize(("given", "group", "label"), [
    (seen(), "work", "At work"),
    (seen(sync="OutOfSync"), "work", "At work, changing"),
    (seen(asleep="2026-01-01T00:00:00+00:00"), "asleep", "Asleep"),
    (seen(health="Progressing", sync="OutOfSync"), "starting", "Starting"),
    (seen(health="Degraded"), "attention", "Needs attention"),
    (seen(health="Missing", sync="OutOfSync"), "attention", "Needs attention"),
    (seen("paused", "Suspended"), "paused", "Paused by you"),
    (seen("paused", "Healthy"), "paused", "Being paused"),
    (seen("paused", "Degraded"), "attention", "Needs attention"),
    (seen("running", "Suspended", reason="paused"), "starting", "Starting"),
    (seen("running", "Suspended", reason="its company is suspended"), "paused", "Stopped"),
    (seen("retired", "Suspended"), "retired", "Retired"),
    (seen("vanished", "Missing"), "attention", "Needs attention"),
])
def test_every_state_has_plain_words(given, group, label):
    said = words.summary(given)
    assert (said["group"], said["label"]) == (group, label)


@pytest.mark.parametrize("reason", [
    "its container is being made", "its health check fails; see `iw logs`, or retry it",
    "its chat port is not open yet, 90 s after its start; see `iw logs`, or retry it",
    "nothing works; tried again at 12:00:00 UTC"])
def test_reasons_hold_no_engineer_s_words(reason):
    plain = words.plain(reason)
    assert plain and "container" not in plain and "iw " not in plain and "UTC" not in plain


def test_roles_name_skills_of_the_first_catalogue():
    for role in roles.ROLES:
        assert set(role.skills) <= set(catalogue.shipped())
        assert len(role.title) <= LIMITS["role"]


def test_the_catalogue_is_shown_to_whoever_is_signed_in(house):
    assert house.client().get("/api/v1/skills").status_code == 401
    shown = house.client("ann@acme.test").get("/api/v1/skills").json["skills"]
    found = {skill["name"]: skill for skill in shown}
    assert found.keys() == catalogue.shipped().keys()
    notes = found["meeting-notes"]
    assert (notes["title"], notes["version"]) == ("Meeting notes", "1.0")
    assert notes["uses"] == ["read", "write", "edit"] and "meetings/today.txt" in notes["example"]


def test_a_role_s_skills_that_the_catalogue_lost_are_left_out(house):
    client, store = house.client("ann@acme.test"), house.app.extensions["iw_store"]
    token = client.environ_base["HTTP_X_CSRF_TOKEN"]
    store.commit(ENGINEER, "Gone", lambda _: {"skills/inbox-triage/SKILL.md": None})
    posted = client.post("/hire", data={"csrf_token": token, "role_id": "support", "name": "Echo",
                                        "budget": "12.5"})
    made = client.get(f"{TEAM}/{posted.location.rpartition('/')[2]}").json["employee"]
    assert made["skills"] == ["customer-replies", "clear-writing"]


def test_every_role_s_defaults_pass_the_rules(house):
    client = house.client("ann@acme.test")
    for role in roles.ROLES:
        answer = client.post(f"{TEAM}/check", json={
            "name": "Nova", "role": role.title, "instructions": role.instructions,
            "skills": list(role.skills), "model": {"monthly_budget_usd": role.budget_usd}})
        assert answer.json == {"problems": []}, role.id


def test_a_wish_is_judged_by_the_rules_of_a_commit_and_nothing_is_made(house):
    client, store = house.client("ann@acme.test"), house.app.extensions["iw_store"]
    head = store.head()
    wish = {"name": "", "role": "x" * 81, "skills": ["No Such"],
            "model": {"monthly_budget_usd": -1}}
    found = {p["field"] for p in client.post(f"{TEAM}/check", json=wish).json["problems"]}
    assert found == {"name", "role", "skills", "budget"}
    refused = client.post(TEAM, json={"name": "E", "role": "S", "model": {
        "monthly_budget_usd": -1}})
    assert refused.status_code == 422, "the same rules at the hire itself"
    assert store.head() == head
    for name in "AB":
        client.post(TEAM, json={"name": name, "role": "S"})
    full = client.post(f"{TEAM}/check", json={"name": "E", "role": "S"}).json["problems"]
    assert [p["field"] for p in full] == ["seats"]


def test_the_budget_is_hired_with_and_changed_alone(house):
    client, store = house.client("ann@acme.test"), house.app.extensions["iw_store"]
    made = client.post(TEAM, json={"name": "E", "role": "S", "model": {
        "monthly_budget_usd": 5}}).json["employee"]
    assert made["model"] == {"monthly_budget_usd": 5.0}
    changes.rotate_key(store, ENGINEER, "acme", made["id"])
    changed = client.patch(f"{TEAM}/{made['id']}", json={"model": {"monthly_budget_usd": 7.5}})
    assert changed.json["employee"]["monthly_budget_usd"] == 7.5
    model = store.read_customer(store.head(), "acme").employees[made["id"]].model
    assert (model.monthly_budget_usd, model.key_version) == (7.5, 2)


def test_the_form_works_without_javascript(house):
    client = house.client("ann@acme.test")
    token = client.environ_base["HTTP_X_CSRF_TOKEN"]
    page = client.get("/hire?role_id=support")
    assert page.status_code == 200 and b"Customer support" in page.data
    wrong = client.post("/hire", data={"csrf_token": token, "role_id": "support", "name": "",
                                       "instructions": "Mine, and kept."})
    assert wrong.status_code == 422
    assert b"Give it a name" in wrong.data and b"Mine, and kept." in wrong.data
    posted = client.post("/hire", data={"csrf_token": token, "role_id": "support",
                                        "name": "Echo", "budget": "12.5"})
    assert posted.status_code == 303
    employee = posted.location.rpartition("/")[2]
    made = client.get(f"{TEAM}/{employee}").json["employee"]
    assert made["role"] == "Customer support" and made["skills"] == [
        "customer-replies", "inbox-triage", "clear-writing"]
    assert made["model"]["monthly_budget_usd"] == 12.5 and "our knowledge" in made["instructions"]
    steps = client.get(posted.location)
    assert steps.status_code == 200 and b"Your order is written down" in steps.data
    assert client.get(f"/employees/{employee}").location == f"/hire/{employee}"


def test_steps_follow_what_the_reconciler_saw(house):
    client = house.client("ann@acme.test")
    made = client.post(TEAM, json={"name": "Echo", "role": "S"}).json["employee"]["id"]

    def steps() -> list[str]:
        answer = client.get(f"{TEAM}/{made}/progress").json["progress"]
        return [step["state"] for step in answer["steps"]]
    row = {"customer": "acme", "name": "Echo", "role": "S", "desired_state": "running",
           "sync_status": "OutOfSync", "health_status": "Progressing", "reason": "its container "
           "is being made"}
    assert steps() == ["done", "now", "waiting", "waiting", "waiting"]
    put_employee(house.status, made, **row | {"desired_state": "warm",
                                                "health_status": "Healthy"})
    assert steps()[1] == "now", "what was seen of the blank says nothing of the hire"
    put_employee(house.status, made, **row)
    assert steps() == ["done", "done", "now", "waiting", "waiting"]
    put_employee(house.status, made, health_status="Missing", reason="no room on the disk")
    answer = client.get(f"{TEAM}/{made}/progress").json["progress"]
    assert answer["failed"] and answer["steps"][2]["reason"] == "no room on the disk"
    put_stack(house.status, "customer/acme", waiting_for="policy")
    assert steps()[1] == "failed"
    put_stack(house.status, "customer/acme", waiting_for=None)
    put_employee(house.status, made, container_id="c", health_status="Progressing",
                                 sync_status="Synced", reason="it started and gets ready")
    assert steps() == ["done", "done", "done", "now", "waiting"]
    put_employee(house.status, made, health_status="Healthy", reason="")
    assert steps() == ["done"] * 5


def test_activity_tells_of_one_employee_in_plain_words(house):
    client, now = house.client("ann@acme.test"), datetime.now(UTC)
    add = {"stack": "customer/acme", "cause": "commit", "author": "Ann", "started_at": now,
           "total_s": 0.94, "revision": "a" * 40}
    put_receipt(house.status, **add, subject="Hire Pulse for acme", result="succeeded",
                             changes=[{"op": "create", "name": f"iw-emp-{house.pulse}"}])
    put_receipt(house.status, **add, subject="Hire Other for acme", result="succeeded",
                             changes=[{"op": "create", "name": "iw-emp-other-aaaaaa"}])
    put_receipt(house.status, **add, subject=f"Pause {house.pulse} (acme)", result="failed",
                             message="its container is being removed")
    house.status.add_event("Degraded", "Pulse is Synced, Degraded: its health check fails; see "
                           "`iw logs`, or retry it", "acme", house.pulse)
    house.status.add_event("Healthy", "Ready to be hired is Synced, Healthy", "acme", house.pulse)
    told = client.get(f"{TEAM}/{house.pulse}/activity").json["activity"]
    texts = {row["text"]: row for row in told}
    assert set(texts) == {"Pulse was hired", "Paused: did not work", "Needs attention"}
    assert texts["Pulse was hired"]["seconds"] == 0.9 and texts["Pulse was hired"]["by"] == "Ann"
    assert texts["Needs attention"]["detail"] == "it does not answer as it should"


def test_an_address_is_minted_for_people_only(house):
    client = house.client("ann@acme.test")
    made = client.post(f"{TEAM}/{house.pulse}/open", json={"kind": "browser"}).json["url"]
    assert made.startswith(f"http://{house.pulse}.vnc.iw.localhost:2000/?__t=")
    token = client.post("/api/v1/tokens", json={"name": "t"}).json["token"]
    machine = house.client().post(f"{TEAM}/{house.pulse}/open", json={"kind": "chat"},
                                  headers={"Authorization": f"Bearer {token}"})
    assert machine.status_code == 409


def test_a_thumbnail_is_cached_and_wakes_nobody(house, monkeypatch):
    asked = []

    class Picture:
        @staticmethod
        def pieces():
            return [b"\xff\xd8picture"]

    def ask(_, method, parts, **__):
        asked.append((method, *parts))
        return Picture()
    monkeypatch.setattr(workspace, "ask", ask)
    client, path = house.client("ann@acme.test"), f"{TEAM}/{house.pulse}/thumbnail"
    first = client.get(path)
    assert (first.status_code, first.mimetype) == (200, "image/jpeg")
    assert first.cache_control.private and first.cache_control.max_age == 5
    assert client.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert asked == [("GET", "employees", house.pulse, "thumbnail")] * 2
    put_employee(house.status, house.pulse, asleep_since=datetime.now(UTC))
    assert client.get(path).status_code == 204
    put_employee(house.status, house.pulse, asleep_since=None, health_status="Progressing")
    assert client.get(path).status_code == 204 and len(asked) == 2


def test_a_viewer_sees_everything_and_is_offered_nothing(house):
    accounts.ensure(house.app.config["INSTANCE"], "vic@acme.test", PASSWORD, customer="acme",
                    role="viewer")
    client = house.client("vic@acme.test")
    team = client.get("/")
    assert team.status_code == 200 and b"Pulse" in team.data
    assert b'href="/hire' not in team.data and b"Retire" not in team.data
    page = client.get(f"/employees/{house.pulse}")
    assert page.status_code == 200 and b"Save" not in page.data and b"Pause" not in page.data
    assert client.get("/hire").status_code == 403
    assert client.post(f"{TEAM}/{house.pulse}/open", json={"kind": "chat"}).status_code == 200


def test_the_frame_says_how_long_it_waits_and_then_what_to_do(house, monkeypatch):
    put_employee(house.status, house.pulse, health_status="Progressing",
                                 reason="its container is being made")
    token = house.client("ann@acme.test").post("/api/v1/tokens", json={"name": "t"}).json["token"]

    def shown() -> str:
        return house.client().get("/edge/authorize", headers={
            "X-Forwarded-Host": f"{house.pulse}.gw.iw.localhost:2000", "X-Forwarded-Uri": "/",
            "Authorization": f"Bearer {token}"}).text
    assert re.search(r"Its workplace is being set up, \d+ s so far", shown())
    assert "try again" not in shown()
    monkeypatch.setattr("webapp.edge.LONG_S", -1.0)
    assert "Your dashboard can try again" in shown()
