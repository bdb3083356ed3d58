"""The loop from the outside: by iw, by the API, by git push; drift of every kind; two tenants."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from stacks.employee_files import volume_folder
from stacks.platform import PARTS
from stacks.unix_http import call
from stacks.volumes import back_up
from state_repo import changes
from state_repo.documents import employee_path
from tests.conftest import docker
from tests.e2e.house import ENGINEER, House, clone, push, until
from tools import confine, processes

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


def resolve(house: House, name: str) -> list[str]:
    """Asks the platform's DNS for an address (RFC 1035)."""
    labels = b"".join(bytes([len(p)]) + p for p in name.encode().split(b".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(3)
        asker.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels
                     + struct.pack(">HH", 1, 1), ("127.0.0.1", house.instance.ports["dns"]))
        answer = asker.recv(512)
    count = struct.unpack(">H", answer[6:8])[0]
    return [socket.inet_ntoa(answer[-4:])] if count else []


def test_a_hire_by_iw_is_served_to_its_owner_alone(house, pulse):
    row = house.status.employee(pulse)
    assert (row.sync_status, row.health_status) == ("Synced", "Healthy")
    for host in (house.instance.chat_host(pulse), house.instance.browser_host(pulse)):
        assert resolve(house, host) == ["127.0.0.1"]
        mine = house.get(host, token=house.token("acme"), **{"X-User": "mallory"})
        assert mine.status_code == 200
        assert "You are ann@acme.test." in mine.text
        assert "cookie" not in mine.text and "authorization" not in mine.text
        assert mine.headers["Content-Security-Policy"] == (
            f"frame-ancestors {house.instance.app_url}")
        assert "X-Frame-Options" not in mine.headers
        assert house.get(host).status_code == 401
        assert house.get(host, token=house.token("bolt")).status_code == 404
    (receipt,) = house.iw("receipts", "--customer", "acme", "--limit", "1")
    assert (receipt["result"], receipt["revision"]) == ("succeeded", row.revision)
    assert {c["name"] for c in receipt["changes"]} == {
        f"employee-{pulse}", f"files-{pulse}", f"key-{pulse}", f"volume-{pulse}"}


def test_its_container_is_hardened(house, pulse):
    name = house.instance.container_name(pulse)
    (real,) = json.loads(subprocess.run(["docker", "inspect", name], capture_output=True,
                                        text=True, check=True).stdout)
    host = real["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and host["ReadonlyRootfs"]
    assert host["PidsLimit"] == 64 and host["Memory"] == host["MemorySwap"] == 128 * 2**20
    assert host["NanoCpus"] == 5 * 10**8 and not host["PortBindings"] and host["Init"]
    assert any(o.startswith("seccomp={") for o in host["SecurityOpt"])
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert real["Config"]["User"] == "10001:10001"
    assert {m["Type"] for m in real["Mounts"]} == {"volume"}
    assert real["Config"]["Labels"]["instantworker.employee"] == pulse
    assert real["Config"]["Labels"]["instantworker.customer"] == "acme"


def inside(house: House, employee: str, code: str) -> str:
    """Runs Python in an employee's container; returns what it printed."""
    return subprocess.run(["docker", "exec", house.instance.container_name(employee), "python3",
                           "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def test_two_tenants_can_not_reach_each_other_or_the_host(house, pulse):
    other = house.hire("bolt", "Spark")
    sister = house.hire("acme", "Echo")
    address = house.status.employee(other).address
    gateway = house.status.employee(pulse).address.rpartition(".")[0] + ".1"
    with socket.socket() as service:  # something on the host that listens to everybody
        service.bind(("0.0.0.0", 0))
        service.listen()
        targets = [(address, 18789), (house.status.employee(sister).address, 18789),
                   (gateway, service.getsockname()[1]), ("169.254.169.254", 80),
                   (gateway, house.instance.ports["edge"]), ("127.0.0.1", 18789)]
        code = ("import socket\n"
                f"for target in {targets!r}:\n"
                "    try: socket.create_connection(target, 1.5); print('open')\n"
                "    except OSError: print('closed')")
        assert inside(house, pulse, code).split() == ["closed"] * 5 + ["open"]
    assert "Read-only" in subprocess.run(
        ["docker", "exec", house.instance.container_name(pulse), "touch", "/shared/x"],
        capture_output=True, text=True, check=False).stderr
    assert house.api("bolt", "GET", f"/customers/acme/employees/{pulse}").status_code == 404


def test_a_hire_by_the_api_and_one_by_git_push(house, pulse, tmp_path):
    answer = house.api("acme", "POST", "/customers/acme/employees",
                       {"name": "Nova", "role": "Sales"})
    nova = answer.json()["employee"]["id"]
    until(lambda: house.answers(nova), "the API's hire answers", house=house)
    trace = answer.headers["X-Trace-Id"]
    told = [(line["process"], line["message"]) for line in house.iw("log", trace)]
    assert told[0][0] == "webapp" and told[0][1].startswith("POST /api/v1/customers/acme/employees")
    assert ("reconciler", f"employee-{nova}: created") in told, "one trace, from click to container"
    folder = clone(house, tmp_path / "clone")
    text = (folder / employee_path("acme", nova)).read_text()
    path = folder / employee_path("acme", "pushed-aaaaaa")
    path.write_text(text.replace(nova, "pushed-aaaaaa").replace("Nova", "Pushed"))
    assert push(folder, "Hire by push").returncode == 0
    until(lambda: house.answers("pushed-aaaaaa"), "the pushed hire answers", house=house)
    receipt = until(lambda: next((r for r in house.status.receipts("acme", 5)
                                  if r.subject == "Hire by push"), None), "its receipt")
    assert (receipt.author, receipt.result) == ("Eve", "succeeded")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_platform_passes_its_own_health_check(house, part):
    name = house.instance.platform_container(part)
    said = subprocess.run(["docker", "inspect", "-f", "{{json .Config.Healthcheck.Test}}", name],
                          capture_output=True, text=True, check=True).stdout
    command = json.loads(said)[1:]
    until(lambda: subprocess.run(["docker", "exec", name, *command], check=False).returncode == 0,
          f"{part} is well", 20)
    wrong = [word.replace(f"/{house.instance.ports['edge']} ", "/1 ") for word in command]
    if part == "edge":
        assert subprocess.run(["docker", "exec", name, *wrong], check=False,
                              capture_output=True).returncode != 0, "it can fail"


def test_prometheus_scrapes_everybody(house, pulse):
    url = f"http://127.0.0.1:{house.instance.ports['prometheus']}/api/v1/query"

    def up() -> bool:
        found = requests.get(url, params={"query": "probe_success == 1"}, timeout=5).json()
        return any(r["metric"].get("instance") == pulse for r in found["data"]["result"])
    until(up, "a successful probe of the employee", 60, house)
    metrics = requests.get(
        f"http://127.0.0.1:{house.instance.ports['reconciler']}/metrics", timeout=5).text
    assert 'reconciler_reconcile_total{kind="commit",result="succeeded"}' in metrics
    assert 'reconciler_stack_info{customer="acme"' in metrics


def break_and_see(house: House, kind: str, pulse: str) -> None:
    """Breaks one managed thing by hand."""
    instance, name = house.instance, house.instance.container_name(pulse)
    dns = f"http://127.0.0.1:{instance.ports['dns_api']}/api/v1/servers/localhost/zones/"
    key = {"X-API-Key": (instance.secrets_path / "pdns-api-key").read_text().strip()}
    zone = f"{instance.domain}."
    admin = instance.run_path / "edge" / "admin.sock"
    if kind == "container removed":
        docker("rm", "-f", name)
    elif kind == "container stopped":
        docker("stop", "-t", "0", name)
    elif kind == "container paused":
        docker("pause", name)
    elif kind == "container changed":
        docker("update", "--memory", "256m", "--memory-swap", "256m", name)
    elif kind == "container disconnected":
        docker("network", "disconnect", instance.network_name("acme"), name)
    elif kind == "network removed":
        for one in house.containers():
            docker("network", "disconnect", "-f", instance.network_name("acme"), one)
        docker("network", "rm", instance.network_name("acme"))
    elif kind == "record changed":
        requests.patch(dns + zone, headers=key, timeout=5, json={"rrsets": [{
            "name": f"*.gw.{zone}", "type": "A", "ttl": 5, "changetype": "REPLACE",
            "records": [{"content": "6.6.6.6", "disabled": False}]}]}).raise_for_status()
    elif kind == "record removed":
        requests.patch(dns + zone, headers=key, timeout=5, json={"rrsets": [{
            "name": f"app.{zone}", "type": "A", "changetype": "DELETE"}]}).raise_for_status()
    elif kind == "zone removed":
        requests.delete(dns + zone, headers=key, timeout=5).raise_for_status()
    elif kind == "edge changed":
        call(admin, "DELETE", "/config/apps/http/servers/edge/routes/1")
    elif kind == "edge emptied":
        call(admin, "POST", "/load", {"admin": {"listen": "unix//run/edge/admin.sock"}})
    elif kind == "firewall opened":
        subprocess.run(["iptables", "-w", "-F", f"{instance.prefix.upper()}-HOST"], check=True)
    elif kind == "platform container removed":
        docker("rm", "-f", instance.platform_container("edge"))
    elif kind == "scrape target gone":
        path = instance.config_path / "prometheus" / "prometheus.yml"
        path.write_text("scrape_configs: []\n")
        requests.post(f"http://127.0.0.1:{instance.ports['prometheus']}/-/reload",
                      timeout=5).raise_for_status()


KINDS = ["container removed", "container changed", "network removed", "record changed",
         "edge changed", "firewall opened", "scrape target gone"]  # one a part, and
MORE_KINDS = ["container stopped", "container paused", "container disconnected", "record removed",
              "zone removed", "edge emptied", "platform container removed"]


@pytest.mark.parametrize("kind", [
    *KINDS, *(pytest.param(kind, marks=pytest.mark.long) for kind in MORE_KINDS)])
def test_drift_is_noticed_reported_and_repaired(house, pulse, kind):
    until(lambda: house.is_synced() and not house.drift(), "calm", house=house)
    before = len(house.events("Drift")), len(house.events("Repaired"))
    break_and_see(house, kind, pulse)
    until(lambda: len(house.events("Drift")) > before[0], f"{kind}: reported", 30, house)
    until(lambda: len(house.events("Repaired")) > before[1], f"{kind}: repaired", 30, house)
    until(lambda: house.is_synced() and not house.drift(), "as it was", 30, house)
    until(lambda: house.answers(pulse), "it answers again", 30, house)
    assert resolve(house, house.instance.app_host) == ["127.0.0.1"]


@pytest.mark.long  # by value each time: tests/reconciler/test_world.py, test_loop.py
def test_files_that_are_gone_are_held_and_reported_until_a_person_decides(house, pulse):
    lost = house.hire("acme", "Lost")
    name, volume = house.instance.container_name(lost), house.instance.employee_volume(lost)
    docker("rm", "-f", name)
    docker("volume", "rm", volume)
    row = until(lambda: (r := house.status.employee(lost)) and r.health_status == "Missing"
                and "gone from Docker" in r.reason and r, "it is held", house=house)
    assert f"iw restore {lost} --empty" in row.reason and "no backup" in row.reason
    assert any(lost in e for e in house.events("Lost"))
    sister = house.hire("acme", "Sister")
    assert house.answers(sister) and house.answers(pulse), "colleagues work, and can be hired"
    assert volume not in docker("volume", "ls", "-q") and name not in house.containers()
    refused = house.iw("restore", lost, "--from-backup", check=False)
    assert "there is no backup" in str(refused)
    house.iw("restore", lost, "--empty")
    until(lambda: house.answers(lost), "it begins with nothing", house=house)

    inside(house, lost, "open('/data/workspace/kept.txt', 'w').write('what it knew')")
    house.instance.backups_path.mkdir(exist_ok=True)
    back_up(volume_folder(volume), house.instance.backups_path / f"{volume}.tar.gz")
    docker("rm", "-f", name)
    docker("volume", "rm", volume)
    until(lambda: (r := house.status.employee(lost)) and "backup" in r.reason
          and r.health_status == "Missing", "it is held again", house=house)
    house.iw("restore", lost, "--from-backup")
    until(lambda: house.answers(lost), "it goes on as it was", house=house)
    assert inside(house, lost, "print(open('/data/workspace/kept.txt').read())") == "what it knew"

    docker("rm", "-f", name)
    docker("volume", "rm", volume)
    until(lambda: (r := house.status.employee(lost)) and "its disk is still there" in r.reason,
          "its disk is offered", house=house)
    house.iw("restore", lost, "--as-it-is")
    until(lambda: house.answers(lost), "it goes on with its disk", house=house)
    assert inside(house, lost, "print(open('/data/workspace/kept.txt').read())") == "what it knew"
    house.iw("retire", lost, "--yes")
    house.iw("retire", sister, "--yes")


def test_who_has_no_room_left_is_told_so_by_the_kernel_and_goes_on(house, pulse):
    assert inside(house, pulse, """
import ctypes, os
f = os.open('/data/workspace/big', os.O_CREAT | os.O_WRONLY)
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
print(libc.fallocate(f, 0, 0, 15 << 30), os.strerror(ctypes.get_errno()), os.fstat(f).st_blocks)
""") == "-1 Operation not supported 0", "room is taken by writing alone"
    # What gigabytes of writing come to, in no time: from outside, where that is no matter of
    # rights.
    big = volume_folder(house.instance.employee_volume(pulse)) / "workspace" / "big"
    with open(big, "r+b") as file:
        with pytest.raises(OSError, match="No space left"):
            os.posix_fallocate(file.fileno(), 0, 6 << 30)
        os.ftruncate(file.fileno(), 0)
        os.posix_fallocate(file.fileno(), 0, 5_000 << 20)
    assert inside(house, pulse, """
try:
    with open('/data/workspace/more', 'wb') as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
except OSError as error:
    print(error.strerror)
""") == "No space left on device"
    assert house.answers(pulse)
    full = house.upload("acme", f"/customers/acme/employees/{pulse}/files/content?path=a.bin",
                        bytes(64 << 20))
    assert full.status_code == 507, full.text
    for path in ("more", "big"):
        removed = house.api("acme", "DELETE",
                            f"/customers/acme/employees/{pulse}/files/content?path={path}")
        assert removed.status_code == 200, removed.text
    assert house.answers(pulse)


@pytest.mark.long  # by value each time: tests/reconciler/test_storage.py
def test_who_is_over_a_limit_that_was_lowered_is_frozen_and_goes_on_when_it_has_room(house, pulse):
    name = house.instance.container_name(pulse)
    was = house.store.platform().storage
    with open(volume_folder(house.instance.employee_volume(pulse)) / "workspace" / "big",
              "wb") as big:
        os.posix_fallocate(big.fileno(), 0, 900 << 20)
    changes.set_platform(house.store, ENGINEER, "Less room", lambda p: replace(
        p, storage=replace(was, employee_mb=512)))
    until(lambda: docker("inspect", "-f", "{{.State.Status}}", name) == ["paused"], "frozen", 90,
          house)
    row = until(lambda: (r := house.status.employee(pulse)) and r.health_status == "Degraded" and r,
                "it says why", house=house)
    assert "of 512 MiB" in row.reason and "stands still" in row.reason
    removed = house.api("acme", "DELETE",
                        f"/customers/acme/employees/{pulse}/files/content?path=big")
    assert removed.status_code == 200, removed.text
    until(lambda: docker("inspect", "-f", "{{.State.Status}}", name) == ["running"], "it goes on",
          30, house)
    until(lambda: house.status.employee(pulse).health_status == "Healthy" and house.answers(pulse),
          "it answers again", house=house)
    changes.set_platform(house.store, ENGINEER, "As before", lambda p: replace(p, storage=was))


@pytest.mark.long  # the edge's own deadlines each time: tests/stacks/test_edge_config.py
def test_an_employee_that_hangs_is_named_by_the_edge_in_time(house, pulse):
    pids = [int(line.split()[1]) for line in subprocess.run(
        ["docker", "top", house.instance.container_name(pulse)], capture_output=True, text=True,
        check=True).stdout.splitlines()[1:]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for host in (house.instance.chat_host(pulse), house.instance.browser_host(pulse)):
            began = time.monotonic()
            said = requests.get(house.url + "/", timeout=20, headers={
                "Host": f"{host}:{house.instance.ports['edge']}",
                "Authorization": f"Bearer {house.token('acme')}"})
            assert said.status_code == 504, said.text
            assert f"{pulse} does not answer" in said.text
            assert time.monotonic() - began < 10
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: house.answers(pulse), "it answers again", house=house)


def test_plan_says_what_would_change_and_changes_nothing(house, pulse):
    assert house.iw("plan", "--customer", "acme")["changes"] == house.iw("drift")["items"] == []
    containers = house.containers()
    docker("pause", house.instance.container_name(pulse))
    assert house.iw("plan", "--customer", "acme")["diagnostics"] == []
    assert house.containers() == containers
    until(house.is_synced, "repaired", house=house)


def test_pause_resume_retry_retire(house):
    quark = house.hire("bolt", "Quark")
    name, volume = house.instance.container_name(quark), house.instance.employee_volume(quark)
    inside(house, quark, "open('/data/memory', 'w').write('I was here')")
    paused = house.iw("pause", quark)
    assert paused["status"]["health_status"] == "Suspended"
    assert house.get(house.instance.chat_host(quark), token=house.token("bolt")).status_code == 503
    house.iw("resume", quark)
    first = docker("inspect", "-f", "{{.Id}}", name)
    house.iw("retry", quark)
    assert docker("inspect", "-f", "{{.Id}}", name) != first
    assert inside(house, quark, "print(open('/data/memory').read())") == "I was here"
    house.iw("retire", quark, "--yes")
    assert name not in house.containers()
    assert docker("volume", "ls", "-q", "--filter", f"name={volume}") == [volume]


def test_a_hire_claims_a_blank_that_runs(house):
    """With real agents: `test_employee.py`, in `make test-long`."""
    def keep(blanks: int) -> None:
        changes.set_platform(house.store, ENGINEER, f"Warm {blanks}",
                             lambda p: replace(p, warm_per_customer=blanks))
    keep(1)
    changes.set_seats(house.store, ENGINEER, "bolt", 9)  # a blank comes with a customer's change
    keep(0)
    blank = until(lambda: next((e for e in house.status.employees("bolt")
                                if e.desired_state == "warm" and e.health_status == "Healthy"),
                               None), "a warm blank", house=house)
    hired = house.hire("bolt", "Quill")
    assert hired == blank.id and house.answers(hired, "bolt")
    assert house.status.employee(hired).container_id == blank.container_id
    house.iw("retire", hired, "--yes")


def test_a_corrupt_file_holds_its_customer_alone(house, pulse, tmp_path):
    (house.store.path / "hooks" / "update").unlink()  # a remote without our hook takes anything
    folder = clone(house, tmp_path / "clone")
    path = folder / employee_path("acme", pulse)
    good = path.read_text()
    path.write_text(good.replace("memoryMb: 128", "memoryMb: plenty"))
    assert push(folder, "Break it").returncode == 0

    def held() -> bool:
        row = house.status.employee(pulse)
        return (row.sync_status == "OutOfSync" and "memoryMb: is 'plenty'" in row.reason
                and f"{pulse}.yaml:1" in row.reason)
    until(held, "the file and its line are shown", house=house)
    spark = house.hire("bolt", "Other")
    assert house.answers(spark, "bolt") and house.answers(pulse), "nobody was stopped"
    docker("rm", "-f", house.instance.container_name(pulse))
    until(lambda: house.answers(pulse), "drift is repaired at the last good state", house=house)
    path.write_text(good)
    assert push(folder, "Mend it").returncode != 0, "others wrote meanwhile"
    for command in (("pull", "-q", "--rebase"), ("push", "-q", "origin", "HEAD:main")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    until(house.is_synced, "it clears", house=house)
    house.store.install_hooks()


@pytest.mark.long  # by value each time: tests/reconciler/test_decide.py, test_loop.py
def test_a_vanished_file_stops_its_employee_and_keeps_its_files(house):
    ghost = house.hire("bolt", "Ghost")
    text = house.store.snapshot().customers["bolt"].employees[ghost]
    house.store.commit(_author(), "lose it", lambda _: {text.path: None}, "bolt")
    name, volume = house.instance.container_name(ghost), house.instance.employee_volume(ghost)
    until(lambda: name not in house.containers(), "it stops", house=house)
    row = until(lambda: (r := house.status.employee(ghost)) and r.health_status == "Missing" and r,
                "it is reported", house=house)
    assert "vanished" in row.reason and any(ghost in e for e in house.events("Vanished"))
    assert docker("volume", "ls", "-q", "--filter", f"name={volume}") == [volume]
    from state_repo.parsing import dump
    house.store.commit(_author(), "find it", lambda _: {text.path: dump(text)}, "bolt")
    until(lambda: house.answers(ghost, "bolt"), "it is back", house=house)


def _author():
    from tests.e2e.house import ENGINEER
    return ENGINEER


def test_the_web_app_sees_no_docker_no_secret_and_no_other_process(house):
    pid = processes.pid_of(house.instance.data, "webapp")
    status = dict(line.split(":\t", 1) for line in
                  Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    inside = Path(f"/proc/{pid}/root")
    data = inside / house.instance.data.relative_to("/")
    assert not (inside / "run/docker.sock").exists()
    assert {path.name for path in (data / "secrets").iterdir()} == {"webapp"}
    assert list((data / "pulumi").iterdir()) == [] and list((data / "run/edge").iterdir()) == []
    assert (data / "run/reconciler.sock").exists()
    mounts = {line.split()[4]: line.split()[5].split(",") for line in
              Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    for path in ("/", str(house.instance.data), str(house.instance.data / "state.git/hooks")):
        assert "ro" in mounts[path], path
    if os.geteuid() == 0:
        assert set(status["Uid"].split()) == {str(confine.user(house.instance.data))}
    tree = status["NSpid"].split()
    assert tree[-1] == "1", "the first of a tree of processes of its own"
