"""Folders and files of the data folder that the platform's containers mount."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import requests

from stacks.providers.servicer import Inputs, Kind
from stacks.secret_files import as_written, resolved
from state_repo.instance import Instance


class Folder(Kind):
    token = "instantworker:host:Folder"
    properties = frozenset({"path", "uid", "mode"})
    in_place = frozenset({"uid", "mode"})

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def create(self, inputs: Inputs) -> str:
        path = self._instance.data / inputs["path"]
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(int(inputs["mode"], 8))
        os.chown(path, int(inputs["uid"]), int(inputs["uid"]))
        return inputs["path"]

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        try:
            found = (self._instance.data / id).stat()
        except FileNotFoundError:
            return None
        return inputs | {"uid": float(found.st_uid) if found.st_uid != inputs["uid"]
                         else inputs["uid"], "mode": f"{found.st_mode & 0o777:04o}"}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        """Keeps the folder: it may hold data (a zone, months of metrics)."""


class ConfigFile(Kind):
    token = "instantworker:host:ConfigFile"
    properties = frozenset({"path", "content", "uid", "reload"})
    in_place = frozenset({"content", "uid", "reload"})

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def replaces_first(self, inputs: Inputs) -> bool:
        return True  # under another path: who still reads the old one goes first

    def create(self, inputs: Inputs) -> str:
        path = self._path(inputs)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = resolved(self._instance, inputs["content"])
        # In place, not by rename: a bind mount shows the file that it was made with.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w") as file:
            file.write(text)
        path.chmod(0o400)
        os.chown(path, int(inputs["uid"]), int(inputs["uid"]))
        return inputs["path"]

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        path = self._path(inputs)
        if not path.is_file():
            return None
        if is_current(self._instance, inputs):
            return inputs
        # Never the real text: it may hold a secret.
        return inputs | {"content": "(changed by hand)"}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)
        if new.get("reload"):
            # Not up yet: it reads the file when it starts. Refused: the observer sees the old one.
            with contextlib.suppress(requests.RequestException):
                requests.post(new["reload"], timeout=10).raise_for_status()

    def delete(self, id: str, inputs: Inputs) -> None:
        path = self._path(inputs)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # where others lie
                path.parent.rmdir()

    def _path(self, inputs: Inputs) -> Path:
        return self._instance.data / inputs["path"]


def is_current(instance: Instance, inputs: Inputs) -> bool:
    """Whether the file holds what it should."""
    try:
        text = (instance.data / inputs["path"]).read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return text == as_written(instance, inputs["content"])
