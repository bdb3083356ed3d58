"""Examines an installation: each check by itself, each with what to do."""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operator_cli.reach import ReachError, ask
from state_repo.edge_door import ask_edge
from state_repo.forge import ForgeAddressError
from state_repo.instance import Instance
from state_repo.parsing import DocumentError
from state_repo.status import StatusStore
from state_repo.store import Store

_BUILT_PULUMI = Path(__file__).resolve().parent.parent / ".build" / "bin" / "pulumi"


@dataclass(frozen=True, slots=True)
class Finding:
    """`result`: ok, warn or fail."""

    name: str
    result: str
    found: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine(instance: Instance, status: StatusStore) -> list[Finding]:
    checks: list[Callable[[], Iterator[Finding]]] = [
        _programs, lambda: _docker(instance), lambda: _disk(instance), _agent_walls,
        lambda: _languages(instance),
        lambda: _secrets(instance), lambda: _documents(instance),
        lambda: _reconciler(instance), lambda: _web(instance), lambda: _walls(instance),
        lambda: _swap(instance), lambda: _name(instance), lambda: _forge(instance),
        lambda: _alerts(instance), lambda: _backups(instance),
        lambda: _certificate(instance),
        lambda: _fleet(status)]
    findings = []
    for check in checks:
        try:
            findings += list(check())
        except Exception as error:  # one broken check must not hide the others
            findings.append(Finding("doctor", "fail", f"{type(error).__name__}: {error}",
                                    "report this: a check itself failed"))
    return findings


def _programs() -> Iterator[Finding]:
    paths = "/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    for name in ("git", "iptables", "setpriv", "docker"):
        found = shutil.which(name) or shutil.which(name, path=paths)
        yield Finding(name, "ok" if found else "fail", found or "is not installed",
                      "" if found else "`make run` installs it")
    pulumi = shutil.which("pulumi") or (str(_BUILT_PULUMI) if _BUILT_PULUMI.exists() else None)
    yield Finding("pulumi", "ok" if pulumi else "fail", pulumi or "is not there",
                  "" if pulumi else "`make run` builds it")


_TESSDATA = Path("/usr/share/tesseract-ocr")


def _languages(instance: Instance) -> Iterator[Finding]:
    """Whether what is written in pictures can be recognised in the languages that are wanted."""
    wanted = Store.open_or_create(instance).platform().ocr_languages
    missing = [name for name in wanted
               if not list(_TESSDATA.glob(f"*/tessdata/{name}.traineddata"))]
    if not wanted:
        yield Finding("text in pictures", "ok", "is not read (ocrLanguages is empty)")
    elif missing:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in missing)
        yield Finding("text in pictures", "warn", f"{', '.join(missing)}: not known here",
                      f"apt-get install {packages}")
    else:
        yield Finding("text in pictures", "ok", f"is read in {', '.join(wanted)}")


def _docker(instance: Instance) -> Iterator[Finding]:
    done = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield Finding("Docker answers", "fail", done.stderr.strip().splitlines()[-1],
                      f"start it (`make run` does); its log is {instance.logs_path}/dockerd.log")
        return
    yield Finding("Docker answers", "ok", done.stdout.strip())
    yield from _chains()


def _chains() -> Iterator[Finding]:
    """Whether Docker asks the chain in which our rules hang (see stacks/firewall.py)."""
    done = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True,
                          check=False, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        yield Finding("Docker uses iptables", "warn", last, "look as root: sudo ./iw doctor")
        return
    asked = any(line.endswith("-j DOCKER-USER") for line in done.stdout.splitlines())
    yield Finding("Docker uses iptables", "ok" if asked else "fail",
                  "FORWARD asks DOCKER-USER" if asked else "FORWARD does not ask DOCKER-USER",
                  "" if asked else "nobody is started: have Docker use iptables (no "
                  '"iptables": false and no other "firewall-backend" in daemon.json), restart it')


def _disk(instance: Instance) -> Iterator[Finding]:
    free = shutil.disk_usage(instance.data).free / 2**30
    result = "ok" if free > 10 else "warn" if free > 2 else "fail"
    yield Finding("disk", result, f"{free:.0f} GiB free at {instance.data}",
                  "" if result == "ok" else "make room: docker system df, docker image prune")


_LANDLOCK = 444  # landlock_create_ruleset, the same number on every processor


