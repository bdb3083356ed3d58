"""The providers of both packages, in this process, for every engine that runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial

from stacks import StackError, edge, firewall
from stacks.certificate import CertificateFiles
from stacks.dns_zone import Zone
from stacks.employee_files import EmployeeFiles
from stacks.finishing import MOST_S, stop_gateway, wait_for_quiet
from stacks.host_files import ConfigFile, Folder
from stacks.low_ports import LowPorts
from stacks.model_keys import ModelKey
from stacks.platform import firewall_inputs
from stacks.providers.docker_container import Container
from stacks.providers.docker_network import Network
from stacks.providers.docker_volume import Volume
from stacks.providers.handover import Handover
from stacks.providers.servicer import Provider, ProviderServer
from stacks.volumes import Volumes
from state_repo.instance import Instance

log = logging.getLogger(__name__)


def serve(instance: Instance, volumes: Volumes, may_remove_volume: Callable[[str], bool],
          asleep: Callable[[], Collection[str]],
          tell: Callable[[str, str, str], None] = lambda *_: None,
          ignored: Callable[[str, str], Collection[str]] = lambda *_: ()) -> ProviderServer:
    """Listens on loopback; `.environment` is the engine's PULUMI_DEBUG_PROVIDERS. `asleep`: the
    employees that sleep. `tell(kind, employee, message)`: what should be known of one.
    `ignored(customer, employee)`: limits of its container that may differ."""
    def sleeping() -> frozenset[str]:
        return frozenset(map(instance.container_name, asleep()))

    def make_room(volume: str) -> None:
        try:
            volumes.disks.grow(volume, stopped=True)
        except StackError as error:  # it starts with the room it has
            log.warning("%s has not the room that it may have: %s", volume, error)
    proxy = instance.ports["model_proxy"]

    def finish(employee: str, name: str) -> None:
        stop_gateway(name, proxy, lambda: tell(
            "Finishing", employee, f"{employee} ends what it is at before it is stopped or "
            f"replaced (at most {MOST_S:.0f} s)"))

    def let_end(employee: str, *, is_new: bool = False) -> None:
        wait_for_quiet(instance.container_name(employee), proxy, is_new=is_new)

    def remember(part: str) -> Callable[[], None]:
        return edge.remember(instance) if part == "edge" else lambda: None
    return ProviderServer({
        "docker": Provider("docker", "5.2.0", [
            Container(lambda: firewall.ensure(firewall_inputs(instance)), sleeping, make_room,
                      ignored, finish, Handover(remember)),
            Network(),
            Volume(volumes, may_remove_volume, instance.backups_path)]),
        "instantworker": Provider("instantworker", "1.0.0", [
            Zone(instance), edge.EdgeConfig(instance), CertificateFiles(instance),
            firewall.Firewall(), Folder(instance), LowPorts(), ConfigFile(instance),
            EmployeeFiles(instance, partial(tell, "InTheWay"), let_end),
            ModelKey(instance, partial(let_end, is_new=True))]),
    })
