"""When an employee's next task of its own is due, read from OpenClaw's database (the schema of the
version that images/employee/package.json pins).

The file is the agent's: it is copied out link by link and opened as a copy, and whatever is wrong
with it means that nothing is due.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from stacks import StackError
from stacks.employee_files import UID, volume_folder
from stacks.workspace import Workspace

_DATABASE = "state/state/openclaw.sqlite"
_MOST_BYTES = 64 * 1024 * 1024
_MOST_S = 1.0
# Jobs with a declaration are OpenClaw's own housekeeping: they run when it is awake anyway, and
# would wake the whole fleet at the same hour.
_NEXT = ("SELECT min(CAST(json_extract(state_json, '$.nextRunAtMs') AS INTEGER)) FROM cron_jobs "
         "WHERE enabled AND declaration_key IS NULL")


def next_task(volume: str) -> datetime | None:
    """The time of the next task (UTC), or None when there is none or it can't be read."""
    try:
        files = Workspace(volume_folder(volume), UID, UID, 0, 0)
        with tempfile.TemporaryDirectory() as folder:
            for ending in ("", "-wal"):
                _copy(files, _DATABASE + ending, Path(folder) / f"copy.sqlite{ending}")
            return _read(Path(folder) / "copy.sqlite")
    except (StackError, OSError, sqlite3.Error, ValueError, OverflowError, TypeError):
        return None


def _copy(files: Workspace, path: str, target: Path) -> None:
    with contextlib.suppress(StackError):
        entry, file = files.open(path)
        with file, target.open("wb") as copy:
            if entry.size <= _MOST_BYTES:
                shutil.copyfileobj(file, copy)


def _read(path: Path) -> datetime | None:
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        # A view of the agent's may have no end: it gets its time, and no more.
        until = time.monotonic() + _MOST_S
        database.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        (found,) = database.execute(_NEXT).fetchone()
    finally:
        database.close()
    return datetime.fromtimestamp(int(found) / 1000, UTC) if found is not None else None
