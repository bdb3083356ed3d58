"""Secrets of the platform's parts: files of mode 0600 outside git, made at first use.

A program names a secret as `@secret:<name>@`; the provider puts it in when it writes the file, so
that Pulumi's state and its diffs hold the name alone.
"""

from __future__ import annotations

import os
import re
import secrets

from state_repo.instance import Instance

_REFERENCE = re.compile(r"@secret:([a-z0-9-]+)@")


def secret(instance: Instance, name: str) -> str:
    path = instance.secrets_path / name
    instance.secrets_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with open(handle, "w") as file:
        file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


def remove_secret(instance: Instance, name: str) -> None:
    (instance.secrets_path / name).unlink(missing_ok=True)


def reference(name: str) -> str:
    return f"@secret:{name}@"


def resolved(instance: Instance, text: str) -> str:
    return _REFERENCE.sub(lambda match: secret(instance, match[1]), text)
