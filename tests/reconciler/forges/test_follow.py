"""Requests at a forge are planned and told: a fake forge over HTTP, real git, a fake world."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.forges import CONTEXT, ForgeError, open_forge
from reconciler.forges.comment import MARK
from reconciler.forges.follow import CALM_S, OLD_S, Follower
from reconciler.plans import Planner
from state_repo import changes
from state_repo.forge import ForgeAddress
from state_repo.review import Changes
from tests.reconciler.fake_world import ANN, House
from tests.reconciler.forges.fake_forge import ME, TOKEN, FakeForge


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True,
                          text=True).stdout.strip()


class Desk:
    """A house whose state repo is at a forge, an engineer's clone of it, and who follows it."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.clone = folder / "forge.git", folder / "clone"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.remote))
        self.house = House(folder / "data", self.remote)
        self.house.customer("acme")
        self.house.customer("bolt")
        self.ids = self.house.hire("acme", 2)
        self.house.settle()
        git(folder, "clone", "-q", str(self.remote), str(self.clone))
        for key, value in (("user.name", "Eve"), ("user.email", "eve@iw.test")):
            git(self.clone, "config", key, value)
        self.fake, self.now = FakeForge("gitea"), 0.0
        self.address = ForgeAddress("gitea", self.fake.url, "acme/state")
        self.follower = self.another()

    def another(self) -> Follower:
        return Follower(self.house.r, Planner(self.house.r), self.address,
                        lambda: open_forge(self.address, TOKEN), clock=lambda: self.now)

    def propose(self, branch: str, path: str, old: str, new: str, number: int | None = None) -> str:
        """A branch off the remote's main with one document changed, and a request of it."""
        git(self.clone, "fetch", "-q", "origin")
        git(self.clone, "checkout", "-q", "-B", branch, "origin/main")
        file = self.clone / path
        file.write_text(file.read_text().replace(old, new))
        git(self.clone, "commit", "-qam", f"Change {branch}")
        git(self.clone, "push", "-qf", "origin", f"HEAD:{branch}")
        head = git(self.clone, "rev-parse", "HEAD")
        if number is not None:
            self.fake.pull(number, branch, head)
        return head

    def bigger(self, branch: str, number: int | None = None, memory: int = 4096) -> str:
        return self.propose(branch, f"customers/acme/employees/{self.ids[0]}.yaml",
                            "memoryMb: 3072", f"memoryMb: {memory}", number)

    @property
    def said(self) -> list[str]:
        return [c["body"] for c in self.fake.comments.get(7, []) if c["author"] == ME]

    @property
    def states(self) -> list[str]:
        return [s["state"] for s in self.fake.statuses]

    def close(self) -> None:
        self.fake.close()
        self.house.close()
        assert self.fake.wrong == []


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_request_is_planned_and_told_and_nothing_is_touched(desk):
    head = desk.bigger("more-memory", 7)
    runs, before = list(desk.house.world.runs), desk.house.running()
    desk.follower.look()
    (body,) = desk.said
    assert body.startswith(MARK) and desk.ids[0] in body and "is interrupted" in body
    assert "`memory` `3072` → `4096`" in body and "spec.resources.memoryMb" in body
    assert desk.states == ["pending", "success"]
    assert {s["sha"] for s in desk.fake.statuses} == {head}
    assert desk.fake.statuses[-1]["context"] == CONTEXT
    assert desk.fake.statuses[-1]["description"].startswith("1 made anew, 1 employee stopped")
    assert desk.fake.statuses[-1]["target_url"].endswith("/changes/more-memory")
    assert desk.house.world.runs == runs and desk.house.running() == before
    (request,) = desk.follower.as_json()["requests"]
    assert (request["number"], request["state"], request["problem"]) == (7, "success", "")
    desk.follower.look()
    assert len(desk.said) == 1 and len(desk.fake.statuses) == 2, "what is told is told once"


def test_what_the_rules_refuse_is_said_with_file_and_line(desk):
    desk.bigger("far-too-large", 7, memory=99999)
    desk.follower.look()
    assert desk.states == ["pending", "failure"]
    assert f"{desk.ids[0]}.yaml" in desk.said[0] and "allows at most" in desk.said[0]
    assert "1 thing to correct first" in desk.fake.statuses[-1]["description"]


def test_a_branch_that_moved_is_planned_again_in_the_same_comment(desk):
    desk.bigger("more-memory", 7, memory=99999)
    desk.follower.look()
    head = desk.bigger("more-memory", memory=4096)
    desk.fake.requests[0]["head"] = head
    desk.follower.look()
    (body,) = desk.said
    assert "4096" in body and "99999" not in body
    assert desk.states == ["pending", "failure", "pending", "success"]
    assert desk.fake.statuses[-1]["sha"] == head


def test_main_moves_on_elsewhere_and_no_plan_is_made_again(desk):
    desk.bigger("more-memory", 7)
    desk.follower.look()
    desk.house.hire("bolt", 1)
    desk.house.settle()
    desk.house.world.previews.clear()
    desk.follower.look()
    assert desk.house.world.previews == []
    changes.pause(desk.house.store, ANN, "acme", desk.ids[0])
    desk.house.settle()
    desk.follower.look()
    assert desk.house.world.previews == ["customer-acme"]
    assert "is interrupted" not in desk.said[0], "who is paused is interrupted by nothing"


