"""The rules on a clone, as a forge's runner has it; and the workflow that calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from state_repo import changes
from tests.state_repo.test_store import ANN, filled, git

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def clone(tmp_path) -> Path:
    store = filled(tmp_path / "data")
    changes.hire(store, ANN, "acme", "Pulse", "Marketing")
    path = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store.path), str(path))
    for key, value in (("user.name", "Eve"), ("user.email", "eve@x.test")):
        git(path, "config", key, value)
    return path


def check(clone: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "policies.check_change", *arguments], cwd=clone,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "GITHUB_ACTIONS": "", **env},
                          capture_output=True, text=True, check=False)


def test_a_change_is_judged_against_its_base(clone):
    (path,) = (clone / "customers/acme/employees").glob("*.yaml")
    good = path.read_text()
    path.write_text(good.replace("memoryMb: 3072", "memoryMb: 4096"))
    git(clone, "commit", "-qam", "More")
    fine = check(clone, "origin/main")
    assert fine.returncode == 0 and "No violation." in fine.stdout
    path.write_text(good.replace("memoryMb: 3072", "memoryMb: plenty"))
    git(clone, "commit", "-qam", "Worse")
    name = path.relative_to(clone)
    line = 1 + path.read_text().splitlines().index("    memoryMb: plenty")
    wrong = check(clone, "origin/main", GITHUB_ACTIONS="true")
    assert wrong.returncode == 1
    assert f"{name}:{line} spec.resources.memoryMb: is 'plenty'" in wrong.stdout
    assert f"::error file={name},line={line}::spec.resources.memoryMb" in wrong.stdout


def test_what_is_not_there_is_said(clone, tmp_path):
    away = check(clone, "origin/nothing")
    assert away.returncode == 2 and "fetch-depth: 0" in away.stderr
    (tmp_path / "elsewhere").mkdir()
    odd = check(tmp_path / "elsewhere", "origin/main")
    assert odd.returncode == 2 and "no clone of a state repo" in odd.stderr


def test_the_workflow_calls_it_and_has_no_secret(clone):
    text = (ROOT / "docs/ci/check-state.yml").read_text()
    flow = yaml.safe_load(text)
    (job,) = flow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert any(c.startswith("python -m policies.check_change ") for c in commands)
    assert flow["permissions"] == {"contents": "read"} and "secrets." not in text
