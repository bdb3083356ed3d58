"""Each alert fires once by its real cause, in a real Prometheus, with the rules as they are.

Not here: CertificateExpiring (test_certificates.py), and what no cause from outside brings about:
NobodyWorks, WorkerWedged, QueueStuck, for the loop is built so that they can't be
(tests/stacks/test_alerts.py has them). A quarter of an hour: some causes must last so long.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.prometheus import Prometheus
from stacks.identity import gateway_address, key_name
from stacks.secret_files import existing
from state_repo import changes
from state_repo.documents import (
    AlertReceiver,
    Alerts,
    Backups,
    MailServer,
    NetworkPool,
    OfferedModel,
    Storage,
)
from state_repo.parsing import dump
from tests.conftest import docker, free_ports, light_platform, new_instance
from tests.e2e.house import ENGINEER, House, standing, until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2400)]
WITHIN_S = 1200.0  # of which CapacityLow must last 900


@dataclass
class Watch:
    """What Prometheus said of each alert since it was expected."""

    house: House
    expected: dict[str, float] = field(default_factory=dict)
    fired: dict[str, float] = field(default_factory=dict)

    def look(self) -> set[str]:
        found = {a["labels"]["alertname"] for a in Prometheus(self.house.instance).alerts()
                 if a["state"] == "firing"}
        for name in found & self.expected.keys() - self.fired.keys():
            self.fired[name] = time.monotonic() - self.expected[name]
            print(f"{name} after {self.fired[name]:.0f} s", flush=True)
        return found

    def expect(self, *names: str) -> None:
        self.look()
        self.expected |= dict.fromkeys(names, time.monotonic())

    def all_fired(self, *, but: frozenset[str] = frozenset()) -> bool:
        self.look()
        return self.expected.keys() - but <= self.fired.keys()


@pytest.fixture
def house(tmp_path, images: dict[str, str], pulumi: str) -> Iterator[House]:
    tmp_path.chmod(0o755)
    instance = new_instance(tmp_path)
    platform = light_platform(images, instance)
    # Room for four customers, and little on each disk.
    made = House(instance, replace(
        platform, network=NetworkPool(platform.network.pool.replace("/16", "/23"), 25),
        storage=Storage(employee_mb=64)))
    for name in ("acme", "bolt"):
        made.customer(name, 8)
    with standing(made):
        yield made


def send(container: str, number: signal.Signals) -> None:
    """A signal to all processes of a container: Docker goes on saying that it runs."""
    for pid in docker("top", container, "-o", "pid")[1:]:
        subprocess.run(["kill", f"-{number.name}", pid.split()[0]], check=False)


CALLS = """
import json, sys, time, urllib.error, urllib.request
url, key = sys.argv[1:]
for _ in range(20):
    asked = urllib.request.Request(url, json.dumps({"model": "default", "messages": [
        {"role": "user", "content": "hello"}]}).encode(), {
        "Authorization": "Bearer " + key, "Content-Type": "application/json"})
    try:
        urllib.request.urlopen(asked, timeout=30).read()
        print("answered")
    except urllib.error.HTTPError as error:
        print(error.code)
    time.sleep(5)
"""


def call_the_model(house: House, employee: str) -> subprocess.Popen[str]:
    host = gateway_address(house.store.read_customer(
        house.store.head() or "", "acme").customer.subnet)
    key = existing(house.instance, key_name(employee, 1))
    return subprocess.Popen(
        ["docker", "exec", house.instance.container_name(employee), "python3", "-c", CALLS,
         f"http://{host}:{house.instance.ports['model_proxy']}/v1/chat/completions", key],
        stdout=subprocess.PIPE, text=True)


def as_of_yesterday(house: House) -> None:
    """As if the place for backups had been set a day ago."""
    path = house.instance.data / "backup.json"
    record = json.loads(path.read_text())
    record["since"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path.write_text(json.dumps(record))


def test_each_alert_by_its_cause(house: House, images):
    watch, platform = Watch(house), house.instance.platform_container
    silent, gone, full = (house.hire("acme", name) for name in ("Silent", "Gone", "Full"))
    until(lambda: watch.look() == {"Watchdog"}, "all is well", 120, house)

    model = OfferedModel("openai/x", api_base="http://127.0.0.1:9/v1", input_usd_per_million=1.0,
                         output_usd_per_million=1.0)
    mail = MailServer(f"127.0.0.1:{free_ports()['app']}", "alerts@iw.test", tls=False)
    changes.set_platform(house.store, ENGINEER, "Nobody answers there", lambda p: replace(
        p, models={"default": model},
        alerts=Alerts((AlertReceiver(email="night@iw.test"),), mail),
        backups=Backups("/proc/nowhere", every_hours=0.02, drill_days=0.001)))
    until(house.is_synced, "the settings are in force", 90, house)

    watch.expect("RolloutFailed")
    house.iw("upgrade", "--image", images["dns"], "--no-wait")
    until(watch.all_fired, "the roll-out failed", 400, house)

    until((house.instance.data / "backup.json").exists, "a backup was tried", 60)
    house.stop("reconciler")
    as_of_yesterday(house)
    watch.expect("BackupFailing", "DrillFailing")
    house.start("reconciler")
    watch.expect("ModelFailing")
    calls = call_the_model(house, full)
    watch.expect("AlertsNotDelivered")  # all of these are told to somebody who can't be reached
    watch.expect("FilesLost")
    docker("rm", "-f", house.instance.container_name(gone))
    docker("volume", "rm", house.instance.employee_volume(gone))
    watch.expect("VolumeFilling")
    docker("exec", house.instance.container_name(full), "sh", "-c",
           "head -c 60000000 /dev/urandom > /data/much")
    watch.expect("StackDegraded")
    ill = house.hire("bolt", "Ill")
    state = house.store.read_customer(house.store.head() or "", "bolt")
    away = replace(state.employees[ill], image=f"instantworker/employee@sha256:{'0' * 64}",
                   image_pinned=True)
    house.store.commit(ENGINEER, "An image that is nowhere", lambda _: {away.path: dump(away)},
                       "bolt")
    watch.expect("CapacityLow")
    house.customer("coda")  # the fourth network: the roll-out's canary has one
    watch.expect("PartUnreachable")
    send(platform("dns"), signal.SIGSTOP)
    watch.expect("EmployeeDown")
    send(house.instance.container_name(silent), signal.SIGSTOP)
    long = frozenset({"CapacityLow"})
    until(lambda: watch.all_fired(but=long), "all but the slowest", 700, house)
    print(calls.communicate(timeout=120)[0].split())

    watch.expect("LoopHalted")
    before = subprocess.run(["git", "-C", str(house.store.path), "rev-parse", "main~1"],
                            check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["git", "-C", str(house.store.path), "update-ref", "refs/heads/main", before],
                   check=True)
    until(watch.all_fired, "the loop is halted, and capacity is low", WITHIN_S, house)
    send(platform("dns"), signal.SIGCONT)

    watch.expect("LoopDead", "WebAppDown", "PartDown")
    house.stop()
    docker("stop", platform("model-proxy"))
    until(watch.all_fired, "nobody repairs, and that is told", 300)
    print({name: round(seconds) for name, seconds in watch.fired.items()})
