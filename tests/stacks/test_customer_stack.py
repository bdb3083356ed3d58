"""The customer's stack through the real engine, on real Docker."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pulumi_docker
import pytest

from policies import pack
from reconciler.converge import blames
from reconciler.engine import Engine, Run
from stacks import customer, employee_files, fingerprint, model_keys, observed
from stacks.disks import unmount_all
from stacks.serve import serve
from stacks.volumes import Volumes
from state_repo.documents import Customer, Employee, Model, Platform, Resources, Skill, Storage
from state_repo.instance import Instance
from state_repo.snapshot import CustomerState
from tests.conftest import docker

pytestmark = pytest.mark.parts


class Stack:
    def __init__(self, instance: Instance, platform: Platform, pulumi: str) -> None:
        self.instance, self.platform = instance, platform
        self.removable: set[str] = set()
        self.owned: set[str] = set()
        self.volumes, self.asleep = Volumes(instance), set[str]()
        self.told: list[str] = []
        self.ignored: set[str] = set()
        self.server = serve(instance, self.volumes, self.removable.__contains__,
                            lambda: self.asleep, lambda *told: self.told.append(told[2]),
                            lambda *_: self.ignored)
        self.pack = pack.HostedPack(lambda stack: pack.tenant_of(instance, stack, self.owned))
        secret = instance.data / "passphrase"
        secret.write_text("x")
        self.engine = Engine(instance.pulumi_path, secret, self.server.environment,
                             self.pack.write_launcher(instance.run_path / "pack"), pulumi)

    def state(self, *ids: str, **fields) -> CustomerState:
        fields = {"name": "P", "role": "R", "resources": self.platform.defaults,
                  "image": self.platform.images["employee"]} | fields
        people = {i: Employee(i, "acme", **fields) for i in ids}
        subnet = self.instance.network_pool.replace("/16", "/25")
        return CustomerState("acme", "0" * 40, Customer("acme", "Acme", 9, subnet), people)

    def up(self, state: CustomerState, *, refresh: bool = False, kept=(), expired=(), lost=()
           ) -> Run:
        self.owned |= set(state.employees) | set(kept)
        return self.engine.up("customer-acme", customer.program(
            self.instance, self.platform, state, kept, expired, lost), refresh=refresh)

    def differences(self, state: CustomerState, kept=()) -> list[tuple[str, str, str]]:
        return list(fingerprint.customer_differences(
            self.instance, state, observed.observe_docker(self.instance.id), kept))


@pytest.fixture
def stack(instance: Instance, platform: Platform, pulumi: str) -> Iterator[Stack]:
    made = Stack(instance, platform, pulumi)
    yield made
    made.server.stop()
    made.pack.stop()


def test_a_state_torn_by_a_crash_is_what_it_was_after_the_last_run(stack, caplog):
    both = stack.state("one-aaaaaa", "two-bbbbbb")
    assert stack.up(stack.state("one-aaaaaa")).succeeded
    assert stack.up(both).succeeded
    names = [stack.instance.container_name(e) for e in both.employees]
    before = docker("inspect", "-f", "{{.Id}}", *names)
    state = stack.engine.stack_file("customer-acme")
    whole = state.read_bytes()
    for torn in (b"", whole[:len(whole) // 2]):
        state.write_bytes(torn)
        run = stack.up(both, refresh=True)
        assert run.succeeded, run.message
        assert docker("inspect", "-f", "{{.Id}}", *names) == before
        assert "torn" in caplog.text
        caplog.clear()
    for name in (state, state.parent.parent.parent / "meta.yaml"):
        name.with_name(f"{name.name}.attrs").write_bytes(b"")
    assert stack.up(both).succeeded
    (state.parent / "customer-acme.json.bak").write_bytes(b"{")
    state.write_bytes(b"")
    assert stack.up(both, refresh=True).succeeded, "from the history"
    (state.parent / "customer-acme.json.bak").unlink()
    for old in state.parent.parent.parent.glob("history/instantworker/customer-acme/*"):
        old.unlink()
    state.write_bytes(b"")
    assert stack.up(both, refresh=True).succeeded, "without any history it is adopted"
    assert docker("inspect", "-f", "{{.Id}}", *names) == before


def test_history_is_cut_and_the_next_run_does_not_miss_it(stack):
    one = stack.state("one-aaaaaa")
    for _ in range(3):
        assert stack.up(one).succeeded
    folder = stack.engine.home / "state" / ".pulumi" / "history" / "instantworker" / "customer-acme"
    before = sorted(folder.iterdir())
    assert len({path.name.partition(".")[0] for path in before}) == 3
    stack.engine.prune(keep=1)
    kept = sorted(folder.iterdir())
    assert len({path.name.partition(".")[0] for path in kept}) == 1
    assert set(kept) == set(before[-len(kept):]), "the newest"
    assert ops(stack.up(one, refresh=True)) == set()


def test_who_sleeps_is_left_asleep_by_every_run(stack):
    """A refresh, a repair of a colleague, a change of its limits."""
    both = stack.state("one-aaaaaa", "two-bbbbbb")
    assert stack.up(both).succeeded
    one, two = (stack.instance.container_name(e) for e in both.employees)
    docker("pause", one)
    docker("stop", "-t", "0", two)
    stack.asleep |= set(both.employees)
    assert ops(stack.up(both, refresh=True)) == set()
    larger = stack.state("one-aaaaaa", "two-bbbbbb", resources=Resources(0.5, 160, 64))
    assert stack.up(larger, refresh=True).succeeded
    assert docker("inspect", "-f", "{{.State.Status}}", one, two) == ["paused", "exited"]
    stack.asleep.clear()
    assert stack.up(larger, refresh=True).succeeded
    assert docker("inspect", "-f", "{{.State.Status}}", one, two) == ["running", "running"]


def test_a_limit_that_may_differ_is_left_by_repairs_and_follows_its_document(stack):
    one = stack.state("one-aaaaaa")
    assert stack.up(one).succeeded
    name = stack.instance.container_name("one-aaaaaa")

    def memory() -> int:
        return int(docker("inspect", "-f", "{{.HostConfig.Memory}}", name)[0]) >> 20
    was = memory()
    docker("update", "--memory", f"{was + 64}m", "--memory-swap", f"{was + 64}m", name)
    assert observed.limits(name)["memory"] == was + 64
    stack.ignored.add("memory")
    assert ops(stack.up(one, refresh=True)) == set() and memory() == was + 64
    larger = stack.state("one-aaaaaa", resources=Resources(0.5, was + 32, 64))
    assert stack.up(larger, refresh=True).succeeded and memory() == was + 32
    docker("update", "--memory", f"{was + 64}m", "--memory-swap", f"{was + 64}m", name)
    stack.ignored.clear()
    assert stack.up(larger, refresh=True).succeeded and memory() == was + 32


@pytest.mark.parametrize("change", [
    {"resources": Resources(1024.0, 128, 64)},
    pytest.param({"resources": Resources(0.5, 1 << 24, 64)}, marks=pytest.mark.long),
    {"image": f"instantworker/none@sha256:{'0' * 64}"}])
def test_what_this_host_can_not_give_takes_nobody_down(stack, change):
    one, two = "one-aaaaaa", "two-bbbbbb"
    both = stack.state(one, two)
    assert stack.up(both).succeeded
    before = docker("inspect", "-f", "{{.Id}} {{.State.Running}}",
                    *(stack.instance.container_name(e) for e in (one, two)))
    wrong = replace(both, employees=both.employees | {
        one: replace(both.employees[one], restarts=1, **change)})
    run = stack.up(wrong, refresh=True)
    assert not run.succeeded
    assert "this host has" in run.message or "is not on this machine" in run.message
    assert docker("inspect", "-f", "{{.Id}} {{.State.Running}}",
                  *(stack.instance.container_name(e) for e in (one, two))) == before
    assert stack.up(both).succeeded


def test_files_that_are_gone_are_not_made_anew(stack):
    both = stack.state("one-aaaaaa", "two-bbbbbb")
    assert stack.up(both).succeeded
    docker("rm", "-f", stack.instance.container_name("one-aaaaaa"))
    docker("volume", "rm", stack.instance.employee_volume("one-aaaaaa"))
    refused = stack.up(both, refresh=True)
    assert not refused.succeeded and "was made before and is gone" in refused.message
    assert stack.up(both, refresh=True, lost={"one-aaaaaa"}).succeeded
    volumes = docker("volume", "ls", "-q")
    assert stack.instance.employee_volume("one-aaaaaa") not in volumes
    assert stack.instance.employee_volume("two-bbbbbb") in volumes
    stack.volumes.forget(stack.instance.employee_volume("one-aaaaaa"))
    assert stack.up(both).succeeded
    assert docker("inspect", "-f", "{{.State.Status}}",
                  stack.instance.container_name("one-aaaaaa")) == ["running"]


def test_what_an_employee_did_to_its_files_keeps_nobody_from_stopping_it(stack):
    one, two = "one-aaaaaa", "two-bbbbbb"
    assert stack.up(stack.state(one)).succeeded
    folder = employee_files.volume_folder(stack.instance.employee_volume(one))
    (folder / "workspace" / "AGENTS.md").unlink()
    (folder / "workspace" / "AGENTS.md" / "x").mkdir(parents=True)
    assert stack.up(stack.state(one, instructions="Other words")).succeeded
    assert "Other words" in (folder / "workspace" / "AGENTS.md").read_text()
    assert any(one in message for message in stack.told)
    # Whatever else may be the matter with its files, it stops, and a colleague is made.
    shutil.rmtree(folder / "workspace")
    (folder / "workspace").mkdir()
    subprocess.run(["chattr", "+i", str(folder / "workspace")], check=False)
    try:
        run = stack.up(stack.state(one, two, state="paused", instructions="More"))
        running = docker("inspect", "-f", "{{.State.Running}}",
                         stack.instance.container_name(one), stack.instance.container_name(two))
        assert running == ["false", "false"], run.message
        if not run.succeeded:
            assert set(blames(run.errors)) == {one}, run.errors
    finally:
        subprocess.run(["chattr", "-i", str(folder / "workspace")], check=False)


def ops(run: Run) -> set[tuple[str, str]]:
    assert run.succeeded, run.message
    return {(c.op, c.name) for c in run.changes}


def test_an_employee_is_made_changed_and_removed_and_its_volume_stays(stack):
    one = stack.state("one-aaaaaa")
    assert ops(stack.up(one)) == {
        ("create", "network"), ("create", "knowledge"), ("create", "volume-one-aaaaaa"),
        ("create", "key-one-aaaaaa"), ("create", "files-one-aaaaaa"),
        ("create", "employee-one-aaaaaa")}
    assert stack.differences(one) == []
    assert ops(stack.up(one)) == set()
    paused = stack.up(stack.state("one-aaaaaa", state="paused"))
    assert ops(paused) == {("update", "employee-one-aaaaaa")}
    assert paused.changes[0].fields == ("mustRun",)
    retried = stack.up(stack.state("one-aaaaaa", restarts=1))
    assert ops(retried) == {("replace", "employee-one-aaaaaa"), ("update", "files-one-aaaaaa")}
    volume = stack.instance.employee_volume("one-aaaaaa")
    stack.up(stack.state(), kept={"one-aaaaaa"})
    assert stack.instance.container_name("one-aaaaaa") not in docker(
        "ps", "-a", "--format", "{{.Names}}")
    stack.up(stack.state())  # even forgotten altogether
    assert volume in docker("volume", "ls", "-q")


def test_a_volume_goes_only_when_it_may_and_after_a_backup(stack):
    retired = stack.state("one-aaaaaa", state="retired", retired_at="2026-01-01T00:00:00+00:00")
    volume = stack.instance.employee_volume("one-aaaaaa")
    stack.up(retired)
    (stack.volumes.disks.mount(volume) / "precious").write_text("what it knew")
    stack.removable.add(volume)
    stack.up(retired, expired={"one-aaaaaa"})
    assert volume not in docker("volume", "ls", "-q") and stack.volumes.disks.count() == 0
    with tarfile.open(stack.instance.backups_path / f"{volume}.tar.gz") as backup:
        assert "./precious" in backup.getnames()


_ROOM = "import os; s = os.statvfs('/data'); "


def test_an_employee_has_a_disk_and_after_a_reboot_waits_for_it(stack):
    one = stack.state("one-aaaaaa")
    stack.volumes.disks.storage = Storage(employee_mb=64, employee_files=2_000)
    assert stack.up(one).succeeded
    name = stack.instance.container_name("one-aaaaaa")
    (size,) = docker("exec", name, "python3", "-c", _ROOM + "print(s.f_blocks * s.f_frsize >> 20)")
    assert 60 < int(size) < 68
    (stack.volumes.disks.mount(stack.instance.employee_volume("one-aaaaaa")) / "workspace"
     / "kept").touch()

    docker("stop", "-t", "0", name)  # the machine goes down, and comes up again
    unmount_all(stack.volumes.disks.folder)
    refused = subprocess.run(["docker", "start", name], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "no such file" in refused.stderr
    with pytest.raises(employee_files.NotMadeYet):
        employee_files.volume_folder(stack.instance.employee_volume("one-aaaaaa"))
    assert stack.volumes.disks.mount_all() == {}
    stack.volumes.disks.storage = Storage(employee_mb=128, employee_files=2_000)
    assert stack.up(one, refresh=True).succeeded
    there, size = docker("exec", name, "python3", "-c", _ROOM + "print(os.path.exists("
                         "'/data/workspace/kept'), s.f_blocks * s.f_frsize >> 20)")
    assert there == "True" and 120 < int(size) < 136, "it got more room before it started"


def test_what_a_lost_state_left_is_adopted_and_not_doubled(stack):
    one = stack.state("one-aaaaaa")
    stack.up(one)
    name = stack.instance.container_name("one-aaaaaa")
    before = docker("inspect", "-f", "{{.Id}}", name)
    stack.engine.stack_file("customer-acme").unlink()
    assert stack.up(one).succeeded
    assert docker("inspect", "-f", "{{.Id}}", name) == before
    assert stack.differences(one) == []


def test_a_stranger_s_container_is_not_touched(stack):
    name = stack.instance.container_name("one-aaaaaa")
    image = stack.platform.images["employee"].partition("@")[2]
    docker("create", "--name", name, image)
    try:
        run = stack.up(stack.state("one-aaaaaa"))
        assert not run.succeeded and "it is not touched" in run.message
        assert docker("inspect", "-f", "{{.State.Status}}", name) == ["created"]
    finally:
        docker("rm", "-f", name)


def test_a_violation_stops_the_plan_with_words(stack):
    one = stack.state("one-aaaaaa")
    stack.up(one)
    program = customer.program(stack.instance, stack.platform, stack.state("two-aaaaaa"))
    run = stack.engine.up("customer-acme", program)  # two-aaaaaa is not this tenant's
    assert not run.succeeded
    assert run.violations == (
        f"volume-two-aaaaaa: [volume] volume {stack.instance.employee_volume('two-aaaaaa')} is not "
        "this stack's",)
    assert stack.differences(one) == [], "nothing of it was applied"


def test_a_property_that_is_not_supported_is_refused_by_name(stack):
    def program() -> None:
        pulumi_docker.Network("network", name=stack.instance.network_name("acme"), ingress=True)
    run = stack.engine.preview("customer-acme", program)
    assert not run.succeeded and "ingress" in run.message


def test_no_secret_and_no_profile_text_is_in_the_state(stack):
    stack.up(stack.state("one-aaaaaa"))
    text = Path(stack.engine.stack_file("customer-acme")).read_text()
    assert "seccomp=employee" in text and "SCMP_ACT" not in text
    secrets = [path.read_text() for path in stack.instance.secrets_path.iterdir()]
    assert len(secrets) == 2, "a key and the gateway's password"
    assert not any(secret in text for secret in secrets)


def config(stack: Stack, employee: str) -> dict:
    folder = employee_files.volume_folder(stack.instance.employee_volume(employee))
    return json.loads((folder / "state" / "openclaw.json").read_text())


def keys(stack: Stack) -> dict[str, dict]:
    """By SHA-256, what the proxy knows."""
    return {path.stem: json.loads(path.read_text())
            for path in (stack.instance.data / model_keys.FOLDER).iterdir()}


def test_a_key_is_made_rotated_and_revoked_with_its_employee(stack):
    one = stack.state("one-aaaaaa")
    stack.up(one)
    first = config(stack, "one-aaaaaa")["models"]["providers"]["litellm"]["apiKey"]
    (known,) = keys(stack).items()
    assert known[0] == hashlib.sha256(first.encode()).hexdigest()
    assert (known[1]["employee"], known[1]["customer"], known[1]["models"]) == (
        "one-aaaaaa", "acme", ["default"])
    assert known[1]["subnet"] == one.customer.subnet

    rotated = stack.state("one-aaaaaa", model=Model(key_version=2))
    assert ops(stack.up(rotated)) == {("replace", "key-one-aaaaaa"), ("update", "files-one-aaaaaa")}
    second = config(stack, "one-aaaaaa")["models"]["providers"]["litellm"]["apiKey"]
    assert second != first
    assert list(keys(stack)) == [hashlib.sha256(second.encode()).hexdigest()]

    next((stack.instance.data / model_keys.FOLDER).iterdir()).unlink()
    assert [d[0] for d in stack.differences(rotated)] == ["key"]
    stack.up(rotated, refresh=True)
    assert stack.differences(rotated) == []

    stack.up(stack.state("one-aaaaaa", state="retired", retired_at="2099-01-01T00:00:00+00:00"))
    assert keys(stack) == {}
    assert list(stack.instance.secrets_path.iterdir()) == []


def test_a_claimed_blank_is_the_same_container_with_another_identity(stack):
    blank = stack.state("emp-aaaaaa", state="warm")
    assert ops(stack.up(blank))
    name = stack.instance.container_name("emp-aaaaaa")
    before = docker("inspect", "-f", "{{.Id}}", name)
    assert config(stack, "emp-aaaaaa")["gateway"]["auth"]["trustedProxy"]["allowUsers"] == [
        "nobody.warming-up"]
    assert [k["stand_in"] for k in keys(stack).values()] == ["warm-up"]
    claimed = stack.up(stack.state("emp-aaaaaa", resources=Resources(1.0, 128, 64)))
    assert ops(claimed) == {("update", "key-emp-aaaaaa"), ("update", "files-emp-aaaaaa"),
                            ("update", "employee-emp-aaaaaa")}
    assert docker("inspect", "-f", "{{.Id}}", name) == before
    assert config(stack, "emp-aaaaaa")["gateway"]["auth"]["trustedProxy"]["allowUsers"] == ["acme"]
    assert [(k["models"], k["stand_in"]) for k in keys(stack).values()] == [(["default"], None)]
    folder = employee_files.volume_folder(stack.instance.employee_volume("emp-aaaaaa"))
    agents = (folder / "workspace" / "AGENTS.md").read_text()
    assert "Nobody has hired you" not in agents and "Acme" in agents


def test_what_the_employee_wrote_survives_a_new_identity(stack):
    stack.up(stack.state("one-aaaaaa"))
    work = employee_files.volume_folder(
        stack.instance.employee_volume("one-aaaaaa")) / "workspace"
    (work / "MEMORY.md").write_text("Bo likes tea.\n")
    (work / "AGENTS.md").write_text((work / "AGENTS.md").read_text() + "My own rule.\n")
    stack.up(stack.state("one-aaaaaa", instructions="Only tea."))
    assert (work / "MEMORY.md").read_text() == "Bo likes tea.\n"
    text = (work / "AGENTS.md").read_text()
    assert "Only tea." in text and text.endswith("My own rule.\n")


def test_skills_come_change_and_go_in_the_gateway_s_own_folder(stack):
    def taught(text: str, *given: str) -> Path:
        stack.platform = replace(stack.platform, skills={name: Skill(
            name, "d", "1.0", ("read",), "e", text, "0" * 16) for name in ("notes", "leads")})
        run = stack.up(stack.state("one-aaaaaa", skills=given))
        assert run.succeeded, run.message
        return employee_files.volume_folder(
            stack.instance.employee_volume("one-aaaaaa")) / "state" / "skills"
    name = stack.instance.container_name("one-aaaaaa")
    skills = taught("# One", "notes", "leads")
    before = docker("inspect", "-f", "{{.Id}}", name)
    assert (skills / "notes" / "SKILL.md").read_text() == "# One"
    assert config(stack, "one-aaaaaa")["agents"]["defaults"]["skills"] == ["leads", "notes"]
    taught("# Two", "notes")
    assert sorted(path.name for path in skills.iterdir()) == ["notes"]
    assert (skills / "notes" / "SKILL.md").read_text() == "# Two"
    shutil.rmtree(skills / "notes")
    (skills / "notes").write_text("in the way")
    taught("# Three", "notes")
    assert (skills / "notes" / "SKILL.md").read_text() == "# Three"
    assert any("in the way" in message for message in stack.told)
    assert docker("inspect", "-f", "{{.Id}}", name) == before


def test_a_link_in_the_volume_leads_nowhere(stack, tmp_path):
    stack.up(stack.state("one-aaaaaa"))
    work = employee_files.volume_folder(
        stack.instance.employee_volume("one-aaaaaa")) / "workspace"
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (work / "SOUL.md").unlink()
    (work / "SOUL.md").symlink_to(outside)
    run = stack.up(stack.state("one-aaaaaa", name="Quill", restarts=1))
    assert run.succeeded and any("SOUL.md" in message for message in stack.told)
    assert (work / "SOUL.md").is_file() and not (work / "SOUL.md").is_symlink()
    assert outside.read_text() == "untouched"
