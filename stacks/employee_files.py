"""An employee's files of ours, written into its volume before its container starts."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stacks import StackError
from stacks.identity import BEGIN, END, password_name
from stacks.providers.docker_api import NotFound as NoVolume
from stacks.providers.docker_api import client, speaking
from stacks.providers.servicer import Inputs, Kind
from stacks.secret_files import as_written, remove_secret, resolved
from stacks.workspace import NotFound, PathRefused, Workspace
from state_repo.instance import Instance

UID = 10001
_CONFIG, _MARK = "state/openclaw.json", "state/.instantworker"
_SKILLS = "state/skills"
_MOST = 4 * 1024 * 1024
_NOT_YET = "Its place is still being set up. Try again in a few seconds."
_MARKUP = re.compile(r"instantworker:\s*(?=begin|end)", re.IGNORECASE)


class NotMadeYet(StackError):
    """What it belongs to was asked for, and is not there yet."""


def volume_folder(volume: str) -> Path:
    """Where a volume's files lie on this host, whether its container runs or not. Raises
    NotMadeYet: there is none, or its disk is not mounted."""
    with speaking():
        try:
            real = client().inspect_volume(volume)
        except NoVolume as error:
            raise NotMadeYet(_NOT_YET) from error
    device = (real.get("Options") or {}).get("device")
    folder = Path(device or real["Mountpoint"])
    if device and not folder.is_dir():
        raise NotMadeYet(_NOT_YET)
    return folder


class EmployeeFiles(Kind):
    """`config`, `managed`, `replaced`, `once` and `skills` are an `identity.Identity`;
    `generation` grows with each retry, so that a retry writes everything anew."""

    token = "instantworker:employee:Files"
    properties = frozenset({"employee", "volume", "config", "managed", "replaced", "once",
                            "skills", "generation"})
    in_place = frozenset({"config", "managed", "replaced", "once", "skills", "generation"})

    def __init__(self, instance: Instance, tell: Callable[[str, str], None] = lambda *_: None,
                 let_end: Callable[[str], None] = lambda _: None) -> None:
        """`tell(employee, message)`: what was found in the way. `let_end(employee)`: waits while
        it is at work: a new configuration fails the turn that goes on."""
        self._instance, self._tell, self._let_end = instance, tell, let_end

    def create(self, inputs: Inputs) -> str:
        root = volume_folder(inputs["volume"])
        os.chown(root, UID, UID)
        files = Workspace(root, UID, UID, _MOST, 1 << 50)
        self._make_way(files, inputs)
        for path, text in inputs["managed"].items():
            _write(files, f"workspace/{path}", merged(_text(files, f"workspace/{path}"), text))
        for path, text in inputs["replaced"].items():
            _write(files, f"workspace/{path}", text)
        for path, text in inputs["once"].items():
            if _text(files, f"workspace/{path}") is None:
                _write(files, f"workspace/{path}", text)
        _write_skills(files, inputs["skills"])
        config, found = resolved(self._instance, inputs["config"]), _text(files, _CONFIG)
        if found is not None and not _holds(found, config):
            self._let_end(inputs["employee"])
        # Last: a gateway that waits for it finds everything else in place.
        _write(files, _CONFIG, config)
        _write(files, _MARK, _digest(inputs))
        return inputs["employee"]

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        try:
            files = Workspace(volume_folder(inputs["volume"]), UID, UID, _MOST, 1 << 50)
            written, config = _text(files, _MARK), _text(files, _CONFIG)
        except StackError:
            return None
        if written is None:
            return None
        ours = as_written(self._instance, inputs["config"])
        same = written == _digest(inputs) and _holds(config, ours)
        return inputs if same else inputs | {"config": "(changed)"}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def _make_way(self, files: Workspace, inputs: Inputs) -> None:
        """The volume is the employee's, and hostile: what lies where a file of ours is to be does
        not keep us from writing it."""
        ours = [f"workspace/{path}" for kind in ("managed", "replaced", "once")
                for path in inputs[kind]]
        skills = [_skill(name) for name in inputs["skills"]]
        for path in (*ours, *skills, _CONFIG, _MARK):
            for aside in files.make_way(path):
                self._tell(inputs["employee"], f"something lay in the way of {path} in the files "
                           f"of {inputs['employee']}; it was moved to {aside}")

    def delete(self, id: str, inputs: Inputs) -> None:
        """The files go with their volume; the password goes now."""
        remove_secret(self._instance, password_name(inputs["employee"]))


def merged(found: str | None, block: str) -> str:
    """`found` with our block in its place; what stands before and after it is kept."""
    ours = f"{BEGIN}\n{_unmarked(block).strip()}\n{END}\n"
    if found is None or not found.strip():
        return ours
    before, begin, rest = found.partition(BEGIN)
    if not begin:
        return f"{ours}\n{found.lstrip()}"
    _, end, after = rest.partition(END)
    return f"{before}{ours}{after.removeprefix(chr(10))}" if end else f"{before}{ours}"


def _holds(found: str | None, ours: str | None) -> bool:
    """Whether everything of our configuration is in force. The gateway adds notes of its own."""
    def within(wanted: Any, real: Any) -> bool:
        if isinstance(wanted, dict):
            return isinstance(real, dict) and all(
                name in real and within(value, real[name]) for name, value in wanted.items())
        return bool(wanted == real)
    try:
        return bool(found and ours) and within(json.loads(ours or ""), json.loads(found or ""))
    except (ValueError, RecursionError):
        return False


def _unmarked(text: str) -> str:
    """Text of people and agents can't speak our markup: whatever would open or end a comment of
    ours is spelled so that it does not."""
    return _MARKUP.sub("instantworker ", text)


def _skill(name: str) -> str:
    """Where the gateway looks for skills that are its own and not the agent's: nothing that the
    agent runs can write there (`walls.py` in its image)."""
    return f"{_SKILLS}/{name}/SKILL.md"


def _write_skills(files: Workspace, skills: Mapping[str, str]) -> None:
    """The gateway sees a skill that comes, changes or goes by itself, before its next turn."""
    for name, text in skills.items():
        _write(files, _skill(name), text)
    with suppress(NotFound, PathRefused):  # none yet, or something else lies there
        for entry in files.list(_SKILLS).entries:
            if entry.name not in skills:
                files.delete(entry.path)


def _write(files: Workspace, path: str, text: str) -> None:
    if _text(files, path) != text:
        files.write(path, _pieces(text))


def _pieces(text: str) -> Iterable[bytes]:
    yield text.encode()


def _text(files: Workspace, path: str) -> str | None:
    try:
        _, file = files.open(path)
    except NotFound:
        return None
    with file:
        return file.read(_MOST).decode(errors="replace")


def _digest(inputs: Inputs) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
