"""Skills: Markdown with a front matter, in the form of https://agentskills.io/specification.

    ---
    name: meeting-notes
    description: Turn a transcript into decisions and tasks. Use it for minutes.
    allowed-tools: read write
    metadata: {version: "1.0", example: Make minutes of meetings/today.txt.}
    ---

    # Meeting notes
    ...

An employee's agent sees name and description of those that it was given, and reads the rest when
a task calls for it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from state_repo.documents import Skill, Violation
from state_repo.parsing import DocumentError, checked

MOST_BYTES = 24 * 1024  # what an agent reads at once, several times over
_FRONT = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*\n(.*)", re.S)


def parse_skill(text: str, path: str) -> Skill:
    """Reads one SKILL.md. `path`: its path in the state repo, which ends in
    `<skill>/SKILL.md`.

    Raises:
        DocumentError: with every error of its front matter.
    """
    def wrong(line: int, what: str, fix: str) -> DocumentError:
        return DocumentError((Violation(path, line, "-", what, fix),))
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise wrong(0, f"has {size:,} bytes", f"keep a skill to {MOST_BYTES:,}: employees read "
                    "all of it when a task calls for it")
    for n, line in enumerate(text.split("\n"), 1):
        if any(unicodedata.category(c) in ("Cc", "Cs") and c != "\t" for c in line):
            raise wrong(n, "holds a control character", "write plain text, lines ended by LF")
    found = _FRONT.fullmatch(text)
    if not found:
        raise wrong(1, "has no front matter", "begin with a line of ---, the fields name, "
                    "description, allowed-tools and metadata, and another line of ---")
    # The first line is the front matter's mark, so that a line of its is one less than the file's.
    values = checked(found[1], path, "Skill", first_line=2)
    if not found[2].strip():
        raise wrong(text.count("\n"), "says nothing", "write after the front matter how the work "
                    "is done")
    folder = path.split("/")[-2]
    if values["name"] != folder:
        raise DocumentError((Violation(path, 2, "name", f"is {values['name']}",
                                       f"write {folder}, as its folder is called"),))
    metadata = values["metadata"]
    return Skill(values["name"], values["description"], metadata["version"],
                 tuple(values["allowed-tools"].split()), metadata["example"], text,
                 hashlib.sha256(text.encode()).hexdigest()[:16])
