"""How the platform's parts differ from what they should be, without the engine.

Each look is cheap and by itself: one that fails (UnreachableError) says nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import requests
import yaml

from stacks import UnreachableError, certificate, dns_zone, firewall, low_ports, monitoring_config
from stacks.edge import live_config
from stacks.edge_config import edge_config, is_signed_outside
from stacks.fingerprint import Difference
from stacks.host_files import is_current
from stacks.observed import DockerReality
from stacks.platform import PARTS, config_files, firewall_inputs, zone_inputs
from state_repo.documents import Platform
from state_repo.instance import Instance


def container_differences(instance: Instance, platform: Platform,
                          reality: DockerReality) -> Iterator[Difference]:
    for part in PARTS:
        if part == "dns" and platform.dns.provider != "powerdns":
            continue
        name = instance.platform_container(part)
        seen = reality.containers.get(name)
        if seen is None:
            yield "container", name, "it is gone"
        elif not seen.running:
            yield "container", name, "it does not run"
    for files in config_files(instance, platform).values():
        for path, content in files.items():
            if not is_current(instance, {"path": path, "content": content}):
                yield "file", path, "it was changed or removed"


def dns_differences(instance: Instance, platform: Platform) -> Iterator[Difference]:
    inputs = zone_inputs(instance, platform)
    real = dns_zone.read_records(instance, inputs)
    if real is None:
        yield "zone", instance.domain, "it is gone"
        return
    wanted = {(r["name"], r["type"]): r for r in inputs["records"]}
    found = {(r["name"], r["type"]): r for r in real}
    for key in sorted(wanted.keys() | found.keys()):
        name = f"{key[0]}.{instance.domain}"
        if key not in found:
            yield "record", name, "it is gone"
        elif key not in wanted:
            yield "record", name, f"it is not ours ({key[1]} {found[key]['values']})"
        elif wanted[key] != found[key]:
            yield "record", name, f"it answers {found[key]['values']} with ttl {found[key]['ttl']}"


def port_differences(instance: Instance, platform: Platform) -> Iterator[Difference]:
    """Whether the host still lets the platform's parts listen where they should: after a reboot it
    does not."""
    wanted = low_ports.lowest(instance, platform)
    if wanted is not None and low_ports.LowPorts().read("", {"lowest": wanted}) != {
            "lowest": wanted}:
        yield "host", "net.ipv4.ip_unprivileged_port_start", f"it is above {wanted}"


def edge_differences(instance: Instance, platform: Platform) -> Iterator[Difference]:
    if is_signed_outside(instance, platform.tls) and certificate.current(instance) is None:
        yield "file", "the edge's certificate", "it was changed or removed"
    yield from port_differences(instance, platform)
    wanted, real = edge_config(instance, platform.tls), live_config(instance)
    if real != wanted:
        for path in list(paths_between(wanted, real))[:3]:
            yield "edge", path, "it is not as it was set"


def firewall_differences(instance: Instance) -> Iterator[Difference]:
    inputs = firewall_inputs(instance)
    firewall.check_docker_uses_iptables()
    wanted, real = firewall.expected(inputs), firewall.observed(inputs)
    for tool, rules in wanted.items():
        if real[tool] != rules:
            lost = [rule for rule in rules if rule not in real[tool]]
            yield "firewall", tool, f"{len(lost)} of {len(rules)} rules are gone" if lost else (
                "its rules are out of order, or some were added")


def monitoring_differences(instance: Instance) -> Iterator[Difference]:
    """The scrape jobs of the Prometheus that runs, against those it should have."""
    url = f"http://127.0.0.1:{instance.ports['prometheus']}/api/v1/status/config"
    try:
        answer = requests.get(url, timeout=5)
        answer.raise_for_status()
        running = yaml.safe_load(answer.json()["data"]["yaml"])
    except (requests.RequestException, ValueError, KeyError) as error:
        raise UnreachableError("Prometheus does not answer") from error
    names = {job["job_name"] for job in running.get("scrape_configs") or ()}
    for job in sorted(monitoring_config.jobs(instance) - names):
        yield "scrape", job, "Prometheus does not scrape it any more"


def proxy_differences(instance: Instance) -> Iterator[Difference]:
    """Nothing can differ; but a proxy whose books can't be written makes no calls, and says so.

    Raises:
        UnreachableError: it does not answer, or makes no calls; says why.
    """
    url = f"http://127.0.0.1:{instance.ports['model_proxy']}/healthz"
    try:
        answer = requests.get(url, timeout=5)
    except requests.RequestException as error:
        raise UnreachableError("the model proxy does not answer") from error
    if answer.status_code != 200:
        try:
            reason = str(answer.json()["reason"])
        except (ValueError, KeyError, TypeError):
            reason = f"it answers {answer.status_code}"
        raise UnreachableError(f"it makes no calls: {reason}")
    yield from ()


def paths_between(wanted: object, real: object, at: str = "") -> Iterator[str]:
    """The paths at which two JSON values differ."""
    if isinstance(wanted, dict) and isinstance(real, dict):
        for key in sorted(wanted.keys() | real.keys()):
            yield from paths_between(wanted.get(key), real.get(key), f"{at}.{key}".lstrip("."))
    elif isinstance(wanted, list) and isinstance(real, list) and len(wanted) == len(real):
        for index, (one, other) in enumerate(zip(wanted, real, strict=True)):
            yield from paths_between(one, other, f"{at}[{index}]")
    elif wanted != real:
        yield at or "all of it"
