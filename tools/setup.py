"""`make run`, `make down`, `make test` and the rest: see `main`."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from stacks import disks
from state_repo.edge_door import ask_edge
from state_repo.instance import FIREWALL_CHAINS, Instance
from tools import frontend, images, lock, machine, processes, service, swap, versions, wheels
from tools.machine import BUILD, PYTHON, ROOT
from tools.steps import StepError, run, step

TESTS = {"fast": "not parts and not browser and not e2e and not long",
         "parts": "parts and not long", "browser": "browser and not long",
         "e2e": "e2e and not long"}
# What else can be run: everything that takes minutes or wants the machine to itself, and a hire
# with the whole flow in a real browser.
MORE = {"long": "long", "flow": "employee and not long"}
# Where they are: each worker reads all that it is given before it chooses.
PLACES = {"browser": ["tests/pages"], "e2e": ["tests/e2e"], "flow": ["tests/e2e"]}
# Two processors, and tests that often wait. End to end a file is a house, which one worker keeps;
# what is long has the machine to itself.
WORKERS = {"fast": "-n 3 --dist worksteal", "parts": "-n 3 --dist loadfile",
           "browser": "-n 3 --dist worksteal", "e2e": "-n 2 --dist loadfile"}
READY_S = 120.0


def data_folder() -> Path:
    return Path(os.environ.get("IW_DATA") or ROOT / ".data").resolve()


def install(*, tests: bool = False) -> None:
    """Everything up to the images' parts; each step is skipped in no time when it is done."""
    with step("system packages"):
        machine.packages({"dig": "bind9-dnsutils", "pg_config": "postgresql",
                          "chromium-headless-shell": "chromium-headless-shell"} if tests else None)
    with step("Python environment"):
        wheels.environment(("requirements.txt", "requirements-dev.txt") if tests
                            else ("requirements.txt",))
    with step("front-end packages"):
        frontend.vendor()
    with step("Pulumi CLI"):
        machine.pulumi()
    if tests:
        with step("stripe-mock"):
            machine.stripe_mock()
    with step("Docker"):
        machine.docker(data_folder() / "logs")


def up() -> None:
    began, data = time.monotonic(), data_folder()
    install()
    references = images.build_all(BUILD / "images.log")
    if versions.is_due(data) and _release(data, "begin") != 0:
        sys.exit(1)
    with step("instance and state repo"):
        run([str(PYTHON), "-m", "tools.bootstrap", "--data", str(data),
             "--images", json.dumps(references)],
            "read the message above; `./iw doctor` looks at the rest", cwd=ROOT)
    instance = Instance.load(data)
    _give_swap(data)
    for name in processes.NAMES:
        with step(f"start {name}"):
            service.start(data, name)
    with step("platform: firewall, DNS, edge, model proxy, monitoring"):
        _wait_for_platform(instance)
    password = (data / "secrets" / "demo-password").read_text().strip()
    print(f"""
  InstantWorker runs ({time.monotonic() - began:.1f} s).

    Dashboard   {instance.app_url}
    Login       demo@acme.test   password  {password}

    Hire        ./iw hire --customer acme --name Pulse --role "Marketing assistant"
    Look        ./iw status      ./iw doctor
    Stop        make down
""")


def _release(data: Path, verb: str) -> int:
    return subprocess.run([str(PYTHON), "-m", "tools.release", verb, "--data", str(data)],
                          cwd=ROOT, check=False).returncode


def _give_swap(data: Path) -> None:
    """Compressed swap, where it is asked for and there is no other; else how to ask for it."""
    size, mark = os.environ.get("IW_ZRAM"), data / "run" / "zram"
    if swap.exists():
        return
    if size:
        with step(f"compressed swap ({size})"):
            mark.parent.mkdir(exist_ok=True)
            mark.write_text(f"{swap.this_boot()} {swap.make(size)}")
    elif os.geteuid() == 0 and swap.is_possible():
        print("    this machine has no swap, so idle employees are stopped, and wake slowly; with "
              "IW_ZRAM=12G make run they sleep in compressed memory")


