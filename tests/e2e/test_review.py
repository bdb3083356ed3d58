"""An engineer's day, on real parts: push a mistake, mend it, read the plan, have it approved, merge
it, watch it converge, and take it back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from state_repo.documents import employee_path
from tests.conftest import docker
from tests.e2e.house import PASSWORD, House, clone, push, until
from webapp import accounts

pytestmark = [pytest.mark.e2e, pytest.mark.long]


class Engineer:
    """Somebody of ours with a browser's session, through the edge."""

    def __init__(self, house: House, email: str) -> None:
        accounts.ensure(house.instance, email, PASSWORD, customer=None, role="engineer")
        self._house, self._headers = house, {"Host": house.instance.app_host}
        signed = self._ask("POST", "/sign-in", {"email": email, "password": PASSWORD})
        assert signed.status_code == 302 or signed.status_code == 303, signed.text[:300]
        self._headers["Cookie"] = f"iw_session={signed.cookies['iw_session']}"

    def get(self, path: str) -> str:
        answer = self._ask("GET", path)
        assert answer.status_code == 200, answer.text[-500:]
        return answer.text

    def post(self, verb: str, **data: str) -> requests.Response:
        csrf = re.search(r'name="csrf-token" content="([^"]+)"', self.get("/changes"))
        assert csrf is not None
        return self._ask("POST", f"/changes/-/{verb}", data | {"csrf_token": csrf[1]})

    def form(self, name: str) -> dict[str, str]:
        """What the page's forms hold: the head and the plan that were looked at."""
        page = self.get(f"/changes/-/plan?name={name}")
        return {"name": name, **{
            field: re.search(rf'name="{field}" value="([^"]+)"', page)[1]  # type: ignore[index]
            for field in ("head", "plan")}}

    def _ask(self, method: str, path: str, data: Any = None) -> requests.Response:
        return requests.request(method, self._house.url + path, data=data, timeout=60,
                                headers=self._headers, allow_redirects=False)


def memory(house: House, employee: str) -> int:
    (found,) = docker("inspect", "-f", "{{.HostConfig.Memory}}",
                      house.instance.container_name(employee))
    return int(found) >> 20


def test_from_a_mistake_to_a_roll_back(house, tmp_path):
    pulse = house.hire("acme", "Pulse")
    other = house.hire("bolt", "Other")
    house.iw("review", "--direct-pushes", "off")
    until(house.is_synced, "all is applied", house=house)
    eve, max_ = Engineer(house, "eve@iw.test"), Engineer(house, "max@iw.test")
    folder = clone(house, tmp_path / "clone")
    path = folder / employee_path("acme", pulse)
    good = path.read_text()
    assert "memoryMb: 128" in good

    path.write_text(good.replace("memoryMb: 128", "memoryMb: plenty"))
    refused = push(folder, "Give Pulse more memory", "more")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "plenty" in text)
    assert refused.returncode != 0
    assert f"{employee_path('acme', pulse)}:{line}" in refused.stderr

    path.write_text(good.replace("memoryMb: 128", "memoryMb: 160"))
    assert "main takes no pushes" in push(folder, "Mend it").stderr
    assert push_again(folder, "more").returncode == 0
    (waiting,) = house.iw("changes")
    assert (waiting["change"], len(waiting["commits"])) == ("more", 2)

    before = house.containers()
    plan = house.iw("plan", "--change", "more")
    (stack,) = plan["stacks"]
    assert stack["stack"] == "customer/acme" and plan["problems"] == stack["problems"] == []
    (container,) = [c for c in stack["changes"] if c["name"] == f"employee-{pulse}"]
    assert any(v["field"] == "memory" and v["old"] != v["new"] for v in container["values"])
    assert [e["employee"] for e in stack["employees"]] == [pulse]
    assert plan["documents"][0]["fields"] == [
        {"field": "spec.resources.memoryMb", "old": 128, "new": 160}]
    assert house.containers() == before and memory(house, pulse) == 128, "nothing was touched"
    assert house.iw("plan", "--change", "more")["digest"] == plan["digest"]

    wanted = eve.form("more")
    assert wanted["plan"] == plan["digest"]
    assert eve.post("merge", **wanted).status_code == 409, "nobody approved it"
    assert max_.post("approve", **wanted).status_code == 303
    assert eve.post("merge", **wanted).status_code == 303
    sha = house.store.head()
    receipt = until(lambda: next((r for r in house.iw("receipts", "--customer", "acme", "--limit",
                                                      "3") if r["revision"] == sha), None),
                    "its receipt", house=house)
    assert (receipt["result"], receipt["author"], receipt["subject"]) == (
        "succeeded", "Eve", "Mend it")
    assert memory(house, pulse) == 160
    until(lambda: house.answers(pulse), "it is at work", house=house)
    assert "applied" in eve.get("/changes?customer=acme")

    made = max_.post("roll-back", commit=sha)
    name = f"roll-back-{sha[:10]}"
    assert made.status_code == 303 and name in made.headers["Location"]
    back = eve.form(name)
    assert eve.post("approve", **back).status_code == 303
    assert max_.post("merge", **back).status_code == 303
    until(lambda: memory(house, pulse) == 128, "it is taken back", house=house)
    until(house.is_synced, "all is as wanted", house=house)
    docker("update", "--memory", "200m", "--memory-swap", "200m",
           house.instance.container_name(pulse))
    until(lambda: memory(house, pulse) == 128, "drift is repaired to what it was taken back to",
          house=house)
    repair = until(lambda: next((r for r in house.iw("receipts", "--customer", "acme") if (
        r["cause"] == "drift")), None), "the repair's receipt", house=house)
    assert {"field": "memory", "old": "200", "new": "128"} in [
        v for c in repair["changes"] for v in c["values"]], repair["changes"]
    assert any("(docker update, " in told for told in house.events("Drift"))
    page = eve.get("/changes/-/drift?customer=acme")
    assert "docker update" in page and "128" in page
    assert house.answers(other, "bolt"), "nobody else noticed"


def push_again(folder: Path, branch: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), "push", "-q", "origin", f"HEAD:{branch}"],
                          capture_output=True, text=True, check=False)
