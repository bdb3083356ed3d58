"""The worst day: after each, everybody exists exactly once, files are as they were, and the status
tells what happened and clears."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from state_repo import changes
from tests.conftest import ROOT, docker
from tests.e2e.house import ENGINEER, House, until
from tools import processes

# Each by value every time: tests/reconciler (locks, loop, world), tests/stacks/test_customer_stack.
pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(scope="module")
def team(house: House) -> list[str]:
    """Three employees, each with a file that must survive."""
    people = [house.hire("acme", f"Worker {n}") for n in range(3)]
    for employee in people:
        docker("exec", house.instance.container_name(employee), "sh", "-c",
               f"echo {employee} > /data/memory")
    return people


def all_is_well(house: House, people: list[str]) -> None:
    until(lambda: house.is_synced() and all(map(house.answers, people)), "all is well again", 60,
          house)
    wanted = sorted(
        house.instance.container_name(e.id)
        for state in house.store.snapshot().customers.values()
        for e in state.employees.values() if e.state == "running")
    assert house.containers() == wanted, "everybody exactly once"
    for employee in people:
        name = house.instance.container_name(employee)
        assert docker("exec", name, "cat", "/data/memory") == [employee]


def wait_for_engine(house: House) -> None:
    """Until an engine of this instance runs."""
    def runs() -> bool:
        pid = processes.pid_of(house.instance.data, "reconciler")
        return bool(subprocess.run(["pgrep", "-P", str(pid), "-f", "pulumi"], capture_output=True,
                                   check=False).stdout)
    until(runs, "an engine runs", 10, house)


@pytest.mark.parametrize("delay", [
    0.0, 0.25, 0.4, 0.5, 0.65, 0.9], ids=lambda d: f"{d * 1000:.0f} ms into the run")
def test_kill_9_at_any_moment(house, team, delay):
    """From before the plan, through the apply, to before the status is written."""
    made, _ = changes.hire(house.store, ENGINEER, "bolt", "Victim", "Tester")
    try:
        wait_for_engine(house)
        time.sleep(delay)
        house.kill()
        house.start("reconciler")
        until(lambda: house.answers(made.id, "bolt"), "the hire is finished", 45, house)
        all_is_well(house, team)
    finally:
        house.iw("retire", made.id, "--yes")


def test_two_reconcilers_at_once(house, team):
    second = subprocess.run([sys.executable, "-m", "reconciler", "--data",
                             str(house.instance.data)], cwd=ROOT, capture_output=True, text=True,
                            timeout=30, check=False)
    assert second.returncode == 75
    assert "another reconciler (pid" in second.stderr
    all_is_well(house, team)


@pytest.mark.parametrize("part", ["edge", "dns", "prometheus"])
def test_a_part_is_down_and_back(house, team, part):
    name = house.instance.platform_container(part)
    docker("stop", "-t", "0", name)
    until(lambda: any(name in e for e in house.events("Drift")), "noticed", 30, house)
    all_is_well(house, team)


def test_history_rewritten_stops_the_loop_until_it_is_confirmed(house, team):
    old = house.store.head()
    tree = subprocess.run(["git", "-C", str(house.store.path), "rev-parse", f"{old}^{{tree}}"],
                          capture_output=True, text=True, check=True).stdout.strip()
    new = subprocess.run(["git", "-C", str(house.store.path), "-c", "user.name=x", "-c",
                          "user.email=x@x", "commit-tree", tree, "-m", "a new past"],
                         capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["git", "-C", str(house.store.path), "update-ref", "refs/heads/main", new],
                   check=True)
    row = until(lambda: (r := house.status.stack("loop")) and r.health_status == "Degraded" and r,
                "the loop halts", house=house)
    assert "history was rewritten" in row.reason and f"iw confirm {new[:10]}" in row.reason
    docker("rm", "-f", house.instance.container_name(team[0]))
    until(lambda: house.answers(team[0]), "drift is still repaired", house=house)
    assert house.iw("confirm", new[:10])["confirmed"] == new
    until(lambda: house.status.stack("loop").health_status == "Healthy", "it goes on", house=house)
    all_is_well(house, team)


def test_a_snapshot_that_stops_too_many_is_held(house, team):
    people = [changes.hire(house.store, ENGINEER, "bolt", f"Many {n}", "T")[0] for n in range(6)]
    until(lambda: all(house.answers(e.id, "bolt") for e in people), "all six work", 60, house)
    house.store.commit(ENGINEER, "lose six", lambda _: {e.path: None for e in people}, "bolt")
    row = until(lambda: (r := house.status.stack("loop")) and r.reason and r, "held", house=house)
    assert "would stop 6 of" in row.reason and all(e.id in row.reason for e in people)
    time.sleep(4)
    assert all(house.answers(e.id, "bolt") for e in people), "nobody was stopped"
    house.iw("confirm", house.store.head()[:10])
    stopped = {house.instance.container_name(e.id) for e in people}
    until(lambda: not stopped & set(house.containers()), "then they stop", house=house)
    volumes = docker("volume", "ls", "-q")
    assert all(house.instance.employee_volume(e.id) in volumes for e in people)


def test_docker_restarted_during_an_apply(house, team):
    """Only where this test may do that: a Docker that nobody else uses, and that was started by
    hand (there is no service manager to race with)."""
    own = set(docker("ps", "-q", "--filter", f"label=instantworker.instance={house.instance.id}"))
    pid_file = Path("/var/run/docker.pid")
    if set(docker("ps", "-q")) - own or not pid_file.exists():
        pytest.skip("others use this Docker: it is not restarted under them")
    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    made, _ = changes.hire(house.store, ENGINEER, "acme", "Storm", "Tester")
    wait_for_engine(house)
    subprocess.run(["kill", str(pid)], check=True)
    until(lambda: processes.started_at(pid) is None, "Docker is down", 40, house)
    until(lambda: house.status.stack("customer/acme").sync_status == "Unknown",
          "what can't be checked is Unknown", 30, house)
    with (house.instance.logs_path / "dockerd.log").open("ab") as log:
        subprocess.Popen([part.decode() for part in command], stdout=log, stderr=log,
                         stdin=subprocess.DEVNULL, start_new_session=True)
    until(lambda: house.answers(made.id), "the hire is finished", 90, house)
    all_is_well(house, team)
