"""Roll-outs by value: real git and SQLite, the loop on a fake world, and employees whose files,
chats and images are a fake's."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from reconciler.probe import TurnError
from reconciler.rollouts import roller, steps
from reconciler.rollouts.record import Kept, Member, Record, Rollout
from reconciler.rollouts.roller import Roller
from stacks import StackError
from state_repo import changes
from tests.reconciler.fake_world import ANN, IMAGE, House, wait_for

NEWER = f"instantworker/employee@sha256:{'b' * 64}"
NEWEST = f"instantworker/employee@sha256:{'c' * 64}"


class FakeParts:
    """Employees as far as a roll-out sees them. `files`: what each holds; an image in `eats` makes
    them vanish, one in `forgets` keeps none of what it was told, one in `dumb` answers nothing."""

    def __init__(self, house: House) -> None:
        self.house, self.steps = house, list[str]()
        self.files: dict[str, dict[str, str]] = {}
        self.kept: dict[str, dict[str, str]] = {}
        self.busy, self.eats, self.forgets, self.dumb = (set[str](), set[str](), set[str](),
                                                          set[str]())
        self.missing, self.full = set[str](), False
        self.before_ask: Any = None

    def image_of(self, employee: str) -> str:
        return self.house.world.containers[employee].image

    def expect_image(self, image: str) -> None:
        if image in self.missing:
            raise StackError(f"image {image} is not on this machine")

    def is_busy(self, employee: str) -> bool:
        return employee in self.busy

    def freeze(self, employee: str) -> None:
        self.steps.append(f"freeze {employee}")

    def thaw(self, employee: str) -> None:
        self.steps.append(f"thaw {employee}")

    def stop(self, employee: str) -> None:
        self.steps.append(f"stop {employee}")

    def snapshot(self, employee: str) -> None:
        if self.full:
            raise StackError("there is no room for a snapshot")
        assert employee in self.house.r.rollouts.frozen()
        self.kept[employee] = dict(self.files.get(employee, {}))
        self.steps.append(f"snapshot {employee}")

    def has_snapshot(self, employee: str) -> bool:
        return employee in self.kept

    def put_back(self, employee: str) -> None:
        self.files[employee] = dict(self.kept[employee])
        self.steps.append(f"put back {employee}")

    def empty(self, employee: str) -> None:
        self.files[employee] = {}
        self.steps.append(f"empty {employee}")

    def changes(self, employee: str) -> tuple[list[str], list[str]]:
        if self.image_of(employee) in self.eats and "canary" not in employee:
            self.files[employee] = {}
        now, then = self.files.get(employee, {}), self.kept[employee]
        return ([name for name in then if name not in now],
                [name for name in then if name in now and now[name] != then[name]])

    def forget_snapshots(self) -> None:
        self.kept.clear()

    def page_problem(self, employee: str) -> str | None:
        return None

    def ask(self, employee: str, text: str) -> str:
        if self.before_ask is not None:
            self.before_ask(employee, text)
        image, files = self.image_of(employee), self.files.setdefault(employee, {})
        if image in self.dumb:
            raise TurnError("it gave no answer within 150 s")
        if text.startswith("Remember"):
            files["MEMORY.md"] = files.get("MEMORY.md", "") + text
            return "I will"
        return "I know nothing of that" if image in self.forgets else files.get("MEMORY.md", "")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A loop that turns by itself, as it does at work; roll-outs look when they are told to."""
    monkeypatch.setattr("reconciler.fleet.wait_until_ready", lambda address, *_: answer(address))
    monkeypatch.setattr("reconciler.fleet.answers", lambda *_: None)
    monkeypatch.setattr(roller, "ANSWERS_S", 1.5)
    monkeypatch.setattr(roller, "IDLE_S", 0.5)
    made = House(tmp_path)
    made.dead = {}  # images that never answer, with what they say

    def answer(address: str) -> str | None:
        image = next((c.image for c in made.world.containers.values() if c.address == address), "")
        return made.dead.get(image)
    loop = start(made)
    made.customer("acme")
    yield made
    loop()
    made.close()


