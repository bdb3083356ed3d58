"""Earlier versions of a customer's documents, beside the documents themselves:

    .earlier/NAME/3          the third version, a hard link to what stood in files/ then
    .earlier/NAME/3.json     whose it was, from when to when

Employees can't look in there: what they know is what stands now. Versions never take the room of
documents: the oldest go first.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from stacks.workspace import NotFound

MOST = 10  # versions of a document
FOLDER = ".earlier"


@dataclass(frozen=True, slots=True)
class Version:
    """What a document was from `uploaded` (by `by`) until `replaced`, UTC. `size`: bytes."""

    version: int
    size: int
    uploaded: datetime
    by: str
    replaced: datetime


class History:
    """Of the documents in `root`/files. Its caller holds their lock."""

    def __init__(self, root: Path) -> None:
        self._root, self._files = root / FOLDER, root / "files"

    def of(self, name: str) -> list[Version]:
        """The newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in (self._root / name).glob("*.json"):
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # torn
                    said = json.loads(path.read_text(encoding="utf-8"))
                    number = int(path.stem)
                    found.append(Version(
                        number, path.with_suffix("").stat().st_size,
                        datetime.fromisoformat(said["uploaded"]), str(said["by"]),
                        datetime.fromisoformat(said["replaced"])))
        return sorted(found, key=lambda one: -one.version)

    def counts(self) -> dict[str, int]:
        """By name, how many versions there are."""
        with contextlib.suppress(FileNotFoundError):
            return {folder.name: sum(path.name.isdigit() for path in folder.iterdir())
                    for folder in self._root.iterdir()}
        return {}

    def open(self, name: str, version: int) -> BinaryIO:
        """Raises NotFound."""
        try:
            return (self._root / name / str(version)).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no version {version} of {name!r}; the oldest go when there "
                           "are many, or no room") from None

    def keep(self, name: str, uploaded: datetime, by: str, now: datetime) -> Path | None:
        """Keeps what stands in files/ now, before it is replaced; None when there is nothing."""
        folder = self._root / name
        self._root.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()),
                         default=0)
        kept = folder / str(number)
        try:
            os.link(self._files / name, kept, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kept.with_name(f"{number}.json").write_text(json.dumps({
            "uploaded": uploaded.isoformat(), "by": by,
            "replaced": now.astimezone(UTC).isoformat()}), encoding="utf-8")
        return kept

    def forget(self, kept: Path) -> None:
        """Of a version that is none after all."""
        kept.unlink(missing_ok=True)
        kept.with_name(f"{kept.name}.json").unlink(missing_ok=True)

    def is_same(self, name: str, kept: Path) -> bool:
        return filecmp.cmp(self._files / name, kept, shallow=False)

    def fit(self, name: str, room: int) -> None:
        """At most MOST versions of this document, and all together at most `room` bytes."""
        for old in self.of(name)[MOST:]:
            self.forget(self._root / name / str(old.version))
        if not self._root.exists():
            return
        every = [(one.replaced, one.version, path / str(one.version), one.size)
                 for path in self._root.iterdir() for one in self.of(path.name)]
        used = sum(size for *_, size in every)
        for *_, kept, size in sorted(every):
            if used <= room:
                return
            self.forget(kept)
            used -= size

    def remove(self, name: str) -> None:
        shutil.rmtree(self._root / name, ignore_errors=True)
