"""A look never raises, and what one part refuses hides no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from requests.exceptions import HTTPError

from reconciler import world as world_module
from reconciler.decide import PLATFORM, Wanted
from reconciler.world import World
from stacks import StackError, UnreachableError
from stacks.observed import ContainerSeen, DockerReality
from state_repo.documents import IgnoredDifference
from state_repo.instance import PORTS, Instance
from tests.reconciler.examples import acme, platform

PULSE = next(iter(acme().employees))
PARTS = {"dns": "dns_differences", "edge": "edge_differences", "firewall": "firewall_differences",
         "model-proxy": "proxy_differences", "monitoring": "monitoring_differences"}


@pytest.fixture
def instance(tmp_path):
    return Instance(id="0badcafe", data=tmp_path, ports=dict.fromkeys(PORTS, 2000))


@pytest.fixture
def world(instance, monkeypatch):
    made = World(instance)
    monkeypatch.setattr(world_module.observed, "observe_docker", lambda _: made.reality)
    for name in PARTS.values():
        monkeypatch.setattr(world_module.platform_observed, name, lambda *_: iter(()))
    monkeypatch.setattr(world_module.platform_observed, "container_differences",
                        lambda *_: iter([("container", "iw-edge", "it is gone")]))
    made.reality = DockerReality({}, frozenset(), frozenset())  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.mark.parametrize("error", [
    UnreachableError("nothing answers"), StackError("GET /config/: 502"),
    HTTPError("401 Unauthorized"), ValueError("what is this"), KeyError("data")])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_refuses_is_told_with_its_reason_and_hides_nothing(world, monkeypatch, part,
                                                                       error):
    def refuse(*_):
        raise error
        yield
    monkeypatch.setattr(world_module.platform_observed, PARTS[part], refuse)
    look = world.look(platform(), [Wanted(platform(), acme())])
    assert list(look.unreachable) == [part] and str(error).strip("'") in look.unreachable[part]
    assert look.containers == ()
    assert {d.name for d in look.drift[PLATFORM]} == {"iw-edge"}
    assert "iw-net-acme" in {d.name for d in look.drift["customer/acme"]}


@pytest.mark.parametrize("error", [UnreachableError("silent"), StackError("Docker refuses: 500")])
def test_a_docker_that_refuses_leaves_the_rest_to_be_seen(world, monkeypatch, error):
    def refuse(_):
        raise error
    monkeypatch.setattr(world_module.observed, "observe_docker", refuse)
    look = world.look(platform(), [Wanted(platform(), acme())])
    assert look.containers is None and list(look.unreachable) == ["docker"]


def test_one_customer_that_can_not_be_compared_hides_no_other(world, monkeypatch):
    from dataclasses import replace

    from stacks import fingerprint
    other = replace(acme(), id="bolt", customer=replace(acme().customer, id="bolt"))
    original = fingerprint.customer_differences

    def sometimes(instance, state, *rest):
        if state.id == "acme":
            raise RuntimeError("a surprise")
        return original(instance, state, *rest)
    monkeypatch.setattr(fingerprint, "customer_differences", sometimes)
    look = world.look(platform(), [Wanted(platform(), acme()), Wanted(platform(), other)])
    assert "a surprise" in look.unreachable["customer/acme"]
    assert "customer/bolt" in look.drift and look.containers == ()


def test_a_volume_that_was_made_and_is_gone_is_lost_and_no_drift(world, instance):
    there = frozenset({"iw-vol-pulse-aaaaaa", "iw-know-acme"})
    world.reality = DockerReality({}, frozenset({"iw-net-acme"}), there)
    first = world.look(platform(), [Wanted(platform(), acme())])
    assert first.lost == {} and first.unshared == {}
    world.reality = DockerReality({}, frozenset({"iw-net-acme"}), frozenset({"iw-know-acme"}))
    look = world.look(platform(), [Wanted(platform(), acme())])
    assert look.lost == {"acme": frozenset({"pulse-aaaaaa"})}
    assert "customer/acme" not in look.drift, "neither it nor its container is made again"
    world.reality = DockerReality({}, frozenset({"iw-net-acme"}), frozenset())
    look = world.look(platform(), [Wanted(platform(), acme())])
    assert "iw restore --knowledge acme" in look.unshared["acme"]


def test_what_is_rendered_is_part_of_the_programs_digest(tmp_path, monkeypatch):
    folder = tmp_path / "stacks"
    for name in ("stacks/a.py", "stacks/templates/x.j2", "images/seccomp/employee.json",
                 "images/employee/Dockerfile"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    monkeypatch.setattr(world_module.stacks, "__file__", str(folder / "__init__.py"))
    before = world_module._digest_of_programs()
    for name in ("stacks/templates/x.j2", "images/seccomp/employee.json",
                 "images/employee/Dockerfile"):
        (tmp_path / name).write_text("2")
        after = world_module._digest_of_programs()
        assert after != before, name
        before = after


def test_a_part_that_docker_finds_unhealthy_is_told(world):
    def seen(part: str, health: str) -> ContainerSeen:
        return ContainerSeen(part, f"iw-{part}", None, None, part, "", "img", True, None,
                             frozenset(), health)
    world.reality = DockerReality({f"iw-{part}": seen(part, health) for part, health in (
        ("alertmanager", "unhealthy"), ("dns", "healthy"), ("edge", "starting"))},
        frozenset(), frozenset())
    look = world.look(platform(), [])
    assert list(look.unreachable) == ["monitoring"]
    assert "iw-alertmanager" in look.unreachable["monitoring"]


def test_what_is_only_planned_permits_nothing(world, instance):
    wanted = Wanted(platform(), acme(), expired=frozenset({PULSE}))
    volume = instance.employee_volume(PULSE)
    world.customer_program(wanted)
    assert not world._may_remove_volume(volume)
    assert not world.tenant("customer-acme").volumes(volume)
    assert world.tenant_of(wanted).volumes(volume), "the plan is judged by what it would own"
    world.permit(wanted)
    assert world._may_remove_volume(volume) and world.tenant("customer-acme").volumes(volume)


def changed_by_hand(world, instance, monkeypatch, **limits):
    """Docker tells of a change, and shows these limits from then on."""
    name = instance.container_name(PULSE)
    size = acme().employees[PULSE].resources
    real = {"cpus": size.cpus, "memory": float(size.memory_mb), "pids": size.pids} | limits
    monkeypatch.setattr(world_module.observed, "limits", lambda _: real)
    world.reality = DockerReality({name: ContainerSeen(
        "c1", name, "acme", PULSE, None, "", "i", True, "10.0.0.1", frozenset({"iw-net-acme"}),
        "healthy")}, frozenset({"iw-net-acme"}), frozenset({f"iw-vol-{PULSE}", "iw-know-acme"}))
    world._touched.setdefault("acme", set()).add(name)
    return name


def limits_told(world, wanted):
    return [d.problem for d in world.look(wanted.platform, [wanted]).drift.get("customer/acme", ())
            if d.kind == "container"]


def test_a_limit_changed_by_hand_is_told_by_its_name_and_values(world, instance, monkeypatch):
    wanted = Wanted(platform(), acme())
    memory = acme().employees[PULSE].resources.memory_mb
    changed_by_hand(world, instance, monkeypatch, memory=64.0)
    assert limits_told(world, wanted) == [f"its memory is 64, and should be {memory}"]
    changed_by_hand(world, instance, monkeypatch)
    assert limits_told(world, wanted) == [], "what was set back is no drift"


def test_what_may_differ_is_left_until_its_time_is_over(world, instance, monkeypatch):
    soon = "2999-01-01T00:00:00Z"
    rule = IgnoredDifference("memory", "it starves", soon, "acme", PULSE)
    lenient = Wanted(replace(platform(), ignore_differences=(rule,)), acme())
    changed_by_hand(world, instance, monkeypatch, memory=64.0, pids=7)
    pids = acme().employees[PULSE].resources.pids
    assert limits_told(world, lenient) == [f"its pids is 7, and should be {pids}"]
    changed_by_hand(world, instance, monkeypatch, memory=64.0)
    assert limits_told(world, lenient) == []
    world.settle("customer/acme")  # a run in the meantime, for somebody else
    past = replace(rule, until="2020-01-01T00:00:00Z")
    over = Wanted(replace(platform(), ignore_differences=(past,)), acme())
    assert len(limits_told(world, over)) == 1, "it was kept in mind"


def test_whom_a_rule_is_for():
    now = datetime(2026, 5, 1, tzinfo=UTC)

    def ignored(customer, employee, until="2026-05-02T00:00:00Z"):
        rules = (IgnoredDifference("cpus", "x", until, customer, employee),)
        return replace(platform(), ignore_differences=rules).ignored_fields("acme", PULSE, now)
    assert ignored(None, None) == ignored("acme", None) == ignored(None, PULSE) == {"cpus"}
    assert not ignored("bolt", None) and not ignored("acme", "other-bbbbbb")
    assert not ignored(None, None, "2026-05-01T00:00:00Z")
