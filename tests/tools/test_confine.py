"""The web app's walls, built by the real Bubblewrap."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import confine

pytestmark = pytest.mark.parts


def test_code_below_tmp_is_seen_and_can_not_be_written_to(tmp_path: Path, monkeypatch):
    code, data = tmp_path / "clone", tmp_path / "clone" / "data"
    (data / "secrets").mkdir(parents=True)
    (code / "app.py").write_text("code")
    (data / "secrets" / "key").write_text("secret")
    outside = Path("/tmp") / f"iw-outside-{tmp_path.name}"
    outside.write_text("another's")
    monkeypatch.setattr(confine, "ROOT", code)
    try:
        done = subprocess.run(
            [*confine.walls(data), "sh", "-c",
             f"cat {code}/app.py; touch {code}/new || echo read-only; touch {data}/made; "
             f"ls -A {data}/secrets; ls {outside} || echo hidden"],
            capture_output=True, text=True, check=False)
    finally:
        outside.unlink()
    assert done.stdout.split() == ["coderead-only", "webapp", "hidden"], done.stderr
    assert (data / "made").exists() and not (code / "new").exists()
