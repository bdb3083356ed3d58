"""The units under a running systemd: a container whose first process it is, with this machine's
Docker and network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, docker
from tests.e2e.house import until
from tests.e2e.own_copy import OwnCopy
from tools import confine, images, processes, service
from tools.machine import shared_cache

pytestmark = [pytest.mark.e2e, pytest.mark.long]
# What a container may not do by default, and a machine's systemd and our reconciler do.
CAPABILITIES = ("SYS_ADMIN", "SYS_BOOT", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "MKNOD",
                "DAC_READ_SEARCH")


class Machine(OwnCopy):
    """A copy of the code on a machine of its own; its verbs are run there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.name = f"iw-test-systemd-{self.settings['IW_PREFIX']}"
        self.settings |= {"XDG_CACHE_HOME": str(shared_cache().parent),
                          "PATH": f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def boot(self, folder: Path) -> None:
        image = images.image("systemd", ROOT / "tests" / "systemd", folder / "image.log")
        root = docker("info", "--format", "{{.DockerRootDir}}")[0]
        shared = {str(shared_cache()): ":ro", str(folder): "", str(ROOT / ".venv"): ":ro",
                  str(ROOT / ".build"): "", sys.base_prefix: ":ro", root: "",
                  shutil.which("docker"): ":ro", "/sys/fs/cgroup": ""}
        docker("run", "--detach", f"--name={self.name}", "--network=host", "--cgroupns=host",
               *(f"--cap-add={name}" for name in CAPABILITIES),
               *(f"--security-opt={what}=unconfined" for what in (
                   "seccomp", "apparmor", "systempaths")),
               "--tmpfs=/run", "--tmpfs=/run/lock", "--env=container=docker",
               *(f"--volume={path}:{path}{how}" for path, how in shared.items()),
               "--volume=/var/run/docker.sock:/run/docker.sock", image.partition("@")[2])
        self.booted()

    def booted(self) -> None:
        until(lambda: self.inside("systemctl", "is-system-running", check=False).strip() in (
            "running", "degraded"), "systemd is up", 60)

    def inside(self, *command: str, check: bool = True) -> str:
        settings = [f"--env={name}={value}" for name, value in self.settings.items()]
        done = subprocess.run(["docker", "exec", f"--workdir={self.code}", *settings, self.name,
                               *command], capture_output=True, text=True, check=False, timeout=400)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def setup(self, *verb: str, check: bool = True, **more: str) -> str:
        told = [f"{name}={value}" for name, value in more.items()]
        return self.inside("env", *told, sys.executable, "-m", "tools.setup", *verb, check=check)

    def state(self, process: str, what: str = "ActiveState") -> str:
        return self.inside("systemctl", "show", "--value", f"--property={what}",
                           service.name_of(self.instance, process)).strip()

    def remove(self) -> None:
        self.purge()
        docker("rm", "--force", "--volumes", self.name)


@pytest.fixture
def machine(tmp_path: Path, pulumi: str) -> Iterator[Machine]:
    tmp_path.chmod(0o755)
    made = Machine(tmp_path)
    try:
        made.boot(tmp_path)
        yield made
    finally:
        made.remove()


def test_units_keep_both_processes_from_boot_on(machine, images):
    machine.setup("run")
    machine.hires_light_ones(images)
    pulse = machine.hire()
    container = machine.instance.container_name(pulse)

    def employee() -> list[str]:
        return docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", container)

    def both_are_up() -> bool:
        return all(machine.state(name) == "active" for name in processes.NAMES) and bool(
            machine.page()) and machine.iw("status", check=False) != {}

    machine.inside("make", "service")
    until(both_are_up, "both run as units", 60)
    assert machine.inside("systemd-analyze", "verify", *(
        str(service.UNITS / service.name_of(machine.instance, n)) for n in processes.NAMES)) == ""
    users = machine.inside("ps", "-eo", "uid=").split()
    assert str(confine.user(machine.data)) in users, "the web app has a user of its own"

    for process in processes.NAMES:
        restarts = int(machine.state(process, "NRestarts"))
        machine.inside("systemctl", "kill", "--signal=KILL", service.name_of(
            machine.instance, process))
        until(lambda p=process, n=restarts: int(machine.state(p, "NRestarts")) > n,
              f"{process} is started again", 30)
        until(both_are_up, "both run again", 60)
    machine.iw("pause", pulse)
    until(lambda: docker("inspect", "-f", "{{.State.Running}}", container) == ["false"],
          "a change is made", 30)
    machine.iw("resume", pulse)
    until(lambda: docker("inspect", "-f", "{{.State.Running}}", container) == ["true"],
          "and another", 30)
    made = employee()

    began = time.monotonic()
    docker("restart", machine.name)
    machine.booted()
    until(both_are_up, "after a boot both are there by themselves", 90)
    print(f"{time.monotonic() - began:.0f} s from the reboot to the dashboard")
    assert employee() == made, "nobody at work was touched"

    machine.setup("run")
    assert both_are_up() and machine.state("webapp", "NRestarts") == "0"
    machine.setup("down")
    assert [machine.state(name) for name in processes.NAMES] == ["inactive", "inactive"]
    machine.setup("run")
    until(both_are_up, "and up again", 60)
    machine.inside("make", "service-off")
    assert not service.is_installed(machine.data, "webapp"), "none was written here"
    assert machine.state("webapp", "LoadState") == "not-found"