def _agent_walls() -> Iterator[Finding]:
    """Whether this kernel keeps the agent from its gateway (images/employee/walls.py)."""
    version = ctypes.CDLL(None).syscall(_LANDLOCK, None, ctypes.c_size_t(0), 1)
    if version < 1:
        yield Finding("the agent's walls", "warn", "this kernel has no Landlock", "an employee's "
                      "commands can read what its gateway knows: use Linux 5.13 or newer, with "
                      "landlock among lsm= of the kernel's command line")
    elif version < 6:
        yield Finding("the agent's walls", "ok", f"Landlock {version}: files and processes are "
                      "kept apart; signals from Linux 6.12 on")
    else:
        yield Finding("the agent's walls", "ok", f"Landlock {version}")


def _forge(instance: Instance) -> Iterator[Finding]:
    try:
        address = instance.state_forge
    except ForgeAddressError as error:
        yield Finding("forge", "fail", str(error), "correct it and run `make run` again")
        return
    if address is None:
        return
    try:
        told = ask(instance.socket, "GET", "/v1/forge")
    except ReachError as error:
        yield Finding("forge", "warn", str(error), "see the reconciler's finding")
        return
    problem = told["problem"] if told else "the reconciler runs without it"
    yield Finding("forge", "fail" if problem else "ok", problem or address.page,
                  "check the address, the network and the token's rights, put a new one by "
                  "IW_FORGE_TOKEN=… make run" if problem else "")


def _alerts(instance: Instance) -> Iterator[Finding]:
    alerts = Store(instance.state_repo_path).platform().alerts
    named = {r.target for r in alerts.receivers if not r.email} | {
        name for name in (alerts.heartbeat, alerts.mail and alerts.mail.secret) if name}
    missing = sorted(n for n in named if not (instance.secrets_path / n).exists())
    if missing:
        yield Finding("alerts", "fail", f"these secrets are missing: {', '.join(missing)}",
                      f"write them into {instance.secrets_path} (mode 0600), one line each")
    elif not alerts.receivers:
        yield Finding("alerts", "warn", "nobody is told when something breaks",
                      "./iw alert add email ADDRESS, or slack, or webhook")
    else:
        yield Finding("alerts", "ok", f"{len(alerts.receivers)} are told" + (
            "" if alerts.heartbeat else "; no heartbeat says that this machine lives"))


def _backups(instance: Instance) -> Iterator[Finding]:
    settings = Store(instance.state_repo_path).platform().backups
    if settings.repository is None:
        yield Finding("backups", "warn", "nothing is backed up",
                      "./iw backup set REPOSITORY: a folder on another disk, SFTP or S3")
        return
    try:
        found = ask(instance.socket, "GET", "/v1/backups", timeout_s=5)
    except ReachError:
        return  # the line of the reconciler says so
    for what, runs in (("backups", found["runs"]), ("backup drill", found["drills"])):
        if runs and not runs[-1]["whole"]:
            yield Finding(what, "fail", "; ".join(
                f"{name}: {why}" for name, why in runs[-1]["problems"].items()),
                f"docs/runbooks/{'BackupFailing' if what == 'backups' else 'DrillFailing'}.md")
        elif runs:
            yield Finding(what, "ok", f"the last is whole, of {runs[-1]['began'][:16]}")
        elif what == "backups":
            yield Finding(what, "warn", "none was made yet", "./iw backup now")


def _certificate(instance: Instance) -> Iterator[Finding]:
    if not instance.app_url.startswith("https:"):
        return
    try:
        found = ask(instance.socket, "GET", "/v1/certificate", timeout_s=5)
    except ReachError:
        return  # the line of the reconciler says so
    if found["issuer"] == "internal":
        yield Finding("certificate", "warn", "signed by the edge's own authority, which no browser "
                      "knows", "./iw tls set acme, where the domain is a public one")
    elif found["ends"] is None or found["problem"]:
        yield Finding("certificate", "fail", found["problem"] or "not signed yet",
                      "docs/runbooks/CertificateExpiring.md")
    else:
        yield Finding("certificate", "ok", f"by {found['signed_by']}, until {found['ends'][:10]}")


def _secrets(instance: Instance) -> Iterator[Finding]:
    loose = [p.name for p in (instance.secrets_path, *instance.secrets_path.glob("*"))
             if p.stat().st_mode & 0o077]
    yield Finding("secrets are private", "fail" if loose else "ok", ", ".join(loose) or "0600",
                  f"chmod -R go= {instance.secrets_path}" if loose else "")


def _documents(instance: Instance) -> Iterator[Finding]:
    try:
        snapshot = Store(instance.state_repo_path).snapshot()
    except DocumentError as error:
        yield Finding("documents", "fail", str(error), "correct the file, commit, and push")
        return
    wrong = [v for state in snapshot.customers.values() for v in state.violations]
    for violation in wrong:
        yield Finding("documents", "warn", str(violation), "correct it: this customer is held")
    if not wrong:
        count = sum(len(state.employees) for state in snapshot.customers.values())
        yield Finding("documents", "ok", f"{len(snapshot.customers)} customers, {count} employees")


