"""`make lock`: writes beside each list of requirements the lock that is installed: all that they
bring with them, by version and hash, so that an index can't slip in another file.

Uv resolves (pip-tools can't for another Python or for several at once); pip installs.
"""

from __future__ import annotations

import tempfile

from tools.machine import PYTHON, ROOT, lock_of
from tools.steps import run, step

UV = "uv==0.13.9"
# The host's Python is 3.11 or newer, the images' is Debian's.
_HOST = ("--universal", "--python-version", "3.11")
_IMAGES = ("--python-version", "3.11.2", "--python-platform", "x86_64-manylinux_2_28")
LISTS = {
    "requirements.txt": _HOST,
    "requirements-dev.txt": (*_HOST, "--constraint", "requirements.lock"),
    "images/employee/build-requirements.txt": _HOST,
    "images/employee/requirements.txt": _IMAGES,
    "images/model-proxy/requirements.txt": _IMAGES,
}


def lock(*, upgrade: bool = False) -> None:
    """Keeps what a lock has where that still fits; with `upgrade`, takes what is newest."""
    hint = "check the network and pip's index, then run this again"
    with tempfile.TemporaryDirectory() as folder:
        run([str(PYTHON), "-m", "pip", "install", "--quiet", "--target", folder, UV], hint)
        for name, options in LISTS.items():
            with step(name):
                run([f"{folder}/bin/uv", "pip", "compile", "--quiet", "--generate-hashes",
                     "--no-header", "--no-annotate", *(["--upgrade"] if upgrade else []), *options,
                     name, "--output-file", str(lock_of(ROOT / name).relative_to(ROOT))], hint,
                    cwd=ROOT)
