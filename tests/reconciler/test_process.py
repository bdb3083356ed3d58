"""What the process does beside the loop."""

from __future__ import annotations

from reconciler.process import trim


def test_a_log_that_grew_too_large_begins_anew_and_its_writer_goes_on(tmp_path):
    log, small = tmp_path / "reconciler.log", tmp_path / "webapp.log"
    small.write_text("short\n")
    with log.open("a") as writer:
        writer.write("old line\n" * 100)
        writer.flush()
        trim(tmp_path, most=200)
        writer.write("new line\n")
    assert log.read_text() == "new line\n"
    assert (tmp_path / "reconciler.log.1").read_text() == "old line\n" * 100
    assert small.read_text() == "short\n"
    trim(tmp_path, most=200)
    assert log.read_text() == "new line\n", "what is small stays"
