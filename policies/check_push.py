"""Git's `update` hook: the same rules on whatever is pushed, branch or main.

Called by git in the bare repo as `update <ref> <old> <new>`; prints every violation of the
customers that the push changes, and refuses it when there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from policies.documents import check_customer, check_platform
from state_repo.documents import Violation
from state_repo.parsing import DocumentError
from state_repo.store import Store

_NOTHING = "0" * 40


def violations_of(store: Store, old: str, new: str) -> list[Violation]:
    """Every violation in what `new` changes against `old` (a commit, or zeros for none)."""
    try:
        snapshot = store.snapshot(new)
        before = store.snapshot(old).customers if old != _NOTHING else {}
    except DocumentError as error:
        return list(error.violations)
    found = check_platform(snapshot.platform)
    for customer, state in snapshot.customers.items():
        if customer in before and before[customer].digest == state.digest:
            continue
        found += state.violations or check_customer(store.view(new, customer))
    return found


def main(arguments: list[str]) -> int:
    _, old, new = arguments
    if new == _NOTHING:  # a branch is removed
        return 0
    found = violations_of(Store(Path.cwd()), old, new)
    for violation in found:
        print(violation)
    if found:
        print(f"{len(found)} violation(s): nothing was accepted. Correct them and push again.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
