"""Which paths the state repo may hold: everything else is refused, whoever brings it.

    platform.yaml
    customers/<customer>/customer.yaml
    customers/<customer>/employees/<employee>.yaml
    customers/<customer>/lessons/<lesson>.yaml
    skills/<skill>/SKILL.md
    README.md, .gitignore        for people

Trees are given as git has them: a name, a mode and whether the entry is a folder; nothing is read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from state_repo.documents import PLATFORM_PATH, SKILLS_FOLDER, Violation

FOR_PEOPLE = ("README.md", ".gitignore")
FOLDERS = ("employees", "lessons")
MOST_FILES = 20_000  # of one folder
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LINK, _SUBMODULE = 0o120000, 0o160000
Tree = Mapping[str, tuple[bytes, int]]


def misplaced_at_root(tree: Tree) -> Iterator[Violation]:
    """What does not belong at the root."""
    yield from _bounded("", tree)
    for name, (_, mode) in tree.items():
        if name in ("customers", SKILLS_FOLDER):
            yield from _sort(name, mode, folder=True)
        elif name in (PLATFORM_PATH, *FOR_PEOPLE):
            yield from _sort(name, mode, folder=False)
        else:
            yield _unknown(name, mode)


def misplaced_customers(tree: Tree) -> Iterator[Violation]:
    """What does not belong into customers/."""
    return _misplaced_folders("customers", tree, "customer's id", "ids", 30)


def misplaced_in(customer: str, tree: Tree) -> Iterator[Violation]:
    """What does not belong into one customer's folder; of its own folders see
    `misplaced_documents`."""
    for name, (_, mode) in tree.items():
        path = f"customers/{customer}/{name}"
        if name == "customer.yaml":
            yield from _sort(path, mode, folder=False)
        elif name in FOLDERS:
            yield from _sort(path, mode, folder=True)
        else:
            yield _unknown(path, mode)


def misplaced_documents(folder: str, tree: Tree) -> Iterator[Violation]:
    """What does not belong into an `employees` or `lessons` folder."""
    yield from _bounded(folder, tree)
    for name, (_, mode) in tree.items():
        path = f"{folder}/{name}"
        stem = name.removesuffix(".yaml")
        if stem == name or not _ID.fullmatch(stem) or len(stem) > 40:
            yield Violation(_shown(path), 0, "-", "is no document",
                            "keep only <id>.yaml files here")
        else:
            yield from _sort(path, mode, folder=False)


def misplaced_skills(tree: Tree) -> Iterator[Violation]:
    """What does not belong into skills/."""
    return _misplaced_folders(SKILLS_FOLDER, tree, "skill's name", "skills", 40)


def misplaced_in_skill(skill: str, tree: Tree) -> Iterator[Violation]:
    """What does not belong into one skill's folder."""
    path = f"{SKILLS_FOLDER}/{skill}"
    if "SKILL.md" not in tree:
        yield Violation(path, 0, "-", "holds no SKILL.md", "add it, or remove the folder")
    for name, (_, mode) in tree.items():
        if name == "SKILL.md":
            yield from _sort(f"{path}/{name}", mode, folder=False)
        else:
            yield Violation(_shown(f"{path}/{name}"), 0, "-", "is no part of a skill here",
                            "write what it says into SKILL.md: employees get that file alone")


def is_protected(paths: Iterable[str]) -> bool:
    """Whether a change of these needs a second engineer: what holds for every customer."""
    return any(path == PLATFORM_PATH or path.startswith(f"{SKILLS_FOLDER}/") for path in paths)


def _misplaced_folders(parent: str, tree: Tree, what: str, by: str, longest: int
                       ) -> Iterator[Violation]:
    yield from _bounded(parent, tree)
    for name, (_, mode) in tree.items():
        path = f"{parent}/{name}"
        if not _ID.fullmatch(name) or len(name) > longest:
            yield Violation(_shown(path), 0, "-", f"is no {what}", f"name folders here by {by}: "
                            f"a-z, 0-9 and single hyphens, a letter first, at most {longest}")
        else:
            yield from _sort(path, mode, folder=True)


def _sort(path: str, mode: int, *, folder: bool) -> Iterator[Violation]:
    if mode == _LINK:
        yield Violation(path, 0, "-", "is a symbolic link", "put the document itself there")
    elif mode == _SUBMODULE:
        yield Violation(path, 0, "-", "is a submodule", "put the documents themselves there")
    elif stat.S_ISDIR(mode) != folder:
        yield Violation(path, 0, "-", "is a folder" if stat.S_ISDIR(mode) else "is a file",
                        f"a {'folder' if folder else 'file'} belongs there")


def _unknown(path: str, mode: int) -> Violation:
    found = next(_sort(path, mode, folder=stat.S_ISDIR(mode)), None)
    return found or Violation(_shown(path), 0, "-", "is no path of the state repo", "it holds "
                              "platform.yaml, skills/<name>/SKILL.md, and customers/<id>/ with "
                              "customer.yaml, employees/ and lessons/; keep other files elsewhere")


def _bounded(path: str, tree: Tree) -> Iterator[Violation]:
    if len(tree) > MOST_FILES:
        yield Violation(path or "/", 0, "-", f"holds {len(tree):,} entries",
                        f"at most {MOST_FILES:,}")


def _shown(path: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in path)[:200]
