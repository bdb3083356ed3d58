"""Set-up names what it built, and leaves alone what somebody chose."""

from __future__ import annotations

import pytest

from tools.bootstrap import followed

OLD, NEW, MINE = "x@sha256:0", "x@sha256:1", "x@sha256:2"


@pytest.mark.parametrize(("named", "last", "expected"), [
    ({}, {}, NEW), ({"employee": OLD}, {"employee": OLD}, NEW), ({"employee": OLD}, {}, NEW),
    ({"employee": MINE}, {"employee": OLD}, MINE),  # pinned
    ({"employee": OLD}, {"employee": NEW}, OLD),  # rolled back
])
def test_a_digest_that_somebody_set_stays(named, last, expected):
    assert followed(named, {"employee": NEW}, last) == {"employee": expected}


def test_other_parts_are_kept():
    assert followed({"mine": MINE}, {"edge": NEW}, {}) == {"mine": MINE, "edge": NEW}