def _reconciler(instance: Instance) -> Iterator[Finding]:
    try:
        found = ask(instance.socket, "GET", "/v1/status", timeout_s=5)
    except ReachError as error:
        yield Finding("reconciler", "fail", str(error),
                      f"`make run`; its log is {instance.logs_path}/reconciler.log")
        return
    halted = found["halted"]
    yield Finding("reconciler", "fail" if halted else "ok", halted or "turns",
                  "see docs/operations.md, The brakes" if halted else "")
    yield _limit_of_files(found["disks"])
    for part, why in found["unreachable"].items():
        yield Finding(f"reach {part}", "fail", why, "it is retried by itself; see its container's "
                                                     "log (docker logs)")


def _limit_of_files(disks: dict[str, Any]) -> Finding:
    """How an employee's files are kept within their limit on this machine."""
    if not disks["impossible"]:
        return Finding("limit of files", "ok", f"{disks['count']} employees have a disk of their "
                       "own; the kernel keeps them within it")
    return Finding("limit of files", "warn", "watched: who passes it is frozen within about a "
                   f"second, for {disks['impossible']}", "new employees get a disk of their own "
                   "when this is mended")


def _web(instance: Instance) -> Iterator[Finding]:
    for name, port in (("web app", "app"), ("edge", "edge")):
        try:
            answered = ask_edge(instance) if port == "edge" else _ask_app(instance)
            good = answered == 200
            yield Finding(name, "ok" if good else "fail", f"{answered} on {instance.ports[port]}",
                          "" if good else f"see {instance.logs_path}/webapp.log")
        except (OSError, http.client.HTTPException) as error:
            yield Finding(name, "fail", f"port {instance.ports[port]}: {error}",
                          f"`make run`; logs are in {instance.logs_path}")


def _ask_app(instance: Instance) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", instance.ports["app"], timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": instance.app_host})
        return connection.getresponse().status
    finally:
        connection.close()


def _walls(instance: Instance) -> Iterator[Finding]:
    """Whether the web app runs confined (tools/confine.py)."""
    try:
        pid = (instance.run_path / "webapp.pid").read_text().split()[0]
        flags = Path(f"/proc/{pid}/status").read_text()
    except (OSError, IndexError):
        return  # that it does not run is said elsewhere
    confined = "CapEff:\t0000000000000000" in flags and "NoNewPrivs:\t1" in flags
    user = re.search(r"^Uid:\t(\d+)", flags, re.MULTILINE)
    alone = user is not None and int(user[1]) != os.geteuid()
    yield Finding("web app is confined", "ok" if confined and alone else "warn",
                  "it runs without walls" if not confined else "no Docker socket, no secrets, "
                  + ("a user of its own" if alone else "but as the reconciler's user"),
                  "" if confined and alone else "`make down` and `make run` as root, with "
                  "bubblewrap and setpriv (util-linux), from code that every user may read")


def _swap(instance: Instance) -> Iterator[Finding]:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["SwapFree"].split()[0]) / 2**20
    yield Finding("swap", "ok" if free >= 1 else "warn", f"{free:.0f} GiB free",
                  "" if free >= 1 else "idle employees are stopped instead of paused, and wake "
                  "slowly: IW_ZRAM=12G make run (as root) gives compressed swap")


def _name(instance: Instance) -> Iterator[Finding]:
    """Asks our own DNS for the dashboard's address: one question in RFC 1035's format."""
    name = b"".join(bytes([len(p)]) + p for p in instance.app_host.encode().split(b".")) + b"\0"
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(3)
        try:
            asker.sendto(question, ("127.0.0.1", instance.ports["dns"]))
            answers = struct.unpack(">H", asker.recv(512)[6:8])[0]
        except OSError as error:
            yield Finding("DNS", "fail", f"port {instance.ports['dns']}: {error}",
                          f"docker logs {instance.platform_container('dns')}")
            return
    yield Finding("DNS", "ok" if answers else "fail", f"{instance.app_host}: {answers} answer(s)",
                  "" if answers else "`iw drift` says what is missing; it is repaired by itself")


def _fleet(status: StatusStore) -> Iterator[Finding]:
    for stack in status.stacks():
        if stack.health_status == "Degraded" and stack.id != "loop":
            yield Finding(stack.id, "warn", stack.reason or "an employee does not work",
                          "see `iw status`, `iw receipts`, `iw logs`")
