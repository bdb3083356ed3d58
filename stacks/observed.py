"""What Docker shows of an instance, in three calls, without the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stacks.providers.docker_api import NotFound, client, speaking
from state_repo.instance import (
    LABEL_CUSTOMER,
    LABEL_EMPLOYEE,
    LABEL_INSTANCE,
    LABEL_PLATFORM,
    LABEL_SPEC,
)


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """One line of Docker's list. `health`: healthy, unhealthy, starting or none."""

    id: str
    name: str
    customer: str | None
    employee: str | None
    part: str | None
    spec: str
    image: str
    running: bool
    address: str | None
    networks: frozenset[str]
    health: str
    paused: bool = False  # then it is not running either


@dataclass(frozen=True, slots=True)
class DockerReality:
    """Everything that carries the instance's label, by name."""

    containers: Mapping[str, ContainerSeen]
    networks: frozenset[str]
    volumes: frozenset[str]


def observe_docker(instance: str) -> DockerReality:
    """Raises UnreachableError when Docker does not answer."""
    label = {"label": f"{LABEL_INSTANCE}={instance}"}
    with speaking():
        containers = client().containers(all=True, filters=label)
        networks = client().networks(filters=label)
        volumes = client().volumes(filters=label)["Volumes"] or []
    seen = map(_seen, containers)
    return DockerReality({c.name: c for c in seen}, frozenset(n["Name"] for n in networks),
                         frozenset(v["Name"] for v in volumes))


def observe_customer(instance: str, customer: str) -> list[ContainerSeen]:
    """The containers of one customer."""
    with speaking():
        return [_seen(c) for c in client().containers(all=True, filters={
            "label": [f"{LABEL_INSTANCE}={instance}", f"{LABEL_CUSTOMER}={customer}"]})]


def volumes_of(instance: str) -> list[tuple[str, str, str | None]]:
    """By name: each volume of the instance, its customer and its employee (None: the company's
    knowledge). UnreachableError."""
    with speaking():
        found = client().volumes(filters={"label": f"{LABEL_INSTANCE}={instance}"})["Volumes"] or []
    return sorted((v["Name"], v["Labels"][LABEL_CUSTOMER], v["Labels"].get(LABEL_EMPLOYEE))
                  for v in found if LABEL_CUSTOMER in (v["Labels"] or {}))


def limits(container: str) -> dict[str, float]:
    """A container's limits by the documents' names: cpus, memory (MiB), pids. UnreachableError;
    none without the container."""
    with speaking():
        try:
            config = client().inspect_container(container)["HostConfig"]
        except NotFound:
            return {}
    return {"cpus": config["NanoCpus"] / 1e9, "memory": config["Memory"] / (1 << 20),
            "pids": config["PidsLimit"] or 0}


def container_log(name: str, tail: int) -> str | None:
    """The last lines of a container's output, or None without the container."""
    with speaking():
        try:
            return client().logs(name, tail=tail).decode(errors="replace")
        except NotFound:
            return None


def run_inside(name: str, command: list[str]) -> str | None:
    """Runs a command of ours in a container; None when it ended well, else its last words."""
    with speaking():
        made = client().exec_create(name, command)["Id"]
        said = client().exec_start(made).decode(errors="replace")
        return None if client().exec_inspect(made)["ExitCode"] == 0 else said.strip()[-300:]


def _seen(line: dict[str, Any]) -> ContainerSeen:
    labels, status = line["Labels"], line["Status"]
    networks = line["NetworkSettings"]["Networks"] or {}
    health = next((word for word in ("unhealthy", "healthy", "starting") if word in status), "none")
    return ContainerSeen(
        id=line["Id"], name=line["Names"][0].lstrip("/"), customer=labels.get(LABEL_CUSTOMER),
        employee=labels.get(LABEL_EMPLOYEE), part=labels.get(LABEL_PLATFORM),
        spec=labels.get(LABEL_SPEC, ""), image=line["ImageID"], running=line["State"] == "running",
        address=next((n["IPAddress"] for n in networks.values() if n.get("IPAddress")), None),
        networks=frozenset(networks), health=health, paused=line["State"] == "paused")
