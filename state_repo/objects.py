"""Git's objects: blobs, trees and commits, read and written without an index or a work tree.

A tree never changes, so each is read once; an object that is not packed yet is a file, read without
asking git's own process.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path

import git
from git.objects.fun import tree_entries_from_data, tree_to_stream
from gitdb import IStream, LooseObjectDB
from gitdb.util import bin_to_hex, hex_to_bin

from state_repo.files import share
from state_repo.parsing import MAX_BYTES

Files = Mapping[str, str | None]  # path to new text; None: it goes
Entries = dict[str, tuple[bytes, int]]  # name to (id, mode)
_TREE, _FILE = stat.S_IFDIR, stat.S_IFREG | 0o644


class Objects:
    """The objects of one bare repo. Its caller sees to threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._repo = git.Repo(str(path))
        self._trees: dict[bytes, Entries] = {}
        self._newest = ("", b"")  # the commit last asked for, with its tree

    def write(self, kind: str, data: bytes) -> bytes:
        name = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False)
        folder = self._path / "objects" / name.hexdigest()[:2]
        if (folder / name.hexdigest()[2:]).exists():  # perhaps another user's: gitdb would chmod it
            return name.digest()
        if not folder.exists():  # gitdb would make it for this process's user alone
            folder.mkdir(exist_ok=True)
            share(folder)
        # GitPython's own way starts a process an object; gitdb's, which it is made of, none.
        return LooseObjectDB.store(self._repo.odb, IStream(kind.encode(), len(data),
                                                           io.BytesIO(data))).binsha

    def read(self, sha: bytes) -> bytes:
        """An object's data. Until it is packed it is a file, read without asking git's process."""
        name = bin_to_hex(sha).decode()
        try:
            packed = (self._path / "objects" / name[:2] / name[2:]).read_bytes()
        except FileNotFoundError:
            return self._repo.odb.stream(sha).read()
        return zlib.decompress(packed).partition(b"\0")[2]

    def read_document(self, blob: bytes) -> bytes:
        """A document's data; of one that is far too large, only so much that `parse` says so."""
        name = bin_to_hex(blob).decode()
        try:
            with open(self._path / "objects" / name[:2] / name[2:], "rb") as packed:
                start = packed.read(4 * MAX_BYTES)
        except FileNotFoundError:
            if self._repo.odb.info(blob).size > 2 * MAX_BYTES:
                return b" " * (MAX_BYTES + 1)
            return self.read(blob)
        return zlib.decompressobj().decompress(start, 2 * MAX_BYTES).partition(b"\0")[2]

    def tree_of(self, commit: str) -> bytes:
        if commit != self._newest[0]:
            text = self.read(hex_to_bin(commit))
            self._newest = (commit, hex_to_bin(text[5:45]))
        return self._newest[1]

    def parent_of(self, commit: str) -> str | None:
        found = re.search(rb"^parent ([0-9a-f]{40})$",
                          self.read(hex_to_bin(commit)).partition(b"\n\n")[0], re.M)
        return found[1].decode() if found else None

    def entries(self, tree: bytes) -> Entries:
        """A tree's entries by name; trees never change, so each is read once."""
        if tree not in self._trees:
            data = self.read(tree)
            self._keep(tree, {str(name): (sha, mode)
                              for sha, mode, name in tree_entries_from_data(data)})
        return self._trees[tree]

    def _keep(self, tree: bytes, entries: Entries) -> bytes:
        if len(self._trees) > 20_000:
            self._trees.clear()
        self._trees[tree] = entries
        return tree

    def find(self, tree: bytes, names: tuple[str, ...]) -> bytes | None:
        for n, name in enumerate(names):
            entry = self.entries(tree).get(name)
            if entry is None or (n < len(names) - 1 and not stat.S_ISDIR(entry[1])):
                return None
            tree = entry[0]
        return tree

    def with_files(self, tree: bytes | None, files: Files) -> bytes:
        """The tree with some files written or removed; empty folders go."""
        entries = dict(self.entries(tree)) if tree else {}
        below: dict[str, dict[str, str | None]] = {}
        for path, text in files.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = text
            elif text is None:
                entries.pop(name, None)
            else:
                entries[name] = (self.write("blob", text.encode()), _FILE)
        for name, inner in below.items():
            old = entries.get(name)
            sha = self.with_files(old[0] if old and stat.S_ISDIR(old[1]) else None, inner)
            if self.entries(sha):
                entries[name] = (sha, _TREE)
            else:
                entries.pop(name, None)
        # Git orders a folder as if its name ended with a slash.
        rows = sorted(((sha, mode, name) for name, (sha, mode) in entries.items()),
                      key=lambda row: row[2] + ("/" if stat.S_ISDIR(row[1]) else ""))
        stream = io.BytesIO()
        tree_to_stream(rows, stream.write)
        return self._keep(self.write("tree", stream.getvalue()), entries)
