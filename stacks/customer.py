"""The customer's stack: its network, its knowledge, and its hardened employees."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import pulumi
import pulumi_docker as docker

from stacks.container import Container, label_args
from stacks.identity import identity
from stacks.model_keys import grant
from stacks.providers.docker_container import seccomp_digest
from stacks.resources import EmployeeFiles, ModelKey
from state_repo.documents import Customer, Employee, OfferedModel, Platform, Resources
from state_repo.instance import (
    LABEL_CUSTOMER,
    LABEL_EMPLOYEE,
    LABEL_INSTANCE,
    LABEL_SECCOMP,
    Instance,
)
from state_repo.snapshot import CustomerState

CHAT_PORT, BROWSER_PORT = 18789, 6080
USER = "10001:10001"
BLANK_CPUS = 0.5


def labels(instance: Instance, customer: str, employee: str | None = None) -> dict[str, str]:
    own = {LABEL_INSTANCE: instance.id, LABEL_CUSTOMER: customer}
    return own | ({LABEL_EMPLOYEE: employee} if employee else {})


def runs(employee: Employee, customer: Customer) -> bool:
    return employee.state in ("running", "warm") and not customer.suspended


def program(instance: Instance, platform: Platform, state: CustomerState,
            kept: Collection[str] = (), expired: Collection[str] = (),
            lost: Collection[str] = ()) -> Callable[[], None]:
    """The Pulumi program of one customer.

    `kept`: employees whose document vanished: no container, their volume stays. `expired`:
    retired employees whose grace is over: their volume goes too. `lost`: employees whose volume
    is gone: nothing is made for them until a person decides.
    """
    customer = state.customer
    assert customer is not None  # a state with violations is never planned

    def define() -> None:
        network = docker.Network(
            "network", name=instance.network_name(customer.id), driver="bridge",
            options={"com.docker.network.bridge.name": instance.bridge_name(customer.id),
                     "com.docker.network.bridge.enable_icc": "false"},
            ipam_configs=[docker.NetworkIpamConfigArgs(subnet=customer.subnet)],
            labels=[docker.NetworkLabelArgs(label=k, value=v)
                    for k, v in sorted(labels(instance, customer.id).items())])
        knowledge = _volume(instance, "knowledge", instance.knowledge_volume(customer.id),
                            customer.id)
        for gone in sorted(set(kept) - set(lost)):
            _volume(instance, f"volume-{gone}", instance.employee_volume(gone), customer.id, gone)
        for employee in state.employees.values():
            if employee.id in expired or employee.id in lost:
                continue
            volume = _volume(instance, f"volume-{employee.id}",
                             instance.employee_volume(employee.id), customer.id, employee.id)
            if employee.state != "retired":
                files = _files(instance, platform, state, employee, volume)
                # Who is to stop stops, whatever is the matter with its files.
                needs = [files] if runs(employee, customer) else [volume]
                _employee(instance, customer, employee, [network, knowledge, *needs])
    return define


def _volume(instance: Instance, logical: str, name: str, customer: str,
            employee: str | None = None) -> docker.Volume:
    return docker.Volume(logical, name=name, labels=[
        docker.VolumeLabelArgs(label=k, value=v)
        for k, v in sorted(labels(instance, customer, employee).items())])


def _files(instance: Instance, platform: Platform, state: CustomerState, employee: Employee,
           volume: docker.Volume) -> EmployeeFiles:
    """The employee's key, and its identity in its volume."""
    customer = state.customer
    assert customer is not None
    key = ModelKey(f"key-{employee.id}", **grant(customer, employee))
    # A model that is no longer offered: the policy says so, to whoever changes the document next.
    model = platform.models.get(employee.model.name, OfferedModel())
    who = identity(instance, customer, employee, state.lessons, model, platform.skills)
    return EmployeeFiles(
        f"files-{employee.id}", depends_on=[volume, key], employee=employee.id,
        volume=instance.employee_volume(employee.id), config=who.config,
        managed=dict(who.managed), replaced=dict(who.replaced), once=dict(who.once),
        skills=dict(who.skills), generation=employee.restarts)


def limits_of(employee: Employee) -> Resources:
    """What its container has: a blank boots at leisure, for the processors are for who is at
    work."""
    size = employee.resources
    return replace(size, cpus=min(size.cpus, BLANK_CPUS)) if employee.state == "warm" else size


def _employee(instance: Instance, customer: Customer, employee: Employee,
              depends_on: list[pulumi.Resource]) -> None:
    """One hardened container. `policies.resources` refuses a plan that lacks a line of this."""
    size = limits_of(employee)
    Container(
        f"employee-{employee.id}",
        depends_on=depends_on,
        name=instance.container_name(employee.id),
        hostname=employee.id,
        image=employee.image,
        user=USER,
        init=True,
        read_only=True,
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true", "seccomp=employee"],
        memory=size.memory_mb,
        memory_swap=size.memory_mb,
        cpus=f"{size.cpus:g}",
        pids_limit=size.pids,
        ulimits=[docker.ContainerUlimitArgs(name="nofile", soft=4096, hard=4096)],
        restart="on-failure",
        max_retry_count=5,
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(
            name=instance.network_name(customer.id))],
        mounts=[
            docker.ContainerMountArgs(type="volume", target="/data",
                                      source=instance.employee_volume(employee.id)),
            docker.ContainerMountArgs(type="volume", target="/shared", read_only=True,
                                      source=instance.knowledge_volume(customer.id)),
        ],
        tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=256m,mode=1777"},
        shm_size=256,
        labels=label_args(labels(instance, customer.id, employee.id)
                          | {LABEL_SECCOMP: seccomp_digest("employee")}),
        # Who the employee is stands in its files, which can change under a running container.
        envs=[f"IW_EMPLOYEE_ID={employee.id}", f"IW_RESTARTS={employee.restarts}"],
        # Docker's own check is a backstop; the reconciler asks the health endpoint itself.
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", "/opt/employee/healthcheck"], interval="15s", timeout="4s",
            start_period="60s", retries=3),
        log_driver="json-file",
        log_opts={"max-size": "5m", "max-file": "2"},
        must_run=runs(employee, customer),
        stop_timeout=5,
    )