def start(house: House):
    """Turns the loop until the function that it returns is called."""
    house.parts = FakeParts(house)
    house.r.rollouts = Roller(house.r, house.parts, look_s=0.01)
    ended = threading.Event()

    def turn() -> None:
        while not ended.wait(0.02):
            house.r.cycle()
    thread = threading.Thread(target=turn, daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(10)
    return end


def at_work(house: House, count: int = 3, **platform: Any) -> list[str]:
    """That many employees, who answer; the roll-out has seen the image that they have."""
    if platform:
        changes.set_platform(house.store, ANN, "Other limits", lambda p: replace(p, **platform))
    ids = house.hire("acme", count)
    for id in ids:
        house.parts.files[id] = {"report.md": f"by {id}"}
    wait_for(lambda: all((row := house.row(id)) and row.health_status == "Healthy" for id in ids),
             "they work")
    look(house)
    assert house.r.rollouts.as_json() is None
    return ids


def look(house: House) -> Rollout | None:
    """One look of the roll-out at the newest commit, and what came of it."""
    wait_for(lambda: house.r.turn and house.r.turn.commit == house.store.head(), "it is taken")
    house.r.rollouts.look()
    return house.r.rollouts._record.read().rollout


def name_image(house: House, image: str) -> None:
    changes.set_platform(house.store, ANN, "Another image", lambda p: replace(
        p, images=p.images | {"employee": image}))


def images(house: House, customer: str = "acme") -> dict[str, str]:
    return {e.id: e.image for e in house.store.snapshot().customers[customer].employees.values()}


def canary(house: House) -> Any:
    (found,) = house.store.snapshot().customers[changes.CANARY].employees.values()
    return found


def test_a_new_image_goes_to_a_canary_and_then_in_waves(house):
    ids = at_work(house, 7)
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "done" and made.proven and made.ended
    assert set(images(house).values()) == {NEWER}
    assert {m.step for m in made.members} == {"moved"} and len(made.members) == 7
    assert all(house.world.containers[id].image == NEWER for id in ids)
    assert all(house.parts.files[id] == {"report.md": f"by {id}"} for id in ids)
    assert canary(house).image == NEWER and canary(house).state == "paused"
    # Each stood still while its files were copied, the canary first, and waves grew.
    first = [s.partition(" ")[2] for s in house.parts.steps if s.startswith("snapshot")]
    assert first[0] == canary(house).id and sorted(first[1:]) == sorted(ids)
    wait_for(lambda: "canary first" in "".join(house.events("Rollout")), "it is told")
    assert house.r.rollouts.frozen() == {}
    look(house)
    assert house.r.rollouts._record.read().rollout == made, "once"


def test_the_canary_is_told_on_the_old_image_and_asked_on_the_new(house):
    at_work(house, 1)
    asked: list[tuple[str, str]] = []
    house.parts.before_ask = lambda e, text: asked.append(
        (house.parts.image_of(e), text.split()[0]))
    name_image(house, NEWER)
    look(house)
    assert asked == [(IMAGE, "Remember"), (IMAGE, "What"), (NEWER, "What")]
    asked.clear()
    name_image(house, NEWEST)
    look(house)
    assert asked == [(NEWER, "Remember"), (NEWER, "What"), (NEWEST, "What")]
    assert len(house.store.snapshot().customers[changes.CANARY].employees) == 1, "it is kept"
    assert house.parts.files[canary(house).id]["MEMORY.md"].count("upgrade word") == 2


@pytest.mark.parametrize(("kind", "why"), [
    ("forgets", "does not remember what it was told (on the new image)"),
    ("dumb", "it gave no answer"), ("dead", "not open yet")])
def test_a_canary_that_fails_stops_it_before_anybody_is_touched(house, kind, why):
    ids = at_work(house, 3)
    if kind == "dead":
        house.dead[NEWER] = "its chat port is not open yet"
    else:
        getattr(house.parts, kind).add(NEWER)
    containers = {id: house.world.containers[id].id for id in ids}
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and why in made.reason
    assert set(images(house).values()) == {IMAGE}
    assert {id: house.world.containers[id].id for id in ids} == containers
    assert house.store.platform().images["employee"] == IMAGE, "new employees get it again"
    assert canary(house).image == IMAGE and canary(house).state == "paused"
    assert f"put back {canary(house).id}" in house.parts.steps
    wait_for(lambda: why in "".join(house.events("RolloutFailed")), "it is told")
    assert house.r.rollouts.failed and Roller(house.r, house.parts).failed, "until one is done"
    look(house)
    assert house.r.rollouts._record.read().rollout == made, "it is not tried again by itself"
    house.dead.clear(), house.parts.forgets.clear(), house.parts.dumb.clear()
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "done" and set(images(house).values()) == {NEWER}
    assert not house.r.rollouts.failed


def test_an_image_that_says_that_it_does_not_start_is_not_waited_for(house, monkeypatch):
    ids = at_work(house, 1)
    monkeypatch.setattr(roller, "ANSWERS_S", 1e6)
    house.dead[NEWER] = "it does not start: its files were written by OpenClaw 2027.1.1"
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and "written by OpenClaw" in made.reason
    assert images(house) == dict.fromkeys(ids, IMAGE)


def test_who_loses_files_gets_them_back_with_the_image_that_it_had(house):
    ids = at_work(house, 5)
    house.parts.eats.add(NEWER)
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and "report.md" in made.reason
    (bad,) = made.at("returned")
    assert bad.employee in made.reason and len(made.at("waiting")) == 4
    assert house.parts.files[bad.employee] == {"report.md": f"by {bad.employee}"}
    assert set(images(house).values()) == {IMAGE}
    assert house.store.snapshot().customers["acme"].employees[bad.employee].restarts == 1, (
        "what we write into its files is written anew")
    wait_for(lambda: house.world.containers[bad.employee].image == IMAGE, "it runs as before")
    assert all(f"snapshot {id}" not in house.parts.steps for id in ids if id != bad.employee)


def test_who_can_t_be_put_back_yet_is_put_back_later(house, monkeypatch):
    (bad,) = at_work(house, 1)
    house.parts.eats.add(NEWER)
    monkeypatch.setattr(roller, "AGAIN_S", 0.01)
    original, refused = house.parts.put_back, []

    def put_back(employee: str) -> None:
        if len(refused) < 2:
            refused.append(employee)
            raise StackError("the disk does not answer")
        original(employee)
    house.parts.put_back = put_back
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failing" and made.at("returning"), "nobody is left half-way"
    assert house.store.platform().images["employee"] == IMAGE, "new employees get it again"
    house.r.rollouts = Roller(house.r, house.parts, look_s=0.01)  # by another process as well
    made = look(house)
    assert made and made.state == "failing"
    made = look(house)
    assert made and made.state == "failed" and made.at("returned") and "report.md" in made.reason
    assert house.parts.files[bad] == {"report.md": f"by {bad}"} and images(house) == {bad: IMAGE}
    told = [m for m in house.events("RolloutFailed") if "not put back yet" in m]
    assert len(told) <= 2, "each process tells it once"


def test_blanks_go_first_and_a_blank_on_a_failed_image_is_nobody_to_hire(house):
    ids = at_work(house, 1, warm_per_customer=1)
    house.hire("acme")  # asks for the first blank
    wait_for(lambda: any(e.state == "warm" for e in blanks(house)), "a blank")
    (blank,) = blanks(house)
    wait_for(lambda: (row := house.row(blank.id)) and row.health_status == "Healthy", "it is ready")
    house.parts.eats.add(NEWER)
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and made.members[0].employee == blank.id
    assert made.members[0].step == "moved" and f"snapshot {blank.id}" not in house.parts.steps
    assert f"empty {blank.id}" in house.parts.steps
    assert {e.image for e in blanks(house)} == {IMAGE} and images(house)[ids[0]] == IMAGE


def blanks(house: House) -> list[Any]:
    return [e for e in house.store.snapshot().customers["acme"].employees.values()
            if e.state == "warm"]


def test_who_is_pinned_paused_or_retired(house):
    works, pinned, paused, retired = at_work(house, 4)
    house.edit("acme", [pinned], image_pinned=True)
    changes.pause(house.store, ANN, "acme", paused)
    changes.retire(house.store, ANN, "acme", retired)
    wait_for(lambda: paused not in house.running() and retired not in house.running(), "they stop")
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "done"
    assert images(house) == {works: NEWER, pinned: IMAGE, paused: NEWER, retired: IMAGE}
    assert {m.employee for m in made.members} == {works, paused}
    assert paused not in house.running()


def test_who_is_busy_waits_for_a_moment_and_at_last_goes_too(house):
    first, busy = at_work(house, 2)
    house.parts.busy.add(busy)
    name_image(house, NEWER)
    began = time.monotonic()
    look(house)
    assert images(house) == {first: NEWER, busy: NEWER} and time.monotonic() - began >= 0.5
    order = [s.partition(" ")[2] for s in house.parts.steps if s.startswith("snapshot")]
    assert order[-2:] == [first, busy]


def test_who_is_held_or_frozen_stays_and_the_others_go_on(house):
    house.customer("bolt")
    (theirs,) = house.hire("bolt")
    ours = at_work(house, 2)
    changes.set_freeze(house.store, ANN, "bolt", changes.Freeze("Audit", "2099-01-01T00:00:00Z"))
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "done" and images(house, "bolt") == {theirs: IMAGE}
    assert images(house) == dict.fromkeys(ours, NEWER) and f"{theirs} stays: frozen" in made.reason
    changes.set_freeze(house.store, ANN, "bolt", None)
    look(house)
    assert images(house, "bolt") == {theirs: IMAGE}
    house.r.rollouts.begin_again()
    made = look(house)
    assert made and made.state == "done" and images(house, "bolt") == {theirs: NEWER}
    assert {m.employee for m in made.members} == {theirs} and made.before == IMAGE


def test_an_image_that_is_not_here_moves_nobody(house):
    at_work(house, 1)
    house.parts.missing.add(NEWER)
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and "not on this machine" in made.reason
    assert house.store.platform().images["employee"] == IMAGE


def test_without_room_for_a_snapshot_nobody_is_moved(house):
    ids = at_work(house, 1)
    house.parts.full = True
    name_image(house, NEWER)
    made = look(house)
    assert made and made.state == "failed" and "no room" in made.reason
    assert images(house) == dict.fromkeys(ids, IMAGE)
    assert house.parts.steps.count(f"thaw {canary(house).id}") == 1
    assert house.r.rollouts.frozen() == {}


def test_another_image_meanwhile_takes_its_place(house):
    ids = at_work(house, 2)

    def change_mind(employee: str, text: str) -> None:
        if house.parts.image_of(employee) == NEWER:
            house.parts.before_ask = None
            name_image(house, NEWEST)
    house.parts.before_ask = change_mind
    name_image(house, NEWER)
    look(house)
    made = look(house)
    assert made and made.state == "done" and made.image == NEWEST and made.before == IMAGE
    assert images(house) == dict.fromkeys(ids, NEWEST)
    assert canary(house).image == NEWEST


@pytest.mark.parametrize("where", ["Remember", "What", "snapshot", "changes"])
def test_another_process_goes_on_where_one_ended(house, where, monkeypatch):
    """It ends at each kind of step, once; the next one comes to the same end."""
    ids = at_work(house, 3)
    original, ended = getattr(house.parts, where, house.parts.ask), []

    def end(*given: Any) -> Any:
        if not ended and (where in ("snapshot", "changes") or given[1].startswith(where)):
            ended.append(given)
            raise KeyboardInterrupt
        return original(*given)
    monkeypatch.setattr(house.parts, where if hasattr(house.parts, where) else "ask", end)
    monkeypatch.setattr(roller.Roller, "_put_back", lambda *_: None)  # the process is gone
    monkeypatch.setattr(roller.Roller, "_rest_canary", lambda *_: None)
    name_image(house, NEWER)
    with pytest.raises(KeyboardInterrupt):
        look(house)
    monkeypatch.undo()
    monkeypatch.setattr("reconciler.fleet.wait_until_ready", lambda *_: None)
    house.r.rollouts = Roller(house.r, house.parts, look_s=0.01)
    made = look(house)
    assert made and made.state == "done" and images(house) == dict.fromkeys(ids, NEWER)
    assert canary(house).state == "paused" and canary(house).image == NEWER


def test_the_first_look_of_all_rolls_out_to_whoever_is_behind(house):
    """An instance of before there were roll-outs: its set-up named a newer image already."""
    ids = house.hire("acme", 2)
    name_image(house, NEWER)
    wait_for(lambda: house.row(ids[1]) and house.row(ids[1]).health_status == "Healthy", "it works")
    made = look(house)
    assert made and made.state == "done" and made.before == IMAGE
    assert images(house) == dict.fromkeys(ids, NEWER)


# ---- by value --------------------------------------------------------------------------------

def test_waves_grow_and_stay_within_the_brake():
    assert [steps.wave_size(n, 5) for n in range(5)] == [1, 2, 4, 5, 5]
    assert steps.wave_size(3, 0) == 1 and steps.wave_size(10_000, 100) == 100


def test_the_record_is_kept_and_a_torn_one_is_nothing_known(tmp_path):
    record = Record(tmp_path / "rollout.json")
    assert record.read() == Kept()
    kept = Kept(IMAGE, Rollout(NEWER, IMAGE, "2026-11-27T10:00:00+00:00",
                               (Member("pulse-1", "acme", IMAGE, "moved", "c1"),)))
    record.write(kept)
    assert record.read() == kept
    for wrong in ("", "{}", '{"settled": null}', '{"settled": "x", "rollout": {"image": 1}}'):
        (tmp_path / "rollout.json").write_text(wrong)
        assert record.read() == Kept()
