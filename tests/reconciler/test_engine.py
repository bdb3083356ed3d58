"""What is told of a run that failed."""

from __future__ import annotations

from reconciler.engine import _telling


def test_what_the_program_says_of_a_failed_resource_tells_nothing_new():
    of_the_program = ("python inline source runtime error: resource dns [docker:…] failed to "
                      "register\nTraceback (most recent call last):")
    assert _telling(["dns: no such image", of_the_program]) == ["dns: no such image"]
    assert _telling([of_the_program]) == [of_the_program], "unless it is all there is"
    assert _telling([]) == []
