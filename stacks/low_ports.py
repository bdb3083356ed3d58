"""Ports below 1024 for parts that are no root: the edge's 443, the DNS's 53.

Their containers share the host's network, and are users of their own with no capability at all (one
that Docker adds would not reach a process that is not root). So the host itself is told from which
port on anybody may listen: see ip_unprivileged_port_start in the kernel's ip-sysctl.
"""

from __future__ import annotations

from pathlib import Path

from stacks import StackError
from stacks.providers.servicer import Inputs, Kind
from state_repo.documents import Platform
from state_repo.instance import Instance

SETTING = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_PRIVILEGED = 1024


def lowest(instance: Instance, platform: Platform) -> int | None:
    """The lowest port that a part of the platform listens on, if only root may without this."""
    listening = [instance.ports["edge"], *(int(where.rpartition(":")[2])
                                           for where in platform.dns.listen)]
    return min((port for port in listening if port < _PRIVILEGED), default=None)


class LowPorts(Kind):
    """`lowest`: from this port on anybody may listen. It is never raised: others may need it."""

    token = "instantworker:host:LowPorts"
    properties = frozenset({"lowest"})
    in_place = frozenset({"lowest"})

    def __init__(self, setting: Path = SETTING) -> None:
        self._setting = setting

    def create(self, inputs: Inputs) -> str:
        if self._found() > int(inputs["lowest"]):
            try:
                self._setting.write_text(str(int(inputs["lowest"])))
            except OSError as error:
                raise StackError(
                    f"nobody but root may listen below port {self._found()} of this host ({error});"
                    " as root: sysctl -w net.ipv4.ip_unprivileged_port_start="
                    f"{int(inputs['lowest'])}") from error
        return "low-ports"

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        found = self._found()
        return inputs if found <= int(inputs["lowest"]) else {"lowest": float(found)}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        """Left as it is: somebody else may rely on it by now."""

    def _found(self) -> int:
        try:
            return int(self._setting.read_text())
        except (OSError, ValueError) as error:
            raise StackError(f"{self._setting} can't be read ({error})") from error
