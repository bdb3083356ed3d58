"""Secrets of the platform's parts: files of mode 0600 outside git, made at first use.

A program names a secret as `@secret:<name>@`; the provider puts it in when it writes the file, so
that Pulumi's state and its diffs hold the name alone. Looking never makes one. What only a person
can know, such as where to post, is `@given:<name>@`, and never made.
"""

from __future__ import annotations

import re
import secrets

from stacks import StackError
from state_repo.files import SecretError, read_secret, write_secret
from state_repo.instance import Instance

_REFERENCE = re.compile(r"@(secret|given):([a-z0-9-]+)@")


def secret(instance: Instance, name: str) -> str:
    """The secret; made if there is none. Raises StackError: it is empty."""
    path = instance.secrets_path / name
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(32), replace=False)
    return existing(instance, name)


def existing(instance: Instance, name: str) -> str:
    """The secret, which was made before. Raises StackError: it is missing or empty."""
    try:
        return read_secret(instance.secrets_path / name)
    except SecretError as error:
        raise StackError(str(error)) from error


def given(instance: Instance, name: str) -> str:
    """The secret, which a person put there. Raises StackError: it is missing or empty."""
    try:
        return read_secret(instance.secrets_path / name)
    except SecretError as error:
        raise StackError(f"platform.yaml names the secret {name}, and there is none: write it into "
                         f"{instance.secrets_path / name} (one line, mode 0600)") from error


def remove_secret(instance: Instance, name: str) -> None:
    (instance.secrets_path / name).unlink(missing_ok=True)


def reference(name: str) -> str:
    return f"@secret:{name}@"


def given_reference(name: str) -> str:
    return f"@given:{name}@"


def resolved(instance: Instance, text: str) -> str:
    """The text with its secrets in place; makes those that are not there. Raises StackError: one
    that must be given is missing."""
    def found(match: re.Match[str]) -> str:
        return (secret if match[1] == "secret" else given)(instance, match[2])
    return _REFERENCE.sub(found, text)


def as_written(instance: Instance, text: str) -> str | None:
    """The text as it was written with the secrets that there are; None when one is missing."""
    try:
        return _REFERENCE.sub(lambda match: existing(instance, match[2]), text)
    except StackError:
        return None
