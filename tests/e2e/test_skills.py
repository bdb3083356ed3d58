"""Skills as a customer gives them: there at the next message, without a restart; and an example
task of each, done by a scripted model with the tools that the skill names."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from state_repo.documents import skill_path
from tests.conftest import docker
from tests.e2e.house import ENGINEER, House, until
from tests.e2e.work import Visitor, chromium, inside, signed_in, working_house
from tests.fake_provider import FakeProvider
from tools import catalogue

pytestmark = [pytest.mark.e2e, pytest.mark.employee, pytest.mark.long]
HERE = "http://localhost:6081/workspace"  # its own files, in its own browser

# By skill: the files that it finds, what it does after it has read how, and what it leaves behind.
TASKS: dict[str, tuple[dict[str, str], list[tuple[str, dict]], tuple[str, str]]] = {
    "web-research": (
        {"site/tools.html": "<h1>Pre-orders</h1><p>Crumb costs 29 euros a month.</p>"},
        [("browser", {"action": "open", "url": f"{HERE}/site/tools.html"}),
         ("write", {"path": "research/pre-orders.md",
                    "content": f"Crumb: 29 euros ({HERE}/site/tools.html, 2026-11-01)\n"})],
        ("research/pre-orders.md", "Crumb: 29 euros")),
    "clear-writing": (
        {"drafts/old.md": "Our voice is short."},
        [("read", {"path": "drafts/old.md"}),
         ("write", {"path": "drafts/returns.md",
                    "content": "# Send it back\n\nWithin 30 days.\n"})],
        ("drafts/returns.md", "Within 30 days.")),
    "customer-replies": (
        {},
        [("exec", {"command": "knowledge norway"}),
         ("write", {"path": "replies/norway.md", "content": "Yes, we do, in five days.\n"})],
        ("replies/norway.md", "in five days")),
    "spreadsheets": (
        {"tables/orders.csv": "month,amount\n1,10\n1,5\n2,7\n"},
        [("write", {"path": "tables/sums.py", "content":
            "import collections, csv\nsums = collections.Counter()\n"
            "for row in csv.DictReader(open('tables/orders.csv')):\n"
            "    sums[row['month']] += int(row['amount'])\n"
            "with open('tables/sums.csv', 'w') as out:\n"
            "    csv.writer(out).writerows([('month', 'sum'), *sorted(sums.items())])\n"}),
         ("exec", {"command": "python3 tables/sums.py"})],
        ("tables/sums.csv", "1,15")),
    "meeting-notes": (
        {"meetings/today.txt": "Ann: Bo sends the offer by Friday."},
        [("read", {"path": "meetings/today.txt"}),
         ("write", {"path": "meetings/2026-11-01-offer.md",
                    "content": "| Bo | sends the offer | Friday |\n"})],
        ("meetings/2026-11-01-offer.md", "sends the offer")),
    "inbox-triage": (
        {"inbox/1.txt": "From: Bo\n\nI wait for the offer since Monday."},
        [("ls", {"path": "inbox"}), ("read", {"path": "inbox/1.txt"}),
         ("write", {"path": "inbox/triage-2026-11-01.md", "content": "| today | Bo | offer |\n"})],
        ("inbox/triage-2026-11-01.md", "today | Bo")),
    "competitor-watch": (
        {"watch/competitors.md": f"Crumb, {HERE}/site/prices.html, prices",
         "site/prices.html": "<p>Crumb now costs 35 euros.</p>"},
        [("read", {"path": "watch/competitors.md"}),
         ("browser", {"action": "open", "url": f"{HERE}/site/prices.html"}),
         ("write", {"path": "watch/report-2026-11-01.md", "content": "29 became 35 euros.\n"})],
        ("watch/report-2026-11-01.md", "29 became 35")),
    "blog-draft": (
        {},
        [("exec", {"command": "knowledge norway"}),
         ("write", {"path": "drafts/questions.md", "content": "# What 100 questions taught us\n"})],
        ("drafts/questions.md", "100 questions")),
    "lead-list": (
        {"site/shops.html": "<ul><li>Rad und Tat, Hamburg, repairs e-bikes</li></ul>"},
        [("browser", {"action": "open", "url": f"{HERE}/site/shops.html"}),
         ("write", {"path": "leads/shops.csv", "content":
            f"company,place,source\nRad und Tat,Hamburg,{HERE}/site/shops.html\n"})],
        ("leads/shops.csv", "Rad und Tat")),
    "invoice-check": (
        {"invoices/17.txt": "Invoice 17, net 100, tax 19, total 120"},
        [("read", {"path": "invoices/17.txt"}),
         ("write", {"path": "tables/invoice-check.py", "content":
            "import re\nn, t, s = map(int, re.findall(r'(?:net|tax|total) (\\d+)', "
            "open('invoices/17.txt').read()))\n"
            "open('invoices/check-2026-11-01.md', 'w').write("
            "f'17: {n} + {t} is {n + t}, and it says {s}')\n"}),
         ("exec", {"command": "python3 tables/invoice-check.py"})],
        ("invoices/check-2026-11-01.md", "is 119, and it says 120")),
    "weekly-report": (
        {"notes/monday.md": "Shipped the shop."},
        [("exec", {"command": "ls -lt notes"}), ("read", {"path": "notes/monday.md"}),
         ("write", {"path": "reports/2026-w44.md", "content": "A good week: the shop is out.\n"})],
        ("reports/2026-w44.md", "the shop is out")),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    with working_house(tmp_path_factory.mktemp("skills"), images, provider) as made:
        put = made.upload("acme", "/customers/acme/knowledge/content?name=shipping.md",
                          b"We ship to Norway in five days.\n")
        assert put.status_code == 201
        yield made


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


@pytest.fixture(scope="module")
def ann(house: House, pulse: str) -> Iterator[Visitor]:
    with chromium() as browser:
        visitor = signed_in(house, browser)
        visitor.open(pulse)
        yield visitor
        visitor.context.close()


def give(house: House, employee: str, *skills: str) -> None:
    answer = house.api("acme", "PATCH", f"/customers/acme/employees/{employee}",
                       {"skills": list(skills)})
    assert answer.ok, answer.text
    until(lambda: inside(house, employee, "ls /data/state/skills 2>/dev/null").split()
          == sorted(skills), f"{skills} in its volume", 60, house)


def prompt_of(provider: FakeProvider) -> str:
    return json.dumps(provider.requests[-1]["messages"])


def container(house: House, employee: str) -> list[str]:
    return docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}",
                  house.instance.container_name(employee))


def test_every_skill_has_a_task():
    assert TASKS.keys() == catalogue.shipped().keys()


@pytest.mark.parametrize("skill", sorted(TASKS))
def test_its_example_task_is_done_with_the_tools_that_it_names(ann, house, pulse, provider, skill):
    found, steps, (left, says) = TASKS[skill]
    shown = {s["name"]: s for s in house.api("acme", "GET", "/skills").json()["skills"]}[skill]
    assert {name for name, _ in steps} <= set(shown["uses"])
    before = container(house, pulse)
    give(house, pulse, skill)
    for path, text in found.items():
        put = house.upload("acme", f"/customers/acme/employees/{pulse}/files/content?path={path}",
                           text.encode())
        assert put.ok, put.text
    how = f"/data/state/skills/{skill}/SKILL.md"
    asked = len(provider.requests)
    ann.send(f"{shown['example']} WORK {json.dumps([('read', {'path': how}), *steps])}")
    # The page folds away what is older: what the model was asked tells how far it is.
    ann.wait(lambda: len(provider.requests) >= asked + len(steps) + 2, "the work's end")
    seen = json.dumps(provider.requests[asked]["messages"])
    assert f"<name>{skill}</name>" in seen and how in seen, "the model is told of it"
    assert all(f"<name>{other}</name>" not in seen for other in TASKS.keys() - {skill})
    told = [str(m.get("content")) for m in provider.requests[-1]["messages"] if m["role"] == "tool"]
    assert any(catalogue.shipped()[skill].splitlines()[-1] in text for text in told), told
    assert says in inside(house, pulse, f"cat '/data/workspace/{left}'")
    assert container(house, pulse) == before, "nothing was restarted for it"


def test_a_change_of_a_skill_is_there_at_the_next_message(ann, house, pulse, provider):
    give(house, pulse, "meeting-notes")
    before = container(house, pulse)
    text = catalogue.shipped()["meeting-notes"].replace("Turn a transcript", "Turn any recording")
    house.store.commit(ENGINEER, "Say more", lambda _: {skill_path("meeting-notes"): text})
    until(lambda: "any recording" in inside(
        house, pulse, "cat /data/state/skills/meeting-notes/SKILL.md"), "the new text", 60, house)
    ann.say("SAY what now", "(scripted) what now")
    assert "Turn any recording" in prompt_of(provider)
    give(house, pulse)
    ann.say("SAY and now", "(scripted) and now")
    assert "<name>meeting-notes</name>" not in prompt_of(provider)
    assert container(house, pulse) == before


def test_the_agent_can_not_change_what_it_was_given(ann, house, pulse, provider):
    give(house, pulse, "lead-list")
    path = "/data/state/skills/lead-list/SKILL.md"
    before = inside(house, pulse, f"cat {path}")
    asked = len(provider.requests)
    ann.send("WORK " + json.dumps([
        ("exec", {"command": f"echo evil > {path}; rm -r /data/state/skills; true"}),
        ("write", {"path": path, "content": "evil"})]))
    ann.wait(lambda: len(provider.requests) >= asked + 3, "the work's end")
    assert inside(house, pulse, f"cat {path}") == before


def test_iw_lists_them(house, pulse):
    give(house, pulse, "lead-list")
    found = {s["name"]: s["employees"] for s in house.iw("skill", "list")}
    assert found == dict.fromkeys(catalogue.shipped(), 0) | {"lead-list": 1}
