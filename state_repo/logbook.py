"""What the processes logged, read again: lines about one customer, employee, commit or trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from state_repo.instance import Instance
from state_repo.journal import FIELDS
from state_repo.store import Store

PROCESSES = ("webapp", "reconciler")
_COMMIT = 7  # digits that name one


def lines_of(instance: Instance, store: Store, about: str | None = None) -> list[dict[str, Any]]:
    """All that is kept, in the order of time; see `read` and `is_about`. A commit brings along the
    lines of the trace that it was made in."""
    found = [line for path in logs(instance)
             for line in read(path.with_suffix(".log.1")) + read(path)]
    if about:
        wanted = names(store, about)
        found = [line for line in found if is_about(line, wanted)]
    return sorted(found, key=lambda line: line["time"])


def logs(instance: Instance) -> list[Path]:
    return [instance.logs_path / f"{name}.log" for name in PROCESSES]


def read(path: Path, start: int = 0) -> list[dict[str, Any]]:
    """The lines of a log from that byte on, each with `time` (RFC 3339), `level`, `process` and
    `message` at least. What is no JSON (of a process that could not even begin) is of the time of
    the line before it."""
    lines: list[dict[str, Any]] = []
    process = path.name.partition(".")[0]
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    except FileNotFoundError:
        return []
    for raw in text.splitlines():
        try:
            line = json.loads(raw)
            datetime.fromisoformat(line["time"])
            lines.append({"level": "INFO", "message": "", "process": process, **line})
        except (ValueError, TypeError, KeyError):
            lines.append({"time": lines[-1]["time"] if lines else changed, "level": "INFO",
                          "process": process, "message": raw})
    return lines


def names(store: Store, about: str) -> set[str]:
    """What to look for: what was asked for, and if it names a commit its trace."""
    if len(about) < _COMMIT or set(about) - set("0123456789abcdef"):
        return {about}
    commit, head = store.resolve(about), store.head()
    if head is None or not store.is_ancestor(commit, head):
        return {about}
    trace = store.commit_info(commit).trace
    return {about, trace} if trace else {about}


def is_about(line: dict[str, Any], wanted: set[str]) -> bool:
    """Whether one of its fields is one of these, or its message names one."""
    commit = str(line.get("commit", ""))
    return any(what in str(line["message"]) or what in (str(line.get(field)) for field in FIELDS)
               or (len(what) >= _COMMIT and commit.startswith(what)) for what in wanted)
