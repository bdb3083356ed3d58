"""Everything is lost but the backups, and comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Store
from tests.conftest import ROOT, docker, remove_all
from tests.e2e.house import House, until
from tests.e2e.work import inside

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture
def place(house: House, tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    done = subprocess.run([str(ROOT / "iw"), "--data", str(house.instance.data), "backup", "set",
                           str(folder), "--every-hours", "100"], check=True, capture_output=True,
                          text=True)
    assert "Write the password down" in done.stdout.replace("\n", " ")
    until(house.is_synced, "the setting is applied", 60, house)
    until(lambda: house.iw("backup", "list", check=False)["runs"], "the first backup", 120, house)
    assert house.iw("backup", "list")["runs"][-1]["whole"]
    return folder


def test_one_s_files_and_then_everything_come_back(house: House, place: Path, record_property):
    pulse = house.hire("acme", "Pulse")
    text = b"# Prices\n\nThe Kraken package costs 4711 euros.\n"
    assert house.upload("acme", "/customers/acme/knowledge/content?name=prices.md", text).ok
    inside(house, pulse, "echo 'Sell more tea.' > /data/workspace/plan.md")
    run = house.iw("backup", "now")
    assert run["whole"] and run["volumes"] >= 2, run
    print(f"{run['volumes']} volumes; the slowest stood still for {run['still_s']} s")
    drill = house.iw("backup", "drill")
    assert drill["whole"], drill

    # One employee's.
    inside(house, pulse, "echo ruined > /data/workspace/plan.md")
    back = subprocess.run([str(ROOT / "iw"), "--data", str(house.instance.data), "backup",
                           "restore", pulse, "--yes"], capture_output=True, text=True, check=False)
    assert back.returncode == 0 and "again what it was" in back.stdout.replace("\n", " "), (
        back.stdout + back.stderr)
    until(lambda: house.answers(pulse), "it works again", 90, house)
    assert inside(house, pulse, "cat /data/workspace/plan.md") == "Sell more tea."

    # Everything: containers, volumes, the data folder.
    password = subprocess.run([str(ROOT / "iw"), "--data", str(house.instance.data), "backup",
                               "key"], capture_output=True, text=True, check=True).stdout.strip()
    lost = time.monotonic()
    house.stop()
    remove_all(house.instance)
    shutil.rmtree(house.instance.data)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "HOME": "/root",
                   "IW_RESTORE": str(place)}
    restoring = [sys.executable, "-m", "tools.restore", "--data", str(house.instance.data)]
    wrong = subprocess.run(restoring, cwd=ROOT, capture_output=True, text=True, check=False,
                           env=environment | {"IW_BACKUP_PASSWORD": "not this"})
    assert wrong.returncode == 1 and "wrong password" in wrong.stdout, wrong.stdout + wrong.stderr
    done = subprocess.run(restoring, cwd=ROOT, capture_output=True, text=True, check=False,
                          env=environment | {"IW_BACKUP_PASSWORD": password})
    assert done.returncode == 0, done.stdout + done.stderr
    assert Instance.load(house.instance.data) == house.instance
    # Not through what is still open of the files that are gone.
    house.store, house.status = Store(house.store.path), StatusStore(house.instance.database_url)
    house.start()
    until(lambda: house.is_synced() and house.answers(pulse), "everybody works again", 180, house)
    took = time.monotonic() - lost
    record_property("rto_s", round(took, 1))
    print(f"everything was back after {took:.0f} s")
    assert inside(house, pulse, "cat /data/workspace/plan.md") == "Sell more tea."
    found = house.api("acme", "GET", "/customers/acme/knowledge/search?q=kraken").json()
    assert found["matches"][0]["document"] == "prices.md"
    again = subprocess.run(restoring, cwd=ROOT, capture_output=True, text=True, check=False,
                           env=environment | {"IW_BACKUP_PASSWORD": password})
    assert again.returncode == 1 and "holds an installation already" in again.stderr
    assert json.loads((house.instance.data / "backup.json").read_text())["runs"]
    assert house.iw("backup", "now")["whole"], "and it goes on being backed up"
    assert docker("ps", "-q", "--filter", f"label=instantworker.instance={house.instance.id}")
