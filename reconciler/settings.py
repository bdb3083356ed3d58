"""The one place of this process that reads its environment and its arguments."""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """`cycle_s`: between two looks at reality. `notice_s`: between two looks at the ref.
    `fetch_s`: between two fetches of a remote state repo."""

    data: Path | None
    pulumi: str
    cycle_s: float = 3.0
    notice_s: float = 0.5
    fetch_s: float = 30.0
    log_level: str = "INFO"


def load(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m reconciler")
    parser.add_argument("--data", type=Path, help="the instance's data folder")
    parser.add_argument("--cycle", type=float, default=float(os.environ.get("IW_CYCLE_S", "3")),
                        help="seconds between two looks at reality")
    given = parser.parse_args(arguments)
    built = Path(__file__).parent.parent / ".build" / "bin" / "pulumi"
    pulumi = os.environ.get("IW_PULUMI") or (str(built) if built.exists() else
                                             shutil.which("pulumi") or "pulumi")
    return Settings(data=given.data, pulumi=pulumi, cycle_s=given.cycle,
                    log_level=os.environ.get("IW_LOG_LEVEL", "INFO").upper())
