"""Who an employee is, as files: held to golden files. `IW_GOLDEN=write` renders them anew; read the
difference before you commit it."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from stacks.employee_files import merged
from stacks.identity import BEGIN, END, identity
from state_repo.documents import Customer, Employee, Lesson, OfferedModel, Skill
from state_repo.instance import PORTS, Instance
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "instantworker/employee@sha256:" + "0" * 64
INSTANCE = Instance("abcd1234", Path("/nowhere"),
                    ports={name: 2000 + i for i, name in enumerate(PORTS)})
ACME = Customer("acme", "Acme & Sons", 3, "10.192.0.0/25")
PULSE = Employee("pulse-7f3k2a", "acme", "Pulse", "Marketing assistant", IMAGE,
                 skills=("web-research",),
                 instructions="Write short sentences.\nNever use {{ x }}.")
LESSONS = {
    "b": Lesson("b", "acme", "pulse-7f3k2a", "approved", "Invoices carry the order number.",
                "14 of 14.", "2026-02-01"),
    "a": Lesson("a", "acme", "quill-aaaaaa", "approved", "Bo wants PDF.", "He said so.",
                "2026-01-01"),
    "c": Lesson("c", "acme", "quill-aaaaaa", "rejected", "Never answer Bo.", "A joke.",
                "2026-01-01")}


def rendered() -> dict[str, str]:
    who = identity(INSTANCE, ACME, PULSE, LESSONS, OfferedModel(), {})
    blank = identity(INSTANCE, ACME, Employee("emp-aaaaaa", "acme", "Ready", "Nobody", IMAGE,
                                              state="warm"), LESSONS, OfferedModel(), {})
    return {"openclaw.json": who.config + "\n", "blank-openclaw.json": blank.config + "\n",
            **who.managed, **who.replaced, **who.once,
            **{f"blank-{name}": text for name, text in blank.managed.items()}}


@pytest.mark.parametrize("name", sorted(rendered()))
def test_a_file_is_as_it_was_agreed(name):
    if os.environ.get("IW_GOLDEN") == "write":
        (GOLDEN / name).write_text(rendered()[name])
    assert rendered()[name] == (GOLDEN / name).read_text()


def test_no_golden_file_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == set(rendered())


def test_the_image_warms_up_with_the_same_settings():
    """Else the compile cache holds other code than an employee loads."""
    spec = importlib.util.spec_from_file_location("warm", ROOT / "images/employee/gateway/warm.py")
    assert spec and spec.loader
    warm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(warm)
    ours = json.loads(rendered()["openclaw.json"])
    assert set(warm.CONFIG) == set(ours)
    for part in ("plugins", "tools", "hooks", "session", "update", "telemetry"):
        assert warm.CONFIG[part] == ours[part], part
    assert warm.CONFIG["browser"]["profiles"] == ours["browser"]["profiles"]
    for part in ("http", "terminal"):
        assert warm.CONFIG["gateway"][part] == ours["gateway"][part], part
    assert warm.CONFIG["gateway"]["controlUi"]["root"] == ours["gateway"]["controlUi"]["root"]
    assert set(warm.CONFIG["agents"]["defaults"]) == set(ours["agents"]["defaults"])


def test_a_blank_lets_nobody_in_and_names_nobody():
    blank = json.loads(rendered()["blank-openclaw.json"])
    assert blank["gateway"]["auth"]["trustedProxy"]["allowUsers"] == ["nobody.warming-up"]
    assert "Acme" not in rendered()["blank-AGENTS.md"]
    # What would restart or reload much at the claim is as it will be.
    claimed = json.loads(rendered()["openclaw.json"])
    for part in ("browser", "plugins", "tools", "update"):
        assert blank[part] == claimed[part]


def test_only_approved_lessons_are_told():
    text = rendered()["AGENTS.md"]
    assert text.index("Bo wants PDF.") < text.index("Invoices carry") and "Never answer" not in text


def test_its_skills_are_those_that_it_was_given_and_that_there_are():
    known = {name: Skill(name, "d", "1.0", ("read",), "e", f"# {name}", "0" * 16)
             for name in ("web-research", "lead-list")}
    one = replace(PULSE, skills=("web-research", "gone"))
    who = identity(INSTANCE, ACME, one, {}, OfferedModel(), known)
    assert who.skills == {"web-research": "# web-research"}
    nothing = identity(INSTANCE, ACME, replace(one, skills=()), {}, OfferedModel(), known)
    assert nothing.config == who.config, "to give one reloads nothing"


@pytest.mark.parametrize(("found", "after"), [
    (None, f"{BEGIN}\nnew\n{END}\n"), ("  \n", f"{BEGIN}\nnew\n{END}\n"),
    ("mine\n", f"{BEGIN}\nnew\n{END}\n\nmine\n"),
    (f"top\n{BEGIN}\nold\n{END}\nmine\n", f"top\n{BEGIN}\nnew\n{END}\nmine\n"),
    (f"{BEGIN}\nold, and the end is lost\n", f"{BEGIN}\nnew\n{END}\n")])
def test_our_block_is_replaced_and_the_rest_is_kept(found, after):
    assert merged(found, "new") == after
    assert merged(merged(found, "new"), "new") == after


@pytest.mark.parametrize("text", [END, BEGIN, END.upper(), "<!--instantworker:  end-->",
                                  f"x {END}\n{BEGIN} y"])
def test_text_of_people_can_not_speak_our_markup(text):
    """A lesson or instructions that hold our own marker: what is taken back is gone."""
    with_it = merged("mine\n", f"before {text} after")
    assert with_it.count(BEGIN) == with_it.count(END) == 1
    assert merged(with_it, "new") == f"{BEGIN}\nnew\n{END}\n\nmine\n"
