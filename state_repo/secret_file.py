"""Secrets as files of mode 0600: written whole or not at all; an empty one is none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
