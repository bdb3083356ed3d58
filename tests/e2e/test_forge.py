"""The state repo at a real forge (Gitea): what customers ask for is pushed there, a request is
planned and told there, merged there, applied here, and rolled back."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from state_repo.documents import employee_path
from tests.conftest import docker, light_platform, new_instance
from tests.e2e.house import House, standing, until
from tests.reconciler.forges.real_gitea import BOT, PASSWORD, Gitea
from tools import machine
from tools.bootstrap import keep_forge, remembered

pytestmark = [pytest.mark.e2e, pytest.mark.long]
REPO = "repos/acme/state"


@pytest.fixture(scope="module")
def gitea(tmp_path_factory):
    made = Gitea(machine.gitea(), tmp_path_factory.mktemp("gitea"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def house(gitea, tmp_path_factory, images, pulumi):
    data: Path = tmp_path_factory.mktemp("house")
    data.chmod(0o755)
    settings = {"IW_STATE_REMOTE": gitea.remote, "IW_FORGE": "gitea",
                "IW_FORGE_TOKEN": gitea.token}
    instance = remembered(new_instance(data), settings)
    keep_forge(instance, settings)
    made = House(instance, light_platform(images, instance))
    made.customer("acme", 8)
    with standing(made):
        gitea.protect()
        gitea.ask("boss", "POST", f"{REPO}/hooks", {
            "type": "gitea", "active": True, "events": ["push", "pull_request"], "config": {
                # The web app's own port: nothing resolves the edge's name here.
                "url": f"http://127.0.0.1:{instance.ports['app']}/webhooks/forge",
                "content_type": "json",
                "secret": (instance.secrets_path / "forge-webhook").read_text()}})
        yield made


class Eve:
    """An engineer with a clone, who has no way to main but a request."""

    def __init__(self, gitea: Gitea, folder: Path) -> None:
        self.gitea, self.folder = gitea, folder
        address = gitea.remote.replace("://", f"://eve:{PASSWORD.replace(' ', '%20')}@")
        self.git("clone", "-q", address, str(folder), where=folder.parent)
        for key, value in (("user.name", "Eve"), ("user.email", "eve@iw.test")):
            self.git("config", key, value)

    def git(self, *arguments: str, where: Path | None = None, check: bool = True
            ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=where or self.folder, check=check,
                              capture_output=True, text=True)

    def push(self, path: str, old: str, new: str, branch: str) -> str:
        file = self.folder / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        self.git("commit", "-qam", "Give Pulse more memory")
        self.git("push", "-q", "origin", f"HEAD:{branch}")
        return self.git("rev-parse", "HEAD").stdout.strip()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.gitea.ask("eve", method, f"{REPO}/{path}", body)


def memory(house: House, employee: str) -> int:
    (found,) = docker("inspect", "-f", "{{.HostConfig.Memory}}",
                      house.instance.container_name(employee))
    return int(found) >> 20


def test_from_a_request_at_the_forge_to_reality_and_back(house, gitea, tmp_path):
    pulse = house.hire("acme", "Pulse")
    hired = house.api("acme", "POST", "/customers/acme/employees", {"name": "Nova", "role": "T"})
    assert hired.status_code in (201, 202), hired.text
    until(house.is_synced, "both are at work", 60, house)
    commits = gitea.ask("eve", "GET", f"{REPO}/commits?sha=main&limit=5")
    assert commits[0]["commit"]["message"].startswith("Hire Nova for acme")
    assert house.iw("forge")["problem"] == ""

    eve = Eve(gitea, tmp_path / "clone")
    path = employee_path("acme", pulse)
    assert eve.git("push", "-q", "origin", "HEAD:main", check=False).returncode == 0  # no change
    head = eve.push(path, "memoryMb: 128", "memoryMb: plenty", "more-memory")
    assert eve.git("push", "-q", "origin", "HEAD:main", check=False).returncode != 0
    began = time.monotonic()
    request = eve.ask("POST", "pulls", {"title": "More memory", "head": "more-memory",
                                        "base": "main"})
    number = request["number"]

    def comments() -> list[str]:
        return [c["body"] for c in eve.ask("GET", f"issues/{number}/comments")
                if c["user"]["login"] == BOT]

    def state(sha: str) -> str:
        found = eve.ask("GET", f"commits/{sha}/status")
        return found["state"] if found["total_count"] else ""
    until(comments, "the plan stands there", 40, house)
    assert time.monotonic() - began < 40, "the webhook woke it: a look alone comes once a minute"
    line = next(n for n, text in enumerate((eve.folder / path).read_text().splitlines(), 1)
                if "plenty" in text)
    assert f"{path}:{line}" in comments()[0]
    until(lambda: state(head) == "failure", "and its status", 20, house)
    with pytest.raises(AssertionError, match=r"405|status"):
        eve.ask("POST", f"pulls/{number}/merge", {"Do": "merge"})

    head = eve.push(path, "memoryMb: plenty", "memoryMb: 160", "more-memory")
    until(lambda: state(head) == "success", "what is mended is planned again", 40, house)
    (told,) = comments()
    assert "160" in told and f"`{pulse}` changes as it runs" in told
    assert memory(house, pulse) == 128, "nothing was touched"
    (waiting,) = house.iw("forge")["requests"]
    assert (waiting["number"], waiting["state"], waiting["own"]) == (number, "success", True)
    plan = house.iw("plan", "--change", "more-memory")
    assert plan["digest"] == waiting["plan"] and plan["digest"] in told

    began = time.monotonic()
    eve.ask("POST", f"pulls/{number}/merge", {"Do": "squash",
                                              "MergeTitleField": "Give Pulse more memory"})
    until(lambda: memory(house, pulse) == 160, "it is applied", 45, house)
    print(f"from the merge to reality: {time.monotonic() - began:.1f} s")
    sha = gitea.ask("eve", "GET", f"{REPO}/commits?sha=main&limit=1")[0]["sha"]
    receipt = until(lambda: next((r for r in house.iw("receipts", "--customer", "acme")
                                  if r["revision"] == sha), None), "its receipt", house=house)
    assert receipt["result"] == "succeeded"
    until(lambda: not house.iw("forge")["requests"], "nothing waits there", 70, house)

    made = house.iw("rollback", sha)
    assert made["change"] == f"roll-back-{sha[:10]}"
    back = eve.ask("POST", "pulls", {"title": "Back", "head": made["change"], "base": "main"})
    until(lambda: state(made["head"]) == "success", "the way back is planned", 40, house)
    eve.ask("POST", f"pulls/{back['number']}/merge", {"Do": "squash"})
    until(lambda: memory(house, pulse) == 128, "it is taken back", 45, house)


def test_a_forge_that_is_away_stops_neither_repairs_nor_reading(house, gitea):
    (pulse, *_) = [e.id for e in house.status.employees() if e.name == "Pulse"]
    until(house.is_synced, "all is as wanted", 60, house)
    gitea.stop()
    try:
        docker("rm", "-f", house.instance.container_name(pulse))
        until(lambda: house.answers(pulse), "it is repaired", 60, house)
        assert house.iw("status") and house.get(house.instance.app_host, "/sign-in").ok
        refused = house.iw("pause", pulse, check=False)
        assert "push" in str(refused) and "nothing was changed" in str(refused)
        until(lambda: "does not answer" in house.iw("forge")["problem"], "and is told", 75, house)
    finally:
        gitea.start()
    house.iw("pause", pulse)
    until(lambda: house.iw("forge")["problem"] == "", "it is followed again", 75, house)


def test_the_token_is_nowhere_but_where_it_is_used(house, gitea):
    assert house.instance.state_forge == replace(house.instance.state_forge, kind="gitea")
    found = subprocess.run(["grep", "-rlF", gitea.token, str(house.instance.data)],
                           capture_output=True, text=True, check=False).stdout.split()
    names = {str(Path(name).relative_to(house.instance.data)) for name in found}
    assert names == {"secrets/forge-token", "secrets/webapp/git-credentials"}
