"""The learning log is the agent's: what is no lesson in it does no harm."""

from __future__ import annotations

import json

from reconciler.lessons import MOST_LESSONS, MOST_TEXT, parse


def line(**fields) -> str:
    return json.dumps({"date": "2026-01-31", "lesson": "A.", "evidence": "B."} | fields)


def test_lessons_are_read_newest_first_and_once():
    found = parse("\n".join([line(), line(lesson="Second."), line()]))
    assert [x.lesson for x in found] == ["Second.", "A."]
    assert found[1].id == parse(line())[0].id and found[1].id.startswith("lesson-")


def test_what_is_no_lesson_is_passed_over():
    bad = ["", "no json", "[]", "3", line(date="31.1."), line(lesson=""), line(evidence="  "),
           json.dumps({"lesson": "x"}), "\x00", line(date=None)]
    assert parse("\n".join(bad)) == []
    assert len(parse("\n".join([*bad, line()]))) == 1


def test_texts_are_bounded_and_plain():
    (found,) = parse(line(lesson="a\u001b[31m b\n" + "x" * 5000))
    assert len(found.lesson) == MOST_TEXT and found.lesson.startswith("a [31m b x")
    assert len(parse("\n".join(line(lesson=f"{n}") for n in range(2000)))) == MOST_LESSONS


def test_a_line_that_nests_without_end_costs_only_itself():
    assert len(parse("[" * 100_000 + "\n" + line() + "\n" + '{"a":' * 50_000)) == 1
