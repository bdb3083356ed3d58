"""`make audit`: what tools find in the code, its history and what it is made of.

    bandit        the code, but for what was looked at (docs/audit.toml says why each is fine)
    gitleaks      every commit of the history, for secrets
    fuzzer        the API, by its own description: whatever is asked, no error of ours
    docker-bench  the containers of the platform that runs here, as the CIS benchmark asks
    materials     CycloneDX bills of materials of Python's and npm's packages, in .build/audit

What could not be done is told as such, and is no success.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from state_repo.instance import Instance
from tools import machine, wheels
from tools.machine import BUILD, PYTHON, ROOT, lock_of
from tools.setup import data_folder
from tools.steps import StepError, run, step

ROOMS = ("state_repo", "policies", "stacks", "reconciler", "webapp", "operator_cli", "tools",
         "images")
DOCKER_BENCH_FROM = "https://github.com/docker/docker-bench-security"
DOCKER_BENCH = "ff26d67f25be60fc2d82a01710ee14570b2cb9db"  # v1.6.1, and its mends since
ACCEPTED = ROOT / "docs" / "audit.toml"
FOLDER = BUILD / "audit"
LISTS = ("requirements.txt", "images/employee/requirements.txt",
         "images/model-proxy/requirements.txt")
PACKAGES = ("webapp", "images/employee")


def main() -> int:
    """0 when every part is clean."""
    with step("audit tools"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        wheels.install([lock_of(ROOT / "requirements-audit.txt")], f"--target={FOLDER / 'site'}",
                       f"--python={PYTHON}", log=FOLDER / "install.log")
    parts: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        ("bandit", bandit), ("gitleaks", gitleaks), ("API fuzzer", fuzzer),
        ("docker-bench", docker_bench), ("bill of materials", materials))
    failed = False
    for name, look in parts:
        try:
            found = look()
        except (StepError, OSError, ValueError) as error:
            found = [f"could not be done: {getattr(error, 'why', error)}"]
        print(f"  {'✗' if found else '✓'} {name}{': clean' if not found else ''}", flush=True)
        for line in found:
            print(f"      {line}")
        failed |= bool(found)
    print(f"\n  The bills of materials are in {FOLDER.relative_to(ROOT)}.")
    return 1 if failed else 0


def bandit() -> list[str]:
    done = _tool("-m", "bandit", "--quiet", "--recursive", "--format=json", *ROOMS)
    results = [{**r, "filename": r["filename"].removeprefix("./")}
               for r in json.loads(done.stdout)["results"]]
    return compared(results, tomllib.loads(ACCEPTED.read_text()))


def compared(results: list[dict[str, Any]], accepted: dict[str, dict[str, str]]) -> list[str]:
    """What bandit found and nobody looked at; and what was looked at and is there no more."""
    everywhere, found = accepted["everywhere"], accepted["found"]
    seen = {f"{r['test_id']} {r['filename']}" for r in results}
    new = [f"{r['filename']}:{r['line_number']}: {r['test_id']} {r['issue_text']}" for r in results
           if r["test_id"] not in everywhere and f"{r['test_id']} {r['filename']}" not in found]
    rules = {r["test_id"] for r in results}
    return new + [f"{ACCEPTED.relative_to(ROOT)}: {name} is found no more; take it out"
                  for name in [*(found.keys() - seen), *(everywhere.keys() - rules)]]


def gitleaks() -> list[str]:
    program, report = machine.gitleaks(), FOLDER / "gitleaks.json"
    done = subprocess.run(
        [str(program), "git", "--no-banner", "--redact", "--exit-code=9", "--config",
         str(ROOT / ".gitleaks.toml"), "--report-format=json", f"--report-path={report}",
         str(ROOT)],
        capture_output=True, text=True, check=False)
    if done.returncode not in (0, 9):
        raise StepError(done.stderr.strip()[-400:], "")
    return [f"{leak['File']}:{leak['StartLine']} ({leak['Commit'][:10]}): {leak['Description']}"
            for leak in json.loads(report.read_text())]


def fuzzer() -> list[str]:
    done = subprocess.run([str(PYTHON), "-m", "pytest", "-q", "-m", "not long and not parts",
                           "tests/webapp/test_fuzz.py"], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    return [] if done.returncode == 0 else done.stdout.strip().splitlines()[-5:]


def docker_bench() -> list[str]:
    """What it warns of and nobody looked at, of this instance's containers and their images."""
    data, report = data_folder(), FOLDER / "docker-bench.log"
    if not (data / "instance.json").exists():
        raise StepError("nothing of ours runs here", "make run")
    told = Path(f"{report}.json")
    told.unlink(missing_ok=True)  # of the last time
    done = subprocess.run(
        ["bash", "docker-bench-security.sh", "-b", "-l", str(report), "-i",
         f"{Instance.load(data).prefix}-", "-c", "container_images,container_runtime"],
        cwd=_docker_bench(), capture_output=True, text=True, check=False)
    try:
        sections = json.loads(told.read_text())["tests"]
    except (OSError, ValueError) as error:
        raise StepError(f"it told nothing: {done.stdout[-200:]}{done.stderr[-200:]}", "") from error
    return warned([result for section in sections for result in section["results"]],
                  tomllib.loads(ACCEPTED.read_text())["docker-bench"])


