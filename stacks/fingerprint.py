"""What Docker must show for one customer, and how reality differs from it.

Computed from the documents that were applied, as the program is, so that nothing has to be
remembered between two runs of the process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from stacks.customer import limits_of, runs
from stacks.model_keys import grant, is_registered
from stacks.observed import ContainerSeen, DockerReality
from state_repo.documents import Employee
from state_repo.instance import Instance
from state_repo.snapshot import CustomerState

Difference = tuple[str, str, str]  # kind, name, problem


def customer_differences(instance: Instance, state: CustomerState, reality: DockerReality,
                         kept: Collection[str] = (), expired: Collection[str] = (),
                         asleep: Collection[str] = (), lost: Collection[str] = ()
                         ) -> Iterator[Difference]:
    """Every difference as (kind, name, problem in plain words). Who is `asleep` need not run; of
    who is `lost` nothing is there to be compared."""
    customer = state.customer
    if customer is None:
        return
    network = instance.network_name(customer.id)
    if network not in reality.networks:
        yield "network", network, "it is gone"
    there = [e for e in (*kept, *state.employees) if e not in expired and e not in lost]
    volumes = [instance.knowledge_volume(customer.id), *map(instance.employee_volume, there)]
    for volume in volumes:
        if volume not in reality.volumes:
            yield "volume", volume, "it is gone"
    for employee in state.employees.values():
        if employee.id in lost:
            continue
        if employee.state != "retired" and employee.id not in expired and not is_registered(
                instance, grant(customer, employee)):
            yield "key", employee.id, "the model proxy does not know it, or knows something else"
        name = instance.container_name(employee.id)
        seen = reality.containers.get(name)
        if employee.state == "retired":
            if seen is not None:
                yield "container", name, "it is still there, and its employee is retired"
        elif seen is None:
            yield "container", name, "it is gone"
        elif seen.running or employee.id not in asleep:
            yield from _container(name, seen, runs(employee, customer), frozenset({network}))
    for vanished in kept:
        name = instance.container_name(vanished)
        if name in reality.containers:
            yield "container", name, "it is still there, and its document vanished"


def limit_differences(employee: Employee, container: str, real: Mapping[str, float],
                      ignored: Collection[str] = ()) -> Iterator[Difference]:
    """Which of its limits are not what the document says. `real`: see `observed.limits`."""
    size = limits_of(employee)
    wanted = {"cpus": size.cpus, "memory": size.memory_mb, "pids": size.pids}
    for field, value in real.items():
        if value != wanted[field] and field not in ignored:
            yield "container", container, f"its {field} is {value:g}, and should be " \
                                          f"{wanted[field]:g}"


def _container(name: str, seen: ContainerSeen, wanted_running: bool,
               networks: frozenset[str]) -> Iterator[Difference]:
    if seen.running != wanted_running:
        yield "container", name, ("it does not run" if wanted_running else
                                  "it runs, and should be stopped")
    if seen.networks != networks and seen.running:
        yield "container", name, (f"it is in {', '.join(sorted(seen.networks)) or 'no network'}, "
                                  f"not in {', '.join(networks)}")
