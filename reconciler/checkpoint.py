"""What a crash leaves of Pulumi's state, made whole before the next run.

The engine's files are written beside their place and renamed, but for the small `.attrs` beside
each one (gocloud.dev's fileblob), which a kill may leave empty: "failed to load checkpoint: EOF",
at every run from then on. And a machine that loses power may leave any of them torn.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def mend(state: Path, stack_file: Path, history: Path) -> None:
    """Makes a stack's checkpoint whole: what it was before its last step, or after its last run;
    else it is removed, and what exists is adopted by its labels. `state`: Pulumi's folder;
    `history`: the stack's own."""
    for path in (state / "meta.yaml", stack_file, stack_file.with_name(f"{stack_file.name}.bak")):
        attributes = path.with_name(f"{path.name}.attrs")
        if attributes.exists() and not _is_whole(attributes):
            log.warning("%s was torn by a crash; it is made anew", attributes)
            attributes.unlink()
    if not stack_file.exists() or _is_whole(stack_file):
        return
    newest = sorted(history.glob("*.checkpoint.json"), key=lambda path: path.name, reverse=True)
    for candidate in (stack_file.with_name(f"{stack_file.name}.bak"), *newest):
        if candidate.exists() and _is_whole(candidate):
            log.warning("%s was torn by a crash; it is what it was in %s", stack_file, candidate)
            fresh = stack_file.with_name(f"{stack_file.name}.new")
            fresh.write_bytes(candidate.read_bytes())
            fresh.replace(stack_file)
            return
    log.warning("%s was torn by a crash, and there is no older one; what exists is adopted",
                stack_file)
    stack_file.unlink()


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
