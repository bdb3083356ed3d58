"""One line a step: what is done, how long it takes, and, when it fails, why and what to try."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TTY = sys.stdout.isatty()


class StepError(Exception):
    """A step failed. `why`: its last words; `next_try`: what to do."""

    def __init__(self, why: str, next_try: str) -> None:
        super().__init__(why)
        self.why, self.next_try = why, next_try


@contextmanager
def step(name: str) -> Iterator[None]:
    """Shows the step with a running clock; exits with 1 when it fails."""
    began, done = time.monotonic(), threading.Event()

    def clock() -> None:
        while not done.wait(1.0):
            print(f"\r  … {name} ({time.monotonic() - began:.0f} s) ", end="", flush=True)
    ticker = threading.Thread(target=clock, daemon=True)
    if _TTY:
        ticker.start()
    try:
        yield
    except (StepError, subprocess.TimeoutExpired, OSError) as error:
        done.set()
        why = error.why if isinstance(error, StepError) else str(error)
        hint = error.next_try if isinstance(error, StepError) else "see the lines above"
        print(f"\r  ✗ {name} failed after {time.monotonic() - began:.1f} s\n")
        print("    " + why.strip().replace("\n", "\n    "))
        print(f"\n    Next: {hint}", flush=True)
        sys.exit(1)
    done.set()
    print(f"\r  ✓ {name} ({time.monotonic() - began:.1f} s)        ", flush=True)


def run(command: list[str], next_try: str, *, log: Path | None = None, cwd: Path | None = None,
        env: dict[str, str] | None = None, timeout_s: float = 1800) -> str:
    """Runs a command; its output goes to `log` (or memory) and is shown when it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=cwd, env=env, stdin=subprocess.DEVNULL, timeout=timeout_s,
                              check=False)
    except FileNotFoundError as error:
        raise StepError(f"{command[0]} is not installed", next_try) from error
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise StepError(f"{' '.join(command[:4])} … ended with {done.returncode}:\n{last}",
                        next_try)
    return done.stdout
