"""Our files in an employee's volume: who is at work is waited for when its configuration changes,
and for nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks import employee_files
from stacks.employee_files import EmployeeFiles
from state_repo.instance import Instance


@pytest.fixture
def volume(tmp_path, monkeypatch):
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(employee_files, "volume_folder", lambda _: tmp_path / "volume")
    monkeypatch.setattr(employee_files, "UID", tmp_path.stat().st_uid)
    return tmp_path / "volume"


def wanted(**fields: Any) -> dict[str, Any]:
    config = fields.pop("config", {"agents": {"skills": ["notes"]}})
    return {"employee": "one-aaaaaa", "volume": "v", "config": json.dumps(config),
            "managed": {"AGENTS.md": "Be kind."}, "replaced": {}, "once": {}, "skills": {},
            "generation": 0, **fields}


def test_only_a_new_configuration_waits_for_who_is_at_work(tmp_path, volume):
    waited: list[str] = []
    files = EmployeeFiles(Instance(id="0badcafe", data=tmp_path), let_end=waited.append)
    files.create(wanted())
    for other in (wanted(), wanted(managed={"AGENTS.md": "Be brief."}),
                  wanted(skills={"notes": "# Notes"}), wanted(generation=1)):
        files.update("one-aaaaaa", wanted(), other)
    # The gateway writes notes of its own into it.
    path = volume / "state" / "openclaw.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"meta": {"touched": 1}}))
    files.update("one-aaaaaa", wanted(), wanted())
    assert waited == []
    files.update("one-aaaaaa", wanted(), wanted(config={"agents": {"skills": []}}))
    assert waited == ["one-aaaaaa"]
    assert json.loads(path.read_text()) == {"agents": {"skills": []}}


def test_skills_come_and_go(tmp_path, volume):
    files = EmployeeFiles(Instance(id="0badcafe", data=tmp_path))
    folder = volume / "state" / "skills"
    files.create(wanted(skills={"notes": "# One", "leads": "# Leads"}))
    assert (folder / "notes" / "SKILL.md").read_text() == "# One"
    files.create(wanted(skills={"notes": "# Two"}))
    assert [path.name for path in folder.iterdir()] == ["notes"]
    assert (folder / "notes" / "SKILL.md").read_text() == "# Two"
    files.create(wanted())
    assert not any(folder.iterdir())
    folder.rmdir()
    folder.symlink_to(tmp_path)
    files.create(wanted())
    assert (tmp_path / "volume").exists(), "what lies elsewhere is not ours to remove"
