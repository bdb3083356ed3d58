"""From one version of the code to the next, and back: which code the processes run, what the
databases were before, and a copy of everything that an upgrade may change.

    make run     when the code is another than the processes run: a copy is kept, both are stopped
                 (employees go on working), the databases are migrated by one of them, both start,
                 and are waited for as at any start
    make back    with the newer code still in place: stops both and takes the databases back to what
                 the code before knows; then that code is checked out, and started by make run
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stacks import StackError, platform_copy
from state_repo import StateRepoError
from state_repo.database import downgrade, revision_of
from state_repo.instance import Instance
from state_repo.status import MIGRATIONS, VERSION_TABLE
from tools import processes, service
from tools.steps import StepError, step
from tools.versions import commit, digest, running
from webapp import accounts, models

KEPT = 3  # copies
# By name: where a database's migrations are, and the table that says how far they went.
_SCHEMAS = {"status": (MIGRATIONS, VERSION_TABLE),
            "web": (accounts.MIGRATIONS, models.VERSION_TABLE)}


def begin(data: Path) -> None:
    """Keeps what is there, and stops both processes. What is written from now on is by the new
    code alone.

    Raises:
        StepError: it could not be copied; nothing was stopped.
    """
    instance = Instance.load(data)
    with step("keep a copy of databases, books and secrets"):
        keep(instance)
    for name in reversed(processes.NAMES):
        with step(f"stop {name} of before (employees go on working)"):
            service.stop(data, name)


def keep(instance: Instance) -> Path:
    """A copy into <data>/upgrades, with what the databases are at; returns its folder."""
    folder = instance.data / "upgrades" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S-%f}"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    before = next(iter(running(instance.data).values()), {"code": "", "commit": ""})
    try:
        platform_copy.take(instance, folder, None, [])
        (folder / "upgrade.json").write_text(json.dumps({
            "from": before, "to": {"code": digest(), "commit": commit()}, "schemas": {
                name: revision_of(instance.database_url, table)
                for name, (_, table) in _SCHEMAS.items()}}, indent=2))
    except (StackError, StateRepoError) as error:
        shutil.rmtree(folder)
        raise StepError(f"no copy could be made: {error}",
                        "nothing was changed, and the code of before goes on running") from error
    for old in kept(instance.data)[:-KEPT]:
        shutil.rmtree(old)
    return folder


def kept(data: Path) -> list[Path]:
    """The copies, the oldest first."""
    return sorted(path.parent for path in (data / "upgrades").glob("*/upgrade.json"))


def back(data: Path) -> dict[str, Any]:
    """Takes the databases back to what they were at before the last upgrade; returns what that
    was of.

    Raises:
        StepError: there was none, or a database does not go back.
    """
    instance, copies = Instance.load(data), kept(data)
    if not copies:
        raise StepError(f"there was no upgrade yet: {data / 'upgrades'} holds no copy",
                        "nothing was changed")
    last: dict[str, Any] = json.loads((copies[-1] / "upgrade.json").read_text())
    if last["from"]["code"] == digest():
        raise StepError("this is the code of before already", "`make run` starts it; to take the "
                        "databases back takes the newer code, which knows how")
    for name in reversed(processes.NAMES):
        with step(f"stop {name}"):
            service.stop(data, name)
    for name, (folder, table) in _SCHEMAS.items():
        with step(f"take the tables of {name} back to {last['schemas'][name]}"):
            try:
                if last["schemas"][name] is not None:
                    downgrade(instance.database_url, folder, table, last["schemas"][name])
            except StateRepoError as error:
                raise StepError(f"they do not go back: {error}", f"{copies[-1]} holds them as they "
                                "were; what was written since is not in there") from error
    shutil.rmtree(copies[-1])  # it was gone back from: the next one is from there
    return last


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.release")
    parser.add_argument("verb", choices=["begin", "back"])
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    if given.verb == "begin":
        begin(given.data)
        return 0
    try:
        last = back(given.data)
    except StepError as error:
        print(f"  {error.why}\n  Next: {error.next_try}")
        return 1
    before = last["from"]["commit"].removesuffix("-dirty")
    print(f"""
  The databases are as the code of before knows them. Now:

    git checkout {before or '<the commit of before>'}
    make run
""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