def test_reality_moves_too_so_an_old_plan_is_made_again(desk):
    desk.bigger("more-memory", 7)
    desk.follower.look()
    desk.house.world.previews.clear()
    desk.now = OLD_S + 1
    desk.follower.look()
    assert desk.house.world.previews == ["customer-acme"] and len(desk.said) == 1


def test_a_request_that_touches_everybody_is_not_planned_at_each_hire(desk):
    desk.propose("wider", "platform.yaml", "graceDays: 14", "graceDays: 30", 7)
    desk.follower.look()
    desk.house.world.previews.clear()
    desk.house.hire("bolt", 1)
    desk.house.settle()
    desk.follower.look()
    assert desk.house.world.previews == []
    desk.now = CALM_S + 1
    desk.follower.look()
    assert "platform" in desk.house.world.previews


def test_after_a_restart_the_same_comment_is_kept_up_to_date(desk):
    desk.bigger("more-memory", 7)
    desk.fake.say(7, f"{MARK} says somebody else", "ann")
    desk.follower.look()
    desk.another().look()
    assert len(desk.said) == 1
    desk.fake.comments[7] = [c for c in desk.fake.comments[7] if c["author"] != ME]
    desk.bigger("more-memory", memory=5120)
    desk.follower.look()  # the comment is not there to be edited
    assert "404" in desk.follower.as_json()["requests"][0]["problem"]
    desk.follower.look()
    assert len(desk.said) == 1 and "5120" in desk.said[0]
    assert desk.follower.as_json()["requests"][0]["problem"] == ""


def test_a_forks_branch_is_neither_fetched_nor_planned(desk):
    head = desk.bigger("theirs")
    git(desk.clone, "push", "-q", "origin", ":theirs")
    desk.fake.pull(7, "theirs", head, own=False)
    desk.follower.look()
    assert desk.states == ["error"] and desk.said == []
    assert Changes(desk.house.store).names() == []


def test_branches_come_and_go_with_their_requests(desk):
    desk.bigger("more-memory", 7)
    desk.propose("unrelated", "customers/bolt/customer.yaml", "maxEmployees: 40",
                 "maxEmployees: 39")
    desk.follower.look()
    assert Changes(desk.house.store).names() == ["more-memory"]
    head = git(desk.remote, "rev-parse", "more-memory")
    git(desk.clone, "push", "-q", "origin", ":more-memory")
    desk.fake.requests.clear()
    desk.follower.look()
    assert Changes(desk.house.store).names() == [] and desk.follower.told == {}
    assert git(desk.house.store.path, "rev-parse", f"refs/reviewed/{head}") == head


def test_a_forge_that_is_away_is_told_once_and_followed_again(desk):
    desk.bigger("more-memory", 7)
    desk.fake.refuses = lambda _: 503
    desk.follower.look()
    desk.follower.look()
    assert "503" in desk.follower.as_json()["problem"]
    assert len(desk.house.events("Unreachable")) == 1
    desk.house.settle()
    ids = desk.house.hire("bolt", 1)
    desk.house.settle()
    assert ids[0] in desk.house.running(), "nothing of the loop waits for it"
    desk.fake.refuses = lambda _: None
    desk.follower.look()
    assert desk.states == ["pending", "success"] and len(desk.house.events("Reachable")) == 1


def test_one_requests_trouble_is_not_the_next_ones(desk):
    desk.fake.pull(6, "is-not-there", "a" * 40)
    desk.bigger("more-memory", 7)
    desk.fake.refuses = lambda call: 403 if "issues/7/comments" in call else None
    desk.propose("fewer", "customers/bolt/customer.yaml", "maxEmployees: 40", "maxEmployees: 39", 8)
    desk.follower.look()
    known = {r["number"]: r for r in desk.follower.as_json()["requests"]}
    assert "403" in known[7]["problem"] and known[8]["state"] == "success"
    assert "no change is-not-there" in known[6]["problem"]


def test_a_token_that_is_missing_is_said(desk):
    def none():
        raise ForgeError("the secret forge-token can't be read")
    follower = replace(desk.follower, open=none, told={})
    follower.look()
    assert "forge-token" in follower.as_json()["problem"]


def test_a_commit_is_taken_back_by_a_branch_at_the_forge(desk):
    sha = desk.house.edit("acme", desk.ids[:1], role="Sales")
    made = Changes(desk.house.store).roll_back(sha, ANN)
    assert git(desk.remote, "rev-parse", made.name) == made.head
    desk.fake.pull(7, made.name, made.head)
    desk.follower.look()
    assert desk.states == ["pending", "success"] and "spec.role" not in desk.said[0]
    assert "metadata.role" in desk.said[0]


def test_what_is_merged_there_is_applied(desk):
    desk.bigger("more-memory", 7)
    desk.follower.look()
    git(desk.clone, "push", "-q", "origin", "HEAD:main")
    desk.house.store.fetch()
    desk.house.settle()
    state = desk.house.r.book.wanted()["acme"].state
    assert state.employees[desk.ids[0]].resources.memory_mb == 4096
