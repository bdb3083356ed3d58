"""A plan as a comment: nothing that people wrote is read as anything by a forge."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.forges.comment import MARK, MOST, code, comment, summary

PAGE = "https://app.example.com/changes/c"


def plan(**parts: Any) -> dict[str, Any]:
    return {"digest": "d" * 16, "head": "a" * 40, "main": "b" * 40, "problems": [], "stacks": [],
            "documents": [], **parts}


def stack(**parts: Any) -> dict[str, Any]:
    return {"stack": "customer/acme", "changes": [], "problems": [], "notes": [], "employees": [],
            **parts}


def changed(op: str = "update", name: str = "employee-pulse", **values: Any) -> dict[str, Any]:
    return {"op": op, "type": "docker:index/container:Container", "name": name,
            "fields": list(values), "values": [
                {"field": f, "old": old, "new": new} for f, (old, new) in values.items()]}


def test_what_would_happen_stands_first_in_one_line():
    assert summary(plan()) == "It differs from main in nothing."
    assert summary(plan(documents=[{}])) == "Nothing changes in reality."
    assert summary(plan(problems=["x"], stacks=[stack(problems=["y"])])) == (
        "2 things to correct first.")
    told = summary(plan(stacks=[stack(changes=[changed(), changed("create")], employees=[
        {"employee": "pulse", "does": "stops"}])]))
    assert told == "1 changed, 1 made, 1 employee stopped or interrupted."


def test_fields_costs_notes_and_who_is_interrupted_are_told():
    body = comment(plan(cost={"seats_usd": 4900.0, "models_usd": -20.0}, stacks=[stack(
        notes=["The brake will hold this"], changes=[changed("replace", memory=(3072, 4096))],
        employees=[{"employee": "pulse", "does": "is interrupted"}])], documents=[
            {"path": "customers/acme/employees/pulse.yaml", "does": "changed", "diff": [],
             "fields": [{"field": "spec.resources.memoryMb", "old": 3072, "new": None}]}]), PAGE)
    for part in (MARK, "+49.00 USD for seats", "−20.00 USD that employees may spend on models",
                 "⚠️ `The brake will hold this`", "🟠 `pulse` is interrupted",
                 "| made anew | Container `employee-pulse` | `memory` `3072` → `4096` |",
                 "| | `spec.resources.memoryMb` | `3072` → — |", f"[with its diffs]({PAGE})"):
        assert part in body, part


def outside_code(text: str) -> str:
    """What Markdown reads: spans of code taken out, as CommonMark finds them."""
    return re.sub(r"(?<!`)(`+)(?!`)(.*?[^`])\1(?!`)", "", text, flags=re.S)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=40) | st.sampled_from([
    "@ann", "`", "``", "`` ` ``", "| cell |", "</details>", "<img src=x>", "![x](http://e)",
    "[a](b)", "a\n\n# b", "`@ann`", "\\`@ann", "#1", "a|b`c"]))
def test_nothing_that_people_wrote_is_read_as_anything(text):
    bait = f"{text}@ann<b>"
    body = comment(plan(problems=[bait], stacks=[stack(
        stack=f"customer/{bait}", problems=[bait], notes=[bait],
        changes=[changed("update", bait, memory=(bait, bait))],
        employees=[{"employee": bait, "does": "stops"}])],
        documents=[{"path": bait, "does": "added", "diff": [],
                    "fields": [{"field": bait, "old": bait, "new": bait}]}]), PAGE)
    assert "@ann" not in outside_code(body) and "<b>" not in outside_code(body)


def test_a_span_of_code_is_shown_letter_by_letter():
    assert code("a") == "`a`" and code("a`b") == "`` a`b ``" and code("``") == "``` `` ```"
    assert code("a\nb") == "`a b`" and code("") == "` `"


def test_a_large_plan_says_that_it_is_cut_off():
    many = [stack(stack=f"customer/c{n}", changes=[changed(
        name=f"employee-{n}-{m}", memory=(3072, 4096)) for m in range(20)]) for n in range(200)]
    body = comment(plan(stacks=many), PAGE)
    assert len(body) <= MOST and "left out here" in body
    assert body.count("<details>") <= body.count("</details>") and "`dddddddddddddddd`" in body
