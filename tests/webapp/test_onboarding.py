"""Onboarding's and the quiz's API: what is kept, what is refused, and what a failure leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from state_repo import changes
from state_repo.documents import OfferedModel
from tests.pages.fake_reconciler import FakeReconciler
from tests.rows import put_employee
from tests.webapp.conftest import ENGINEER, PASSWORD
from webapp import accounts, company, onboarding, quizzes
from webapp.errors import Problem
from webapp.models import db, now
from webapp.quizzes import LONGEST_S, Quiz

PATH = "/api/v1/customers/acme/onboarding"
ANSWERS = {"name": "Nova", "role": "Writer", "tone": "Brief and clear", "unsure": "Maria",
           "facts": "Phone: 1234"}


def keep(client, version: int, step: str = "review", **answers: str):
    return client.put(PATH, json={"version": version, "step": step, "answers": ANSWERS | answers})


@pytest.fixture
def ann(house):
    return house.client("ann@acme.test")


@pytest.fixture
def reconciler(house):
    made = FakeReconciler(house.app.config["INSTANCE"].socket)
    yield made
    made.close()


def staff(house, customer: str = "acme") -> list:
    return [e for e in house.app.extensions["iw_store"].snapshot().customers[customer]
            .employees.values() if e.name == "Nova"]


def test_a_higher_version_replaces_and_an_older_one_does_not(ann):
    assert ann.get(PATH).json == {"onboarding": None}
    assert keep(ann, 3, about="a").json["onboarding"]["version"] == 3
    for version in (1, 3):
        answer = keep(ann, version, about="b")
        assert answer.status_code == 409 and answer.json["error"]["code"] == "newer"
    assert keep(ann, 4, "voice", about="c").status_code == 200
    kept = ann.get(PATH).json["onboarding"]
    assert (kept["answers"]["about"], kept["step"], kept["version"]) == ("c", "voice", 4)


@pytest.mark.parametrize("body", [
    {"version": 0, "step": "job", "answers": {}}, {"version": 1, "step": "hire", "answers": {}},
    {"version": 1, "step": "job", "answers": {"password": "x"}},
    {"version": 1, "step": "job", "answers": {"name": "x" * 81}},
    {"version": 1, "step": "job", "answers": {"name": 3}}, {"version": 1, "step": "job"}, None])
def test_odd_answers_are_refused(ann, body):
    assert ann.put(PATH, json=body).status_code == 422
    assert ann.get(PATH).json["onboarding"] is None


def test_answers_are_one_person_s_own(house, ann):
    accounts.ensure(house.app.config["INSTANCE"], "ben@acme.test", PASSWORD, customer="acme",
                    role="manager")
    accounts.ensure(house.app.config["INSTANCE"], "vic@acme.test", PASSWORD, customer="acme",
                    role="viewer")
    keep(ann, 1)
    ben, vic = house.client("ben@acme.test"), house.client("vic@acme.test")
    assert ben.get(PATH).json["onboarding"] is None
    assert ben.delete(PATH).json == {"forgotten": False}
    assert keep(vic, 1).status_code == 403 and vic.get("/onboarding").status_code == 403
    assert house.client("eng@iw.test").get("/onboarding").status_code == 404
    assert ann.get(PATH).json["onboarding"]["version"] == 1


def test_a_hire_is_made_once_and_keeps_the_answers_still(house, ann):
    assert ann.post(f"{PATH}/hire").status_code == 409
    keep(ann, 1, name=" ")
    answer = ann.post(f"{PATH}/hire")
    assert answer.status_code == 422
    assert answer.json["error"]["violations"][0]["field"] == "name"
    keep(ann, 2)
    first, second = ann.post(f"{PATH}/hire"), ann.post(f"{PATH}/hire")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json["employee"]["id"] == second.json["employee"]["id"]
    (made,) = staff(house)
    assert "**When unsure, ask**: Maria" in made.instructions
    assert first.json["employee"]["reason"].startswith("it was just asked for")
    assert keep(ann, 9).json["error"]["code"] == "hired"
    assert ann.post(f"{PATH}/quiz").json["onboarding"]["step"] == "quiz"
    assert ann.get("/onboarding").location == f"/employees/{made.id}/quiz?first=1"
    assert ann.delete(PATH).json == {"forgotten": True}
    assert ann.post(f"{PATH}/quiz").status_code == 409
    assert b"What should a newcomer know about Acme?" in ann.get("/onboarding").data.replace(
        b"&#39;", b"'")


def test_a_hire_that_was_cut_short_after_its_commit_is_found_again(house, ann, monkeypatch):
    keep(ann, 1)

    def cut(*_):
        raise KeyboardInterrupt
    with monkeypatch.context() as patched:
        patched.setattr(onboarding.team, "committed", cut)
        with pytest.raises(KeyboardInterrupt):
            ann.post(f"{PATH}/hire")
    assert len(staff(house)) == 1
    answer = ann.post(f"{PATH}/hire")
    assert answer.status_code == 200 and answer.json["employee"]["id"] == staff(house)[0].id
    assert len(staff(house)) == 1


def test_without_a_seat_the_answers_stay(house, ann):
    store = house.app.extensions["iw_store"]
    changes.set_seats(store, ENGINEER, "acme", max_employees=1)
    keep(ann, 1)
    answer = ann.post(f"{PATH}/hire")
    assert answer.status_code == 409 and answer.json["error"]["code"] == "seat_limit"
    assert ann.get(PATH).json["onboarding"]["step"] == "review"
    changes.set_seats(store, ENGINEER, "acme", max_employees=2)
    assert ann.post(f"{PATH}/hire").status_code == 201


def test_who_was_hired_into_a_blank_is_not_well_before_it_was_taken_up(house, ann):
    keep(ann, 1)
    employee = ann.post(f"{PATH}/hire").json["employee"]["id"]
    put_employee(house.status, employee, customer="acme", name="Nova", role="M",
        desired_state="warm",
        sync_status="Synced", health_status="Healthy", reason="", address="10.192.0.2")
    shown = ann.get(f"/api/v1/customers/acme/employees/{employee}").json["employee"]
    assert (shown["sync_status"], shown["health_status"]) == ("OutOfSync", "Progressing")


def test_the_preview_commits_nothing(house, ann):
    head = house.app.extensions["iw_store"].head()
    answer = ann.post(f"{PATH}/preview", json={"answers": {"name": "Nova", "never": "Lie"}})
    assert answer.json == {"name": "Nova", "role": "", "missing": {"role": "job"},
                           "instructions": "### Rules\n\n**Never**\n\n- Lie\n"}
    assert house.app.extensions["iw_store"].head() == head


# ---- the quiz --------------------------------------------------------------------------------

@pytest.fixture
def nova(ann, reconciler):
    """Somebody who was taught, with one document to read."""
    reconciler.put("acme", "prices.md", b"The Kraken package costs 49 EUR.")
    reconciler.put("acme", "scan.pdf", b"not one")
    keep(ann, 1)
    return ann.post(f"{PATH}/hire").json["employee"]["id"]


def quiz_of(employee: str) -> str:
    return f"/api/v1/customers/acme/employees/{employee}/quiz"


def test_the_employee_is_asked_and_its_answers_are_kept(house, ann, nova, reconciler):
    asked = []

    def answer(employee: str, text: str) -> str:
        asked.append((employee, text))
        return "1. Brief and clear\n2. Maria\n3. 12\n4. 49 euros"
    reconciler.answer = answer
    taken = ann.post(quiz_of(nova))
    assert taken.status_code == 201
    ((employee, text),) = asked
    assert employee == nova and "What does Kraken package cost, according to prices.md?" in text
    quiz = taken.json["quiz"]
    assert (quiz["state"], quiz["score"], quiz["of"], quiz["demo"]) == ("taken", 3, 5, True)
    assert quiz["by"] == "ann@acme.test"
    assert [(i["answer"], i["expected"], i["right"]) for i in quiz["items"]][2:4] == [
        ("12", "1234", False), ("49 euros", "49 EUR", True)]
    reconciler.answer = lambda *_: "5. Writer"
    assert ann.post(quiz_of(nova)).json["quiz"]["score"] == 1
    kept = ann.get(quiz_of(nova)).json
    assert [q["score"] for q in kept["quizzes"]] == [1, 3] and kept["demo"]
    page = ann.get(f"/employees/{nova}/quiz").get_data(as_text=True)
    assert "1 of 5" in page and "3 of 5" in page and "demo model answers" in page


def test_with_a_real_model_nothing_is_said_of_the_demo(house, ann, nova, reconciler):
    changes.set_platform(house.app.extensions["iw_store"], ENGINEER, "M", lambda p: p.__class__(
        images=p.images, models={"default": OfferedModel("openai/gpt-5-mini", "key")}))
    assert ann.post(quiz_of(nova)).json["quiz"]["demo"] is False
    page = ann.get(f"/employees/{nova}/quiz").get_data(as_text=True)
    assert "demo model" not in page and "Teach it" in page


def test_no_answer_is_kept_with_its_reason(ann, nova, reconciler):
    reconciler.pause_s = 0

    def unable(*_):
        reconciler.fail_with = (409, "not_possible", "it gave no answer within 150 s")
        raise ConnectionError
    reconciler.answer = unable
    quiz = ann.post(quiz_of(nova)).json["quiz"]
    assert quiz["state"] == "failed" and quiz["score"] == 0 and quiz["why"]
    reconciler.fail_with = (503, "reconciler_away", "It restarts.")
    answer = ann.post(quiz_of(nova))
    assert answer.status_code == 503 and answer.json["error"]["message"] == "It restarts."
    assert len(ann.get(quiz_of(nova)).json["quizzes"]) == 1  # nobody was asked the second time


def test_one_at_a_time_and_one_that_was_cut_short_ends(house, ann, nova):
    with house.app.app_context(), Session(db.engine) as session:
        session.add(Quiz(customer="acme", employee=nova, by="ann@acme.test", taken_at=now()))
        session.commit()
    answer = ann.post(quiz_of(nova))
    assert answer.status_code == 409 and answer.json["error"]["code"] == "already"
    with house.app.app_context(), Session(db.engine) as session:
        session.get_one(Quiz, 1).taken_at = now() - timedelta(seconds=LONGEST_S + 30)
        session.commit()
    assert ann.get(quiz_of(nova)).json["quizzes"][0]["why"] == "it was cut short"
    assert ann.post(quiz_of(nova)).status_code == 201


def test_who_is_paused_takes_no_quiz(house, ann, nova):
    changes.pause(house.app.extensions["iw_store"], ENGINEER, "acme", nova)
    assert ann.post(quiz_of(nova)).status_code == 409
    assert b"Start the quiz" not in ann.get(f"/employees/{nova}/quiz").data


def test_without_a_shared_folder_yet_the_instructions_are_asked(house, ann, nova):
    def none_yet(*_, **__):
        raise Problem(404, "not_found", "there is no shared folder yet")
    with pytest.MonkeyPatch.context() as patched, house.app.app_context():
        patched.setattr(quizzes, "ask", none_yet)
        assert quizzes._texts("acme") == {}


def test_the_text_of_a_document_is_the_company_s_own(house, ann, reconciler):
    reconciler.put("acme", "a.md", b"Hello")
    assert ann.get("/api/v1/customers/acme/knowledge/text?name=a.md").data == b"Hello"
    bolt = house.client("ann@bolt.test")
    assert bolt.get("/api/v1/customers/acme/knowledge/text?name=a.md").status_code == 404
    assert bolt.get("/api/v1/customers/bolt/knowledge/text?name=a.md").status_code == 404


def test_a_company_s_end_takes_its_quizzes_along(house, ann, nova):
    ann.post(quiz_of(nova))
    with house.app.app_context():
        company._finish("acme")
        assert db.session.query(Quiz).count() == 0
        assert db.session.query(onboarding.Onboarding).count() == 0
