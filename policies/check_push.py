"""Git's `update` hook: the same rules on whatever is pushed, branch or main.

Called by git in the bare repo as `update <ref> <old> <new>`; prints every violation of the
customers that the push changes (of all, when it changes platform.yaml), and refuses it when it
makes something worse than it was.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

from policies.documents import check_customer, check_platform
from state_repo.documents import Violation, worsened
from state_repo.git_door import BRANCH
from state_repo.parsing import DocumentError
from state_repo.store import Store

_NOTHING = "0" * 40
_BRANCH = re.compile(r"refs/heads/[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


def violations_of(store: Store, old: str, new: str) -> list[Violation]:
    """What `new` makes worse than `old` (a commit, or zeros for a new branch: then main)."""
    before = old if old != _NOTHING else store.head()
    try:
        found = check_platform(store.platform(new))
        if before is not None:
            with suppress(DocumentError):  # a broken platform.yaml is mended by a push
                found = worsened(check_platform(store.platform(before)), found)
        return found + store.worse(before, new)
    except DocumentError as error:
        return list(error.violations)


def may_push(store: Store, ref: str) -> bool:
    """Whether a ref takes pushes: main does where platform.yaml says so, where there is none yet,
    and where it can't be read, so that a push can mend it."""
    if ref != BRANCH or store.head() is None:
        return True
    try:
        return store.platform().review.direct_pushes
    except DocumentError:
        return True


def main(arguments: list[str]) -> int:
    ref, old, new = arguments
    if not _BRANCH.fullmatch(ref) or ".." in ref:
        print(f"{ref}: only branches are taken here (refs/heads/<name>, of letters, digits, "
              "- _ . /); nothing was accepted. Push to a branch.")
        return 1
    if new == _NOTHING:  # a branch is removed; git itself refuses that of main
        return 0
    store = Store(Path.cwd(), rules=check_customer)
    if not may_push(store, ref):
        print("main takes no pushes: nothing was accepted. Push a branch "
              "(git push origin HEAD:<name>) and have it reviewed under Changes in the dashboard; "
              "or let main take pushes: ./iw review --direct-pushes on")
        return 1
    if ref == BRANCH and old != _NOTHING and not store.is_ancestor(old, new):
        print("this would rewrite main's history (non-fast-forward): nothing was accepted. "
              "Fetch, rebase onto origin/main, and push again.")
        return 1
    found = violations_of(store, old, new)
    for violation in found:
        print(violation)
    if found:
        print(f"{len(found)} violation(s): nothing was accepted. Correct them and push again.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
