"""Starting the two processes: what could not be started says why."""

from __future__ import annotations

import pytest

from tools import confine, processes
from tools.steps import StepError


def test_walls_that_can_not_be_built_say_why(tmp_path, monkeypatch):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho bwrap: no such mount >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(confine, "walls", lambda _: [str(program)])
    with pytest.raises(StepError, match="no such mount"):
        processes.start(tmp_path, "webapp")
    assert processes.pid_of(tmp_path, "webapp") is None
