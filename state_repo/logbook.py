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
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_COMMIT = 7  # digits that name one


def lines_of(instance: Instance, wanted: set[str] | None = None, newest: int | None = None
             ) -> list[dict[str, Any]]:
    """All that is kept, or what is about one of `wanted` (see `names`), in the order of time.
    `newest`: of each log no more than so many bytes, from its end."""
    found = []
    for path in logs(instance):
        size = path.stat().st_size if path.exists() else 0
        if newest is None:
            found += read(path.with_suffix(".log.1"), wanted=wanted)
        found += read(path, max(size - newest, 0) if newest else 0, wanted)
    return sorted(found, key=lambda line: line["time"])


def logs(instance: Instance) -> list[Path]:
    return [instance.logs_path / f"{name}.log" for name in PROCESSES]


def read(path: Path, start: int = 0, wanted: set[str] | None = None) -> list[dict[str, Any]]:
    """The lines of a log from that byte on, each with `time` (RFC 3339), `level`, `process` and
    `message` at least; those that are about one of `wanted`, if it is given. What is no JSON (of a
    process that could not even begin) is of the time of the line before it."""
    lines: list[dict[str, Any]] = []
    process = path.name.partition(".")[0]
    try:
        with path.open("rb") as file:
            file.seek(max(start - 1, 0))
            data = file.read()
            # A line that was begun before is none.
            text = (data.partition(b"\n")[2] if start else data).decode(errors="replace")
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    except FileNotFoundError:
        return []
    # As they stand in JSON: most lines are about something else, and need not be parsed for that.
    needles = [json.dumps(what, ensure_ascii=False)[1:-1] for what in wanted or ()]
    for raw in text.splitlines():
        if needles and not any(needle in raw for needle in needles):
            continue
        try:
            line = json.loads(raw)
            datetime.fromisoformat(line["time"])
            lines.append({"level": "INFO", "message": "", "process": process, **line})
        except (ValueError, TypeError, KeyError):
            lines.append({"time": lines[-1]["time"] if lines else changed, "level": "INFO",
                          "process": process, "message": raw})
    return lines if wanted is None else [line for line in lines if is_about(line, wanted)]


def names(store: Store, about: str) -> set[str]:
    """What to look for: what was asked for, and if it names a commit its trace."""
    if len(about) < _COMMIT or set(about) - set("0123456789abcdef"):
        return {about}
    commit, head = store.resolve(about), store.head()
    if head is None or not store.is_ancestor(commit, head):
        return {about}
    trace = store.commit_info(commit).trace
    return {about, trace} if trace else {about}


def is_at_least(line: dict[str, Any], level: str) -> bool:
    """A line of no known level is one of INFO."""
    said = line["level"] if line["level"] in LEVELS else "INFO"
    return LEVELS.index(said) >= LEVELS.index(level)


def is_about(line: dict[str, Any], wanted: set[str]) -> bool:
    """Whether one of its fields is one of these, or its message names one."""
    commit = str(line.get("commit", ""))
    return any(what in str(line["message"]) or what in (str(line.get(field)) for field in FIELDS)
               or (len(what) >= _COMMIT and commit.startswith(what)) for what in wanted)
