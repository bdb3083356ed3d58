"""Which version of the code is here, and which one each process runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from tools import processes
from tools.machine import ROOT

ROOMS = ("state_repo", "policies", "stacks", "reconciler", "webapp")


def digest(root: Path = ROOT) -> str:
    """Of the code and the packages that the processes run."""
    found = hashlib.sha256((root / "requirements.lock").read_bytes())
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def commit(root: Path = ROOT) -> str:
    """The code's commit, as git names it; "" where it is no checkout."""
    return subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"],
                          capture_output=True, text=True, check=False).stdout.strip()


def started(data: Path, name: str) -> None:
    """Keeps which code that process was started with."""
    (data / "run" / f"{name}.code").write_text(json.dumps({"code": digest(), "commit": commit()}))


def running(data: Path) -> dict[str, dict[str, str]]:
    """By process that runs, its code and commit; empty ones for a process that was started before
    this was kept."""
    found = {}
    for name in processes.NAMES:
        if processes.pid_of(data, name) is not None:
            try:
                found[name] = json.loads((data / "run" / f"{name}.code").read_text())
            except (OSError, ValueError):
                found[name] = {"code": "", "commit": ""}
    return found


def is_due(data: Path) -> bool:
    """Whether a process runs other code than is here now."""
    now = digest()
    return any(of["code"] != now for of in running(data).values())
