"""Installs Python packages: what is locked, and nothing else (see tools/lock.py).

By uv, which pip brings: measured beside pip on the whole environment, it takes a tenth of the time.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.machine import PYTHON, ROOT, VENV, lock_of
from tools.steps import run

UV = VENV / "bin" / "uv"
HINT = "check the network and pip's index, then run this again"
_LOCKED = ("--quiet", "--require-hashes", "--no-deps")
_UV_LOCK = lock_of(ROOT / "requirements-uv.txt")
# A setting of pip's -> uv's variable for the same, and what stands there between several: who uses
# an index of their own told pip.
_SETTINGS = {"index-url": ("UV_DEFAULT_INDEX", " "), "extra-index-url": ("UV_INDEX", " "),
             "find-links": ("UV_FIND_LINKS", ","), "cert": ("SSL_CERT_FILE", " ")}


def environment(requirements: tuple[str, ...]) -> None:
    """The virtual environment with the locked requirements; nothing is done when they are in."""
    locks = [lock_of(ROOT / name) for name in requirements]
    texts = "".join(lock.read_text() for lock in (_UV_LOCK, *locks))
    stamp = VENV / f".installed-{'-'.join(requirements)}"
    digest = hashlib.sha256((texts + sys.version).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and PYTHON.exists():
        return
    if not PYTHON.exists():
        run([sys.executable, "-m", "venv", str(VENV)], "apt-get install python3-venv")
    run([str(PYTHON), "-m", "pip", "install", *_LOCKED, f"--requirement={_UV_LOCK}"], HINT)
    install(locks, f"--python={PYTHON}")
    # What is imported is compiled and kept, now: the web app later runs as a user who can't write
    # there. (Most of what else there is never runs.)
    run([str(PYTHON), "-c", "import webapp.background, webapp.server, reconciler.process, "
         "operator_cli.whole"],
        "a package is broken: remove .venv, then run this again", cwd=ROOT)
    stamp.write_text(digest)


def install(locks: Iterable[Path], *options: str, log: Path | None = None) -> None:
    """Everything in the locks, at once. `options`: of `uv pip install`, where to and for whom."""
    run([str(UV), "pip", "install", *_LOCKED, *options,
         *(f"--requirement={lock}" for lock in locks)], HINT, log=log, env=settings())


def settings() -> dict[str, str]:
    """The environment for uv, which does not read what pip was told; what uv was told wins."""
    shown = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], capture_output=True,
                           text=True, check=False).stdout
    return {"UV_HTTP_TIMEOUT": "180"} | from_pip(shown) | os.environ


def from_pip(shown: str) -> dict[str, str]:
    """What `pip config list` shows (a line each: global.index-url='…'), in uv's variables. What
    stands in the environment (:env:) wins, as with pip."""
    found = {}
    for line in sorted(shown.splitlines(), key=lambda line: line.startswith(":env:")):
        name, separator, value = line.partition("=")
        scope, _, setting = name.rpartition(".")
        if separator and setting in _SETTINGS and scope in ("global", "install", ":env:"):
            variable, between = _SETTINGS[setting]
            found[variable] = between.join(str(ast.literal_eval(value)).split())
    return found
