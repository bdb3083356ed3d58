"""Plans by value: a fake world and engine; the branches are real git."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.plans import Planner
from state_repo import changes
from state_repo.documents import AlertReceiver, Alerts, Brakes, Employee, Limits
from state_repo.parsing import dump
from state_repo.review import Changes, NoChangeError
from tests.reconciler.fake_world import ANN, House


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    made.customer("acme")
    made.customer("bolt")
    yield made
    made.close()


def employees(house: House, customer: str) -> dict[str, Employee]:
    return dict(house.store.snapshot().customers[customer].employees)


def propose(house: House, files: dict[str, str | None], name: str = "c") -> str:
    """A branch off main with these files, as a push leaves it."""
    store, head = house.store, house.store.head() or ""
    tree = store.objects.with_files(store.objects.tree_of(head), files)
    made = store.draft(tree, head, "Proposed", ANN)
    store._door.run("update-ref", f"refs/heads/{name}", made)
    return name


def bigger(house: House, customer: str, ids: list[str], memory: int = 4096) -> dict[str, str]:
    known = employees(house, customer)
    return {known[id].path: dump(replace(known[id], resources=replace(
        known[id].resources, memory_mb=memory))) for id in ids}


def test_only_what_a_change_touches_is_previewed_and_nothing_is_touched(house):
    ids = house.hire("acme", 3)
    house.hire("bolt", 2)
    house.settle()
    runs, before = list(house.world.runs), house.running()
    plan = Planner(house.r).change(propose(house, bigger(house, "acme", ids[:1])))
    assert house.world.previews == ["customer-acme"]
    assert house.world.runs == runs and house.running() == before
    (stack,) = plan["stacks"]
    assert stack["employees"] == [{"employee": ids[0], "does": "is interrupted"}]
    assert stack["changes"][0]["values"] == [{"field": "memory", "old": "3072", "new": "4096"}]
    (document,) = plan["documents"]
    assert (document["does"], document["fields"]) == ("changed", [
        {"field": "spec.resources.memoryMb", "old": 3072, "new": 4096}])
    assert plan["problems"] == [] and plan["head"] == Changes(house.store).find("c").head


@pytest.mark.parametrize("change, looked_at", [
    ({"alerts": Alerts((AlertReceiver(webhook="pager"),))}, {"platform"}),
    ({"limits": Limits(max_pids=4096)}, {"platform", "customer-acme", "customer-bolt"})])
def test_what_customers_do_not_depend_on_looks_at_none_of_them(house, change, looked_at):
    house.settle()
    wanted = replace(house.store.platform(), **change)
    Planner(house.r).change(propose(house, {wanted.path: dump(wanted)}))
    assert set(house.world.previews) == looked_at
    before = len(house.world.runs)
    changes.set_platform(house.store, ANN, "Change", lambda _: wanted)
    house.settle()
    assert {name for name, _ in house.world.runs[before:]} == looked_at


def test_the_digest_names_what_was_looked_at(house):
    ids = house.hire("acme", 2)
    house.settle()
    planner, name = Planner(house.r), propose(house, bigger(house, "acme", ids[:1]))
    first = planner.change(name)
    assert planner.change(name)["digest"] == first["digest"]
    house.hire("bolt", 1)  # main goes on where it is no matter
    house.settle()
    same = planner.change(name)
    assert same["digest"] == first["digest"] and same["main"] != first["main"]
    del house.world.containers[ids[0]]  # reality moves: what was to be made anew is to be made
    assert planner.change(name)["digest"] != first["digest"]
    propose(house, bigger(house, "acme", ids[:1], 5120))
    assert planner.change(name)["digest"] not in (first["digest"], same["digest"])


def test_a_change_of_the_platform_is_planned_for_everybody(house):
    house.hire("acme", 1)
    house.settle()
    text = dump(replace(house.store.platform(), grace_days=3))
    plan = Planner(house.r).change(propose(house, {"platform.yaml": text}))
    assert sorted(house.world.previews) == ["customer-acme", "customer-bolt", "platform"]
    assert plan["documents"][0]["fields"] == [{"field": "spec.graceDays", "old": 14, "new": 3}]


def test_what_the_rules_refuse_is_told_with_its_place(house):
    (one,) = house.hire("acme", 1)
    house.settle()
    plan = Planner(house.r).change(propose(house, bigger(house, "acme", [one], 900_000)))
    assert plan["stacks"] == [] and house.world.previews == []
    assert "memoryMb" in plan["problems"][0] and f"{one}.yaml" in plan["problems"][0]
    house.world.refused["customer-acme"] = ["employee-x: privileged is not allowed"]
    plan = Planner(house.r).change(propose(house, bigger(house, "acme", [one]), "d"))
    assert plan["stacks"][0]["problems"] == ["employee-x: privileged is not allowed"]


def test_the_brake_is_foretold(house):
    ids = house.hire("acme", 8)
    house.settle()
    known = employees(house, "acme")
    plan = Planner(house.r).change(propose(house, {
        known[id].path: dump(replace(known[id], state="paused")) for id in ids[:7]}))
    (stack,) = plan["stacks"]
    assert "The brake will hold this" in stack["notes"][0] and ids[0] in stack["notes"][0]
    assert {e["does"] for e in stack["employees"]} == {"stops"} and stack["problems"] == []
    changes.set_platform(house.store, ANN, "Loose", lambda p: replace(p, brakes=Brakes(50, 100)))
    house.settle()
    again = Planner(house.r).change(propose(house, {
        known[id].path: dump(replace(known[id], state="paused")) for id in ids[:7]}, "d"))
    assert again["stacks"][0]["notes"] == []


def test_who_has_no_document_any_more_is_kept_in_the_plan_as_in_reality(house):
    ids = house.hire("acme", 2)
    house.settle()
    known, seen = employees(house, "acme"), []
    original = house.world.customer_program
    house.world.customer_program = lambda wanted: (seen.append(wanted), original(wanted))[1]
    Planner(house.r).change(propose(house, {known[ids[0]].path: None}))
    (wanted,) = seen
    assert wanted.kept == {ids[0]}, "its files stay"
    all_of_it = (*(e.path for e in known.values()), "customers/acme/customer.yaml")
    gone = Planner(house.r).change(propose(house, dict.fromkeys(all_of_it), "d"))
    (stack,) = gone["stacks"]
    assert "vanished" in stack["notes"][0] and stack["changes"] == []


def test_a_conflict_with_main_is_told_and_nothing_is_previewed(house):
    (one,) = house.hire("acme", 1)
    house.settle()
    name = propose(house, bigger(house, "acme", [one]))
    changes.change(house.store, ANN, "acme", one, resources={"memory_mb": 2048})
    plan = Planner(house.r).change(name)
    assert "git rebase" in plan["problems"][0] and house.world.previews == []
    with pytest.raises(NoChangeError):
        Planner(house.r).change("nothing")


def test_what_a_month_costs_more_is_told(house):
    ids = house.hire("acme", 1)
    house.settle()
    known = employees(house, "acme")
    plan = Planner(house.r).change(propose(house, {known[ids[0]].path: dump(replace(
        known[ids[0]], model=replace(known[ids[0]].model, monthly_budget_usd=35.0)))}))
    assert plan["cost"] == {"models_usd": 15.0}


def test_the_newest_commit_is_planned_as_before(house):
    house.hire("acme", 1)
    plan = Planner(house.r).newest("acme")
    assert [c["op"] for c in plan["changes"]] == ["create"] and plan["diagnostics"] == []
    assert house.world.previews == ["customer-acme"]
