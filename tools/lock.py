"""`make lock`: writes beside each list of requirements the lock that is installed: all that they
bring with them, by version and hash, so that an index can't slip in another file.

Uv resolves: pip-tools can't for another Python or for several at once.
"""

from __future__ import annotations

from tools.machine import ROOT, lock_of
from tools.steps import run, step
from tools.wheels import HINT, UV, settings

# The host's Python is 3.11 or newer, the images' is Debian's.
_HOST = ("--universal", "--python-version", "3.11")
_IMAGES = ("--python-version", "3.11.2", "--python-platform", "x86_64-manylinux_2_28")
LISTS = {
    "requirements-uv.txt": _HOST,
    "requirements.txt": _HOST,
    "requirements-dev.txt": (*_HOST, "--constraint", "requirements.lock"),
    "requirements-audit.txt": _HOST,
    "requirements-docs.txt": _HOST,
    "images/employee/build-requirements.txt": _HOST,
    "images/employee/requirements.txt": _IMAGES,
    "images/model-proxy/requirements.txt": _IMAGES,
}


def lock(*, upgrade: bool = False) -> None:
    """Keeps what a lock has where that still fits; with `upgrade`, takes what is newest."""
    for name, options in LISTS.items():
        with step(name):
            run([str(UV), "pip", "compile", "--quiet", "--generate-hashes", "--no-header",
                 "--no-annotate", *(["--upgrade"] if upgrade else []), *options, name,
                 "--output-file", str(lock_of(ROOT / name).relative_to(ROOT))], HINT, cwd=ROOT,
                env=settings())