def _wait_for_platform(instance: Instance) -> None:
    """Until the dashboard answers through the edge and the loop says that all is applied."""
    until, last = time.monotonic() + READY_S, ""
    while time.monotonic() < until:
        for name in processes.NAMES:
            processes.check_alive(instance.data, name)
        try:
            if ask_edge(instance, timeout_s=2.0) == 200 and _applied(instance.data):
                return
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        time.sleep(0.15)
    raise StepError(f"the dashboard did not answer within {READY_S:.0f} s ({last})",
                    f"./iw doctor; the reconciler's log is "
                    f"{instance.data / 'logs' / 'reconciler.log'}")


def _applied(data: Path) -> bool:
    done = subprocess.run([str(PYTHON), "-m", "operator_cli", "--data", str(data), "status",
                           "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return False
    stacks = {s["id"]: s for s in json.loads(done.stdout)["stacks"]}
    return "platform" in stacks and stacks["platform"]["sync_status"] == "Synced"


def down() -> None:
    """Stops the two processes and removes the instance's containers, networks and chains; volumes
    and data stay. A Docker that was started here goes too, unless others use it."""
    data = data_folder()
    if not (data / "instance.json").exists():
        print(f"  nothing to stop: there is no instance at {data}")
        return
    instance = json.loads((data / "instance.json").read_text())
    for name in reversed(processes.NAMES):
        with step(f"stop {name}"):
            service.stop(data, name)
    label = f"label=instantworker.instance={instance['id']}"
    with step("remove containers and networks"):
        for kind, command in (("ps -aq", "rm -f"), ("network ls -q", "network rm")):
            found = _docker(*kind.split(), "--filter", label)
            if found:
                _docker(*command.split(), *found)
    with step("unmount the employees' disks"):
        disks.unmount_all(data / "disks")
    with step("remove the firewall's chains"):
        _remove_chains(instance["prefix"])
    if (zram := data / "run" / "zram").exists():
        with step("compressed swap"):
            boot, device = zram.read_text().split()
            if boot == swap.this_boot():
                swap.remove(device)
            zram.unlink()
    ours = data / "run" / "dockerd-is-ours"
    if ours.exists():
        with step("stop Docker"):
            _stop_docker(ours)


def _remove_chains(prefix: str) -> None:
    chains = tuple(f"{prefix.upper()}-{name}" for name in FIREWALL_CHAINS)
    for tool in ("iptables", "ip6tables"):
        saved = subprocess.run([f"{tool}-save", "-t", "filter"], capture_output=True, text=True,
                               check=False).stdout
        for line in saved.splitlines():
            if line.startswith("-A ") and line.endswith(tuple(f"-j {c}" for c in chains)):
                subprocess.run([tool, "-w", "-D", *line.split()[1:]], check=False)
        for chain in chains:
            if f":{chain} " in saved:
                subprocess.run([tool, "-w", "-F", chain], check=False)
                subprocess.run([tool, "-w", "-X", chain], check=False)


def _stop_docker(ours: Path) -> None:
    pid_file = Path("/var/run/docker.pid")
    same = pid_file.exists() and pid_file.read_text() == ours.read_text()
    if same and not _docker("ps", "-q"):
        pid = int(ours.read_text())
        os.kill(pid, 15)
        until = time.monotonic() + 20
        while processes.started_at(pid) is not None and time.monotonic() < until:
            time.sleep(0.1)
        ours.unlink()


def purge() -> None:
    data = data_folder()
    if not (data / "instance.json").exists():
        print(f"  nothing to remove: there is no instance at {data}")
        return
    instance = json.loads((data / "instance.json").read_text())
    label = f"label=instantworker.instance={instance['id']}"
    volumes = _docker("volume", "ls", "-q", "--filter", label)
    if os.environ.get("IW_PURGE") != instance["id"]:
        print(f"  This removes {data} and {len(volumes)} volumes: accounts, history, every file of "
              "every employee.")
        if input(f"  Type {instance['id']} to go on: ").strip() != instance["id"]:
            sys.exit("  nothing was removed")
    down()
    with step("remove volumes and data"):
        volumes = _docker("volume", "ls", "-q", "--filter", label)
        if volumes:
            _docker("volume", "rm", *volumes)
        shutil.rmtree(data)


def test(which: list[str]) -> int:
    install(tests=True)
    os.environ["IW_TEST_IMAGES"] = json.dumps(images.build_all(BUILD / "images.log", tests=True))
    for name in which or list(TESTS):
        print(f"\n  tests: {name}", flush=True)
        workers = WORKERS.get(name, "").split()
        done = subprocess.run([str(PYTHON), "-m", "pytest", "-q", "-m", (TESTS | MORE)[name],
                               *workers, "--durations=8", *PLACES.get(name, ["tests"])],
                              cwd=ROOT, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def lint() -> int:
    with step("system packages"):
        machine.packages()
    with step("Python environment"):
        wheels.environment(("requirements.txt", "requirements-dev.txt"))
    code = 0
    for command in (["ruff", "check", "."], ["mypy"], ["lint-imports"]):
        print(f"\n  {' '.join(command)}", flush=True)
        code |= subprocess.run([str(ROOT / ".venv" / "bin" / command[0]), *command[1:]], cwd=ROOT,
                               check=False).returncode
    return code


def docs() -> int:
    """The site of docs/, from nothing but the clone and a package index; every link is checked."""
    with step("system packages"):
        machine.packages()
    with step("Python environment"):
        wheels.environment(("requirements.txt",))
    site = BUILD / "docs-site"
    with step("documentation tools"):
        wheels.install([machine.lock_of(ROOT / "requirements-docs.txt")], f"--target={site}",
                       f"--python={PYTHON}", log=BUILD / "docs.log")
    with step("the site"):
        run([str(PYTHON), "-m", "mkdocs", "build", "--strict"],
            "mend what it names", cwd=ROOT, env=os.environ | {"PYTHONPATH": str(site)})
    print(f"  {(BUILD / 'docs' / 'index.html').relative_to(ROOT)}")
    return 0


def bench() -> int:
    install(tests=True)
    os.environ["IW_TEST_IMAGES"] = json.dumps(images.build_all(BUILD / "images.log", tests=True))
    return subprocess.run([str(PYTHON), "-m", "bench"], cwd=ROOT, check=False).returncode


def _docker(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True,
                          check=False).stdout.split()


def main(arguments: list[str]) -> int:
    # Where it is set, each process compiles all that it imports anew: seconds, for every `iw`.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    verb, *rest = arguments or ["run"]
    if verb == "run":
        up()
    elif verb == "down":
        down()
    elif verb == "purge":
        purge()
    elif verb == "restore":
        install()
        return subprocess.run([str(PYTHON), "-m", "tools.restore", "--data", str(data_folder()),
                               *rest], cwd=ROOT, check=False).returncode
    elif verb in ("service", "service-off"):
        install()
        return subprocess.run([str(PYTHON), "-m", "tools.service", "remove" if verb.endswith("off")
                               else "install", "--data", str(data_folder())], cwd=ROOT,
                              check=False).returncode
    elif verb == "back":
        return _release(data_folder(), "back")
    elif verb == "image":
        install()
        images.build_all(BUILD / "images.log")
    elif verb == "test":
        return test(rest)
    elif verb == "e2e":
        return test(["flow"])
    elif verb == "test-long":
        return test(["long"])
    elif verb == "lint":
        return lint()
    elif verb == "docs":
        return docs()
    elif verb == "audit":
        install(tests=True)
        return subprocess.run([str(PYTHON), "-m", "tools.audit"], cwd=ROOT,
                              check=False).returncode
    elif verb == "texts":
        install()
        print(run([str(PYTHON), "-m", "tools.texts"], "see the lines above", cwd=ROOT), end="")
    elif verb == "lock":
        install()
        lock.lock(upgrade="--upgrade" in rest)
    elif verb == "bench":
        return bench()
    else:
        sys.exit(f"unknown: {verb}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
