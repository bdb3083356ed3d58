"""Every line of the hardening list: taken from a good plan, exactly its rule fires."""

from __future__ import annotations

import pytest

from policies.resources import CONTAINER, CONTAINER_RULES, NETWORK, VOLUME, Tenant, check_resource

ACME = Tenant("acme", "0badcafe", "iw-net-acme", {"iw-vol-pulse", "iw-know-acme"}.__contains__)
LABELS = [{"label": "instantworker.instance", "value": "0badcafe"},
          {"label": "instantworker.customer", "value": "acme"}]
GOOD = {
    "name": "iw-emp-pulse", "image": f"iw/employee@sha256:{'a' * 64}", "user": "10001:10001",
    "init": True, "readOnly": True, "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges:true", "seccomp=employee"], "memory": 512.0,
    "memorySwap": 512.0, "cpus": "1", "pidsLimit": 128.0,
    "ulimits": [{"name": "nofile", "soft": 4096.0, "hard": 4096.0}], "restart": "on-failure",
    "maxRetryCount": 5.0, "networksAdvanced": [{"name": "iw-net-acme"}],
    "mounts": [{"type": "volume", "source": "iw-vol-pulse", "target": "/data"}],
    "tmpfs": {"/tmp": "rw,noexec,nosuid"}, "labels": LABELS, "envs": ["IW_RESTARTS=0"],
    "healthcheck": {"tests": ["CMD", "x"]},
}
DOCKER_SOCK = [{"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}]
BAD = [
    ("capabilities", {"capabilities": {}}),
    ("capabilities", {"capabilities": {"drops": ["ALL"], "adds": ["SYS_ADMIN"]}}),
    ("privileges", {"securityOpts": ["seccomp=employee"]}),
    ("privileges", {"privileged": True}),
    ("seccomp", {"securityOpts": ["no-new-privileges:true"]}),
    ("seccomp", {"securityOpts": ["no-new-privileges:true", "seccomp=unconfined"]}),
    ("pids", {"pidsLimit": None}), ("memory", {"memorySwap": 1024.0}), ("memory", {"memory": 0}),
    ("cpu", {"cpus": None}), ("files", {"ulimits": []}), ("read-only", {"readOnly": False}),
    ("tmpfs", {"tmpfs": {"/tmp": "rw"}}), ("tmpfs", {"tmpfs": {}}),
    ("user", {"user": "0:0"}), ("user", {"user": ""}), ("init", {"init": False}),
    ("health", {"healthcheck": None}), ("restart", {"restart": "always"}),
    ("ports", {"ports": [{"internal": 80}]}), ("ports", {"publishAllPorts": True}),
    ("devices", {"devices": [{"hostPath": "/dev/kvm"}]}),
    ("network", {"networksAdvanced": [{"name": "iw-net-bolt"}]}),
    ("network", {"networksAdvanced": [{"name": "iw-net-acme"}, {"name": "iw-net-bolt"}]}),
    ("network", {"networkMode": "host"}),
    ("mounts", {"mounts": DOCKER_SOCK}),
    ("mounts", {"mounts": [{"type": "bind", "source": "/etc", "target": "/s"}]}),
    ("mounts", {"mounts": [{"type": "volume", "source": "iw-vol-bolt", "target": "/s"}]}),
    ("mounts", {"volumes": [{"hostPath": "/"}]}),
    ("image", {"image": "iw/employee:latest"}), ("labels", {"labels": LABELS[:1]}),
    ("environment", {"envs": ["OPENAI_API_KEY=sk-1"]}), ("allow-list", {"pidMode": "host"}),
    ("allow-list", {"sysctls": {"net.ipv4.ip_forward": "1"}}),
]


def test_a_good_plan_passes():
    assert check_resource(CONTAINER, GOOD, ACME) == []


@pytest.mark.parametrize(("rule", "change"), BAD)
def test_a_plan_that_lacks_one_line_is_refused_by_its_rule(rule, change):
    found = check_resource(CONTAINER, GOOD | change, ACME)
    # What no employee may have at all is refused by the allow-list too.
    assert rule in {name for name, _ in found} <= {rule, "allow-list"}
    assert all(message for _, message in found)


def test_every_rule_has_a_plan_that_it_refuses():
    assert {rule for rule, _ in BAD} == set(CONTAINER_RULES)


def test_networks_and_volumes():
    network = {"name": "iw-net-acme", "labels": LABELS,
               "options": {"com.docker.network.bridge.enable_icc": "false"}}
    assert check_resource(NETWORK, network, ACME) == []
    assert check_resource(NETWORK, network | {"options": {}}, ACME)
    assert check_resource(NETWORK, network | {"name": "iw-net-bolt"}, ACME)
    volume = {"name": "iw-vol-pulse", "labels": LABELS}
    assert check_resource(VOLUME, volume, ACME) == []
    assert check_resource(VOLUME, volume | {"driverOpts": {"device": "/"}}, ACME)
    assert check_resource(VOLUME, volume | {"name": "iw-vol-bolt"}, ACME)


def test_a_customer_s_stack_holds_nothing_of_the_platform():
    for kind in ("instantworker:host:Firewall", "docker:index/image:Image", "aws:s3:Bucket"):
        assert check_resource(kind, {}, ACME) == [("type", f"{kind} must not be in this stack")]
    assert check_resource("instantworker:host:Firewall", {}, Tenant(None, "0badcafe")) == []
