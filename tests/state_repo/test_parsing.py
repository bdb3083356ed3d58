"""Documents: what is written is read again, and every mistake is named with its line."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_repo.documents import (
    AlertReceiver,
    Alerts,
    Billing,
    Customer,
    Employee,
    Freeze,
    IgnoredDifference,
    MailServer,
    Model,
    Plan,
    PlanLimits,
    Platform,
    Resources,
    SeatRange,
)
from state_repo.parsing import DocumentError, dump, parse
from state_repo.schema import SCHEMAS, rendered

IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
PULSE = Employee("pulse-7f3k2a", "acme", "Pulse", "Marketing assistant", IMAGE,
                 skills=("web-research",), instructions="Be kind.\nBe brief.\n")
line = st.text(st.characters(exclude_categories=("Cs", "Cc"),
                             exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
               min_size=1, max_size=40).filter(
    lambda text: any(unicodedata.category(c)[0] in "LNSP" for c in text))
names = st.from_regex(r"[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,6}){0,2}", fullmatch=True)
employees = st.builds(
    Employee, id=names, customer=names, name=line, role=line, image=st.just(IMAGE),
    state=st.sampled_from(["running", "paused"]),
    model=st.builds(Model, name=line, monthly_budget_usd=st.floats(0, 1000),
                    requests_per_minute=st.integers(1, 1000)),
    resources=st.builds(Resources, cpus=st.floats(0.1, 64), memory_mb=st.integers(64, 9999),
                        pids=st.integers(16, 999)),
    skills=st.lists(names, unique=True, max_size=4).map(tuple),
    instructions=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\x85"),
                         max_size=200).filter(str.isprintable) | st.just("a\n b\n\nc\n"),
    restarts=st.integers(0, 99))


@given(employees)
def test_an_employee_is_read_as_it_was_written(employee):
    text = dump(employee)
    assert parse(text, employee.path) == employee
    assert dump(parse(text, employee.path)) == text


ALERTS = Alerts((AlertReceiver(email="a@iw.test"), AlertReceiver(slack="alert-slack")), MailServer(
    "mail.iw.test:587", "alerts@iw.test", "iw", "alert-mail", tls=False), "alert-heartbeat", 0.5)


def test_customer_and_platform_are_read_as_they_were_written():
    plans = {"team": Plan("Team", 7900, "eur", "year", "price_1Qx", "For a few.", 14,
                          SeatRange(3, 2, 20), PlanLimits(2.0, 4096), 25.0, offered=False),
             "bare": Plan("Bare", 0)}
    for document in (Customer("acme", "Acme", 10, "10.192.0.0/25", suspended=True, plan="team"),
                     Platform(images={"employee": IMAGE}, grace_days=3, plans=plans,
                              billing=Billing(9, 8, 7), alerts=ALERTS),
                     replace(PULSE, state="paused", seat=False)):
        assert parse(dump(document), document.path) == document


@pytest.mark.parametrize("written, says", [
    ("receivers: [{email: a@iw.test, slack: s}]", "spec.alerts.receivers[0]"),
    ("receivers: [{}]", "spec.alerts.receivers[0]"),
    ("receivers: [{email: nobody}]", "spec.alerts.receivers[0].email"),
    ("receivers: [{webhook: 'https://x'}]", "spec.alerts.receivers[0].webhook"),
    ("mail: {server: mail.iw.test, from: a@iw.test}", "spec.alerts.mail.server")])
def test_who_is_told_of_alerts_is_named_in_one_way(written, says):
    text = dump(Platform(images={"employee": IMAGE})).replace(
        "alerts:\n", f"alerts:\n    {written}\n")
    with pytest.raises(DocumentError) as told:
        parse(text, "platform.yaml")
    assert [v.field for v in told.value.violations] == [says]


def test_several_lines_of_text_stay_several_lines_for_review():
    assert "instructions: |\n    Be kind.\n    Be brief.\n" in dump(PULSE)


def errors(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(text, "e.yaml")
    return [str(v) for v in caught.value.violations]


def test_every_mistake_of_a_file_is_reported_at_once_with_its_line():
    text = (dump(PULSE).replace("cpus: 1.0", "cpus: many\n    gpus: 1")
            .replace("state: running", "state: lazy").replace("  role: Marketing assistant\n", ""))
    found = errors(text)
    assert len(found) == 4
    assert found[0].startswith("e.yaml:3 metadata.role: is missing")
    assert found[1].startswith("e.yaml:8 spec.state: is 'lazy'; write one of warm, running, paused")
    assert found[2].startswith("e.yaml:16 spec.resources.cpus: is 'many'; write a value of type")
    assert found[3].startswith("e.yaml:17 spec.resources.gpus: is not known; use one of cpus")


@pytest.mark.parametrize(("text", "says"), [
    ("", "is empty"), ("a: [", "is no valid YAML"), ("kind: Robot", "write one of Platform"),
    ("kind: Employee\nkind: Customer", "stands here twice"),
    ("a: &x 1\nb: *x", "alias"), ("a: !!python/object:os.system 1", "tag"),
    ("a: 2024-01-01", "put it in quotes"), ("[1]", "kind"), ("x" * 300_000, "larger than"),
    ("kind: Employee\nmetadata: 3\nspec: []\napiVersion: v0", "metadata: is 3"),
])
def test_what_is_no_document_is_refused_in_words(text, says):
    assert any(says in error for error in errors(text))


@given(st.text(max_size=300))
def test_no_text_breaks_the_parser(text):
    try:
        parse(text, "e.yaml")
    except DocumentError as error:
        assert error.violations


@pytest.mark.parametrize("time", [
    "tomorrow", "2026-12-01", "2026-12-01T08:00:00", "2026-13-01T08:00:00Z", "2026-12-01T25:00:00Z",
    "2026-12-01T08:00:00+99:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-12-01T08Z"])
def test_a_time_is_one_that_can_be_reckoned_with(time):
    retired = dump(replace(PULSE, state="retired", retired_at="2026-01-01T00:00:00Z"))
    parse(retired, PULSE.path)
    (said,) = errors(retired.replace("2026-01-01T00:00:00Z", time))
    assert "spec.retiredAt: is" in said and "such as 2026-12-01T08:00:00Z" in said
    frozen = Customer("acme", "Acme", 1, "10.192.0.0/25",
                      freeze=Freeze("x", "2026-12-01T08:00:00Z"))
    assert parse(dump(frozen), frozen.path) == frozen
    with pytest.raises(DocumentError, match=r"spec\.freeze\.until"):
        parse(dump(frozen).replace("2026-12-01T08:00:00Z", time), frozen.path)


def test_what_may_differ_has_a_reason_and_an_end():
    rules = (IgnoredDifference("memory", "it starves", "2026-12-01T08:00:00Z", "acme"),
             IgnoredDifference("cpus", "we measure", "2026-12-01T08:00:00Z"))
    lenient = Platform(images={"employee": PULSE.image}, ignore_differences=rules)
    text = dump(lenient)
    assert parse(text, lenient.path) == lenient and text.count("employee:") == 1
    for field in ("reason", "until"):
        lacking = "\n".join(line for line in text.split("\n") if f"{field}:" not in line)
        with pytest.raises(DocumentError, match=rf"spec\.ignoreDifferences.*{field}"):
            parse(lacking, lenient.path)
    with pytest.raises(DocumentError, match=r"spec\.ignoreDifferences"):
        parse(text.replace("memory", "image"), lenient.path)


def test_retirement_has_its_time_and_nothing_else_has():
    retired = dump(PULSE).replace("state: running", "state: retired")
    assert "spec.retiredAt: is missing" in errors(retired)[0]
    lively = dump(PULSE).replace(
        "state: running", "state: running\n  retiredAt: '2026-01-01T00:00:00Z'")
    assert "remove it" in errors(lively)[0]


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_the_published_schema_is_the_code_s(kind):
    published = Path(__file__).parents[2] / "docs" / "schema" / f"{kind.lower()}.json"
    assert published.read_text() == rendered(kind), "run: python -m state_repo.schema"


@pytest.mark.parametrize(("text", "says"), [
    ("{{}}", "a key that is no text"), ("? [1]\n: 2\n", "a key that is no text"),
    ("1: a\nb: c\n", "a key that is no text"), ("[" * 100_000, "is nested too deeply"),
    ("a: " + "{a: " * 50 + "}" * 50, "is nested too deeply"), ("a: 0b_\n", "can't be read"),
])
def test_what_no_document_holds_is_told_and_breaks_nothing(text, says):
    with pytest.raises(DocumentError, match=says):
        parse(text, "e.yaml")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1.0e+999"])
@pytest.mark.parametrize("field", ["cpus", "monthlyBudgetUsd"])
def test_numbers_are_finite(number, field):
    old = {"cpus": "cpus: 1.0", "monthlyBudgetUsd": "monthlyBudgetUsd: 20.0"}[field]
    text = dump(PULSE)
    assert old in text
    with pytest.raises(DocumentError, match="no finite number") as told:
        parse(text.replace(old, f"{field}: {number}"), PULSE.path)
    assert field in told.value.violations[0].field and told.value.violations[0].line > 1
    with pytest.raises(DocumentError):
        parse(dump(replace(PULSE, resources=Resources(cpus=float("nan")))), PULSE.path)


@pytest.mark.parametrize(("fields", "says"), [
    ({"name": "\u202egpj.exe"}, "steer the text"), ({"role": "a\u2066b"}, "steer the text"),
    ({"name": "\u200b\u200d"}, "nothing that can be seen"), ({"name": "\u2060"}, "can be seen"),
    ({"name": "a\x9bm"}, "steer the text"), ({"instructions": "be\x00kind"}, "control character"),
    ({"instructions": "be \x1b[31mred"}, "control character"),
])
def test_what_people_see_is_what_is_written(fields, says):
    with pytest.raises(DocumentError, match=says):
        parse(dump(replace(PULSE, **fields)), PULSE.path)


@pytest.mark.parametrize("name", ["Zoë", "日本", "مريم", "👩‍💻 Ada", "O’Neill & Söhne", "क्ष"])
def test_names_of_all_the_world_are_names(name):
    assert parse(dump(replace(PULSE, name=name)), PULSE.path).name == name
