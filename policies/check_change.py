"""The rules over a change, wherever the state repo lies: for a forge's own checks, without access
to anything.

    python -m policies.check_change BASE HEAD        in a clone of the state repo, with its history

prints every violation that HEAD makes worse than BASE, with file and line; exit code 1 when there
is one. On GitHub's and Forgejo's runners each is an annotation at its line as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from policies.check_push import violations_of
from policies.documents import check_customer
from state_repo import StateRepoError
from state_repo.documents import Violation
from state_repo.store import Store


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m policies.check_change")
    parser.add_argument("base", help="what it is compared with, such as origin/main")
    parser.add_argument("head", nargs="?", default="HEAD")
    given = parser.parse_args(arguments)
    try:
        store = Store(_git_folder(), rules=check_customer)
        base, head = (_commit(store, name) for name in (given.base, given.head))
        found = violations_of(store, base, head)
    except StateRepoError as error:
        print(error, file=sys.stderr)
        return 2
    for violation in found:
        print(violation)
        if os.environ.get("GITHUB_ACTIONS"):  # Forgejo and Gitea set it too
            print(_annotation(violation))
    print(f"{len(found)} violation(s)." if found else "No violation.")
    return 1 if found else 0


def _git_folder() -> Path:
    done = subprocess.run(["git", "rev-parse", "--absolute-git-dir"], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise StateRepoError(f"this is no clone of a state repo: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def _commit(store: Store, name: str) -> str:
    found = store.resolve(name)
    if len(found) != 40:
        raise StateRepoError(f"there is no commit {name} here; fetch it (the whole history: "
                             "fetch-depth: 0)")
    return found


def _annotation(violation: Violation) -> str:
    """https://docs.github.com/actions/reference/workflow-commands-for-github-actions"""
    def safe(text: object) -> str:
        return str(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return (f"::error file={safe(violation.path)},line={max(violation.line, 1)}::"
            f"{safe(violation.field)}: {safe(violation.message)}; {safe(violation.fix)}")


if __name__ == "__main__":
    sys.exit(main())
