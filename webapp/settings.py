"""The one place of this process that reads its environment and its arguments."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from state_repo.instance import Instance


@dataclass(frozen=True, slots=True)
class Settings:
    """`threads`: of the server; each open event stream holds one."""

    instance: Instance
    threads: int = 64

    @property
    def secure(self) -> bool:
        return self.instance.app_url.startswith("https:")


def load(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m webapp")
    parser.add_argument("--data", type=Path, help="the instance's data folder")
    given = parser.parse_args(arguments)
    return Settings(Instance.load(given.data), int(os.environ.get("IW_WEB_THREADS", "64")))
