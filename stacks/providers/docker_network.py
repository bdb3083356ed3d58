"""docker:index/network:Network over Docker's API. A network can't be changed, only replaced."""

from __future__ import annotations

from typing import Any

from stacks import StackError
from stacks.providers.docker_api import APIError, NotFound, client, is_ours, labels_of, speaking
from stacks.providers.servicer import Inputs, Kind


def _subnets(network: dict[str, Any]) -> list[str]:
    return [c["Subnet"] for c in (network.get("IPAM") or {}).get("Config") or ()]


class Network(Kind):
    token = "docker:index/network:Network"
    properties = frozenset({"name", "driver", "options", "ipamConfigs", "internal", "labels"})

    def create(self, inputs: Inputs) -> str:
        name = inputs["name"]
        with speaking():
            for network in client().networks(names=[name]):
                if network["Name"] != name:  # Docker's filter matches parts of names
                    continue
                if not is_ours(network["Labels"], labels_of(inputs)):
                    raise StackError(f"a network {name} exists that this instance did not make "
                                     "for this customer; remove it (docker network rm)")
                if self._differs(network, inputs) is None:
                    return network["Id"]
                self._remove(network["Id"])
            try:
                return client().create_network(
                    name, driver=inputs.get("driver", "bridge"), options=inputs.get("options"),
                    ipam={"Driver": "default", "Config": [
                        {"Subnet": c["subnet"]} for c in inputs.get("ipamConfigs") or ()]},
                    internal=bool(inputs.get("internal")), labels=labels_of(inputs),
                    check_duplicate=True)["Id"]
            except APIError as error:
                if "overlap" in str(error.explanation):
                    raise StackError(
                        f"subnet {[c['subnet'] for c in inputs.get('ipamConfigs') or ()]} of "
                        f"{name} is used by another network on this host; give the customer "
                        "another one (spec.network.subnet)") from error
                raise

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        with speaking():
            try:
                real = client().inspect_network(id)
            except NotFound:
                return None
        different = self._differs(real, inputs)
        return inputs if different is None else inputs | {different[0]: different[1]}

    def delete(self, id: str, inputs: Inputs) -> None:
        with speaking():
            self._remove(id)

    def _differs(self, real: dict[str, Any], inputs: Inputs) -> tuple[str, Any] | None:
        if _subnets(real) != [c["subnet"] for c in inputs.get("ipamConfigs") or ()]:
            return "ipamConfigs", [{"subnet": s} for s in _subnets(real)]
        if any(real["Options"].get(k) != v for k, v in (inputs.get("options") or {}).items()):
            return "options", real["Options"]
        return None

    def _remove(self, id: str) -> None:
        try:
            for container in client().inspect_network(id)["Containers"]:
                client().disconnect_container_from_network(container, id, force=True)
            client().remove_network(id)
        except NotFound:
            return
