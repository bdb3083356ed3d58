"""Files with the right owners: secrets, of mode 0600, written whole or not at all; and files that
two of our processes share, which run as different users."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TextIO

from state_repo import StateRepoError


class SecretError(StateRepoError):
    """A secret is missing or empty; the message says what to do."""


def read_secret(path: Path) -> str:
    """The secret, without space around it.

    Raises:
        SecretError: there is none, or it is empty.
    """
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"the secret {path.name} can't be read from {path.parent} ({error})"
                          ) from error
    if not text:
        raise SecretError(f"the secret {path} is empty; put it there, or remove the file to have "
                          "a new one made where one is made by itself")
    return text


def write_secret(path: Path, text: str, *, replace: bool = True) -> bool:
    """Writes a secret in one step: whoever looks finds all of it or none of it, whenever this
    process ends. Without `replace`, an existing one stays; returns whether it was written."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):  # mkdir gives its mode to the last folder alone
        folder.mkdir(mode=0o700, exist_ok=True)
    handle, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(fresh).rename(path)
        else:
            try:
                os.link(fresh, path)
            except FileExistsError:
                return False
        folder_handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder_handle)
        finally:
            os.close(folder_handle)
        return True
    finally:
        Path(fresh).unlink(missing_ok=True)


def shared_file(path: Path) -> TextIO:
    """Opens a file to append to, such as a lock; makes it, if need be, for all who may write into
    its folder."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o660), "a")
    if os.fstat(file.fileno()).st_uid == os.geteuid():
        share(path)
    return file


def share(path: Path) -> None:
    """Gives a file or folder of this user's to its folder's group, as far as that may write."""
    folder = path.parent.stat()
    with contextlib.suppress(PermissionError):  # a group that this user is not in
        os.chown(path, -1, folder.st_gid)
    path.chmod(stat.S_IMODE(folder.st_mode) if path.is_dir() else
               0o660 if folder.st_mode & stat.S_IWGRP else 0o600)