def warned(results: list[dict[str, Any]], accepted: dict[str, str]) -> list[str]:
    """Of what it checked, the warnings without a reason."""
    return [f"{r['id']} {r['desc']} {r.get('details', '')}".strip() for r in results
            if r.get("result") == "WARN" and r["id"] not in accepted]


def _docker_bench() -> Path:
    """Its folder: IW_DOCKER_BENCH, else its own repository at the commit that is pinned here."""
    if given := os.environ.get("IW_DOCKER_BENCH"):
        return Path(given)
    folder = FOLDER / f"docker-bench-{DOCKER_BENCH[:12]}"
    if not (folder / "docker-bench-security.sh").exists():
        folder.mkdir(exist_ok=True)
        for command in (["init", "--quiet"], ["fetch", "--quiet", "--depth=1", DOCKER_BENCH_FROM,
                                              DOCKER_BENCH], ["checkout", "--quiet", DOCKER_BENCH]):
            run(["git", "-C", str(folder), *command], "check the network, or name a copy of it in "
                "IW_DOCKER_BENCH", log=FOLDER / "install.log")
    return folder


def materials() -> list[str]:
    """Writes them; tells which could not be written."""
    missing = []
    for name in LISTS:
        target = FOLDER / f"{name.replace('/', '-').removesuffix('.txt')}.cdx.json"
        done = _tool("-m", "cyclonedx_py", "requirements", str(lock_of(ROOT / name)),
                     "--output-file", str(target))
        if done.returncode != 0 or not _components(target):
            missing.append(f"{name}: {done.stderr.strip()[-200:]}")
    for folder in PACKAGES:
        target = FOLDER / f"{folder.replace('/', '-')}-npm.cdx.json"
        with tempfile.TemporaryDirectory() as place:  # npm wants a version, which ours has not
            for name in ("package.json", "package-lock.json"):
                package = json.loads((ROOT / folder / name).read_text())
                (Path(place) / name).write_text(json.dumps({"version": "0.0.0", **package}))
            done = subprocess.run(
                ["npm", "sbom", "--sbom-format=cyclonedx", "--package-lock-only"], cwd=place,
                capture_output=True, text=True, check=False)
        target.write_text(done.stdout)
        if done.returncode != 0 or not _components(target):
            missing.append(f"{folder}: {done.stderr.strip()[-200:]}")
    return missing


def _components(bill: Path) -> int:
    """How many parts it names."""
    try:
        return len(json.loads(bill.read_text())["components"])
    except (OSError, ValueError, KeyError):
        return 0


def _tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PYTHON), *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=False, env={"PYTHONPATH": str(FOLDER / "site"),
                                            "PATH": "/usr/bin:/bin"})


if __name__ == "__main__":
    sys.exit(main())
