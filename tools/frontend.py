"""The web app's JavaScript from npm, exactly as locked: what pages load is copied into
`webapp/static/vendor`, what tests load stays in the build folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tools.images import npm_ci
from tools.machine import BUILD, ROOT

SOURCE = ROOT / "webapp"
VENDOR = SOURCE / "static" / "vendor"
# file in node_modules -> name under static/vendor
SERVED = {
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "htmx.org/dist/ext/hx-sse.min.js": "hx-sse.js",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}


def vendor() -> Path:
    """Copies what is served; nothing is done when it is there. Returns the node_modules folder."""
    modules = npm_ci(SOURCE, BUILD / "frontend.log") / "node_modules"
    stamp = VENDOR / ".made-from"
    made_from = hashlib.sha256(
        (SOURCE / "package-lock.json").read_bytes() + repr(SERVED).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(VENDOR, ignore_errors=True)
        VENDOR.mkdir(parents=True)
        for source, name in SERVED.items():
            shutil.copy2(modules / source, VENDOR / name)
        stamp.write_text(made_from)
    return modules
