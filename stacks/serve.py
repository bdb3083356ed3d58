"""The providers of both packages, in this process, for every engine that runs."""

from __future__ import annotations

from collections.abc import Callable

from stacks.dns_zone import Zone
from stacks.edge import EdgeConfig
from stacks.employee_files import EmployeeFiles
from stacks.firewall import Firewall
from stacks.host_files import ConfigFile, Folder
from stacks.model_keys import ModelKey
from stacks.providers.docker_container import Container
from stacks.providers.docker_network import Network
from stacks.providers.docker_volume import Volume
from stacks.providers.servicer import Provider, ProviderServer
from state_repo.instance import Instance


def serve(instance: Instance, may_remove_volume: Callable[[str], bool]) -> ProviderServer:
    """Listens on loopback; `.environment` is the engine's PULUMI_DEBUG_PROVIDERS."""
    return ProviderServer({
        "docker": Provider("docker", "5.2.0", [
            Container(), Network(), Volume(may_remove_volume, instance.backups_path)]),
        "instantworker": Provider("instantworker", "1.0.0", [
            Zone(instance), EdgeConfig(instance), Firewall(), Folder(instance),
            ConfigFile(instance), EmployeeFiles(instance), ModelKey(instance)]),
    })
