"""What bandit finds is compared with what was looked at: nothing new, nothing stale."""

from __future__ import annotations

import tomllib

from tools.audit import ACCEPTED, ROOT, compared, warned

FOUND = {"test_id": "B202", "filename": "stacks/volumes.py", "line_number": 7, "issue_text": "tar"}


def test_what_was_looked_at_is_no_finding_and_what_was_not_is():
    accepted = {"everywhere": {}, "found": {"B202 stacks/volumes.py": "why"}}
    assert compared([FOUND], accepted) == []
    (new,) = compared([FOUND, {**FOUND, "filename": "webapp/new.py"}], accepted)
    assert new == "webapp/new.py:7: B202 tar"
    assert compared([FOUND], {"everywhere": {"B202": "why"}, "found": {}}) == []


def test_what_is_found_no_more_is_taken_out():
    accepted = {"everywhere": {"B101": "why"}, "found": {"B202 gone.py": "why"}}
    assert [line.partition(": ")[2] for line in compared([], accepted)] == [
        "B202 gone.py is found no more; take it out", "B101 is found no more; take it out"]


def test_docker_benchs_warnings_want_a_reason():
    results = [{"id": "5.2", "desc": "Ensure SELinux", "result": "WARN", "details": "no"},
               {"id": "5.4", "desc": "Ensure capabilities", "result": "PASS"}]
    assert warned(results, {"5.2": "AppArmor instead"}) == []
    assert warned(results, {}) == ["5.2 Ensure SELinux no"]


def test_each_that_was_looked_at_has_its_reason_and_its_file():
    accepted = tomllib.loads(ACCEPTED.read_text())
    assert all(reason.strip() for part in accepted.values() for reason in part.values())
    for name in accepted["found"]:
        assert (ROOT / name.partition(" ")[2]).is_file(), name
