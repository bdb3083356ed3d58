"""The host's rules for containers, as iptables prints them, so that reading is comparing.

Docker separates bridges from each other, not from the host: whatever listens on 0.0.0.0 there is
open to every container, and DOCKER-USER never sees that traffic. So chains of ours: one in
INPUT (the host), one in DOCKER-USER (what is forwarded), and one that keeps the rest of the world
away from the model proxy's port. An employee starts only behind them (`ensure`).
"""

from __future__ import annotations

import re
import subprocess
import threading
from typing import Any

from stacks import StackError, UnreachableError
from stacks.providers.servicer import Inputs, Kind
from state_repo.instance import FIREWALL_CHAINS

_CLOSED = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
           "127.0.0.0/8", "224.0.0.0/4")
_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED"
_applying = threading.Lock()


def expected(inputs: Inputs) -> dict[str, list[str]]:
    """The rules by program: `iptables` and `ip6tables`."""
    host, forward, proxy = chains(inputs)
    port = f"-p tcp -m tcp --dport {int(inputs['proxyPort'])}"
    bridges = f"{inputs['bridges']}+"
    jumps = [f"-A INPUT -i {bridges} -j {host}", f"-A INPUT {port} -j {proxy}",
             f"-A DOCKER-USER -i {bridges} -j {forward}"]
    return {
        "iptables": [
            *jumps,
            f"-A {host} {_ANSWERS} -j ACCEPT",
            f"-A {host} {port} -j ACCEPT",
            f"-A {host} -j DROP",
            f"-A {forward} {_ANSWERS} -j RETURN",
            *(f"-A {forward} -d {closed} -j DROP" for closed in _CLOSED),
            f"-A {forward} -j RETURN",
            # The model proxy listens on every address, since bridges come and go.
            f"-A {proxy} -i lo -j RETURN",
            f"-A {proxy} -i {bridges} -j RETURN",
            f"-A {proxy} -j DROP",
        ],
        "ip6tables": [jumps[0], f"-A {host} -j DROP"],
    }


def chains(inputs: Inputs) -> tuple[str, str, str]:
    return tuple(f"{inputs['chain']}-{name}" for name in FIREWALL_CHAINS)  # type: ignore[return-value]


def observed(inputs: Inputs) -> dict[str, list[str]]:
    """Our rules as they are, in order. Raises UnreachableError without iptables."""
    names = {*chains(inputs), f"{inputs['bridges']}+"}
    real = {}
    for tool in ("iptables", "ip6tables"):
        lines = [line for line in _run([f"{tool}-save", "-t", "filter"]).splitlines()
                 if line.startswith("-A ") and names & set(line.split())]
        real[tool] = [line for chain in ("INPUT", "DOCKER-USER", *chains(inputs))
                      for line in lines if line.startswith(f"-A {chain} ")]
    return real


def ensure(inputs: Inputs) -> None:
    """Puts the rules in force if they are not.

    Raises:
        StackError: they can't be; nobody may start without them.
    """
    with _applying:
        check_docker_uses_iptables()
        if observed(inputs) != expected(inputs):
            for tool, rules in expected(inputs).items():
                _apply(tool, chains(inputs), rules)


def check_docker_uses_iptables() -> None:
    """Our rules for what is forwarded hang in a chain that Docker asks; a Docker that asks
    another firewall (nftables, firewalld's own, `"iptables": false`) would pass them by.

    Raises:
        StackError: Docker does not ask DOCKER-USER.
    """
    saved = _run(["iptables-save", "-t", "filter"])
    if not re.search(r"^-A FORWARD (.* )?-j DOCKER-USER$", saved, re.M):
        raise StackError(
            "Docker does not use the iptables chain DOCKER-USER on this machine, so that nothing "
            "would keep employees from private networks; have it use iptables "
            '(no "iptables": false, no "firewall-backend" other than iptables in '
            "/etc/docker/daemon.json) and restart Docker")


class Firewall(Kind):
    token = "instantworker:host:Firewall"
    properties = frozenset({"bridges", "chain", "proxyPort", "rules"})
    in_place = frozenset({"proxyPort", "rules"})

    def create(self, inputs: Inputs) -> str:
        ensure(inputs)
        return inputs["chain"]

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        real = observed(inputs)
        return inputs if real == expected(inputs) else inputs | {"rules": real}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        for tool in ("iptables", "ip6tables"):
            _apply(tool, chains(inputs), [])
            for chain in chains(inputs):
                _run([tool, "-w", "-X", chain], check=False)


def _apply(tool: str, names: tuple[str, ...], rules: list[str]) -> None:
    """Puts our chains in place in one step, then the jumps to them, first in their chain."""
    inner = [rule for rule in rules if rule.startswith(tuple(f"-A {name} " for name in names))]
    text = "\n".join(["*filter", *(f":{name} - [0:0]" for name in names), *inner, "COMMIT", ""])
    _run([f"{tool}-restore", "-w", "--noflush"], text)
    for line in _run([f"{tool}-save", "-t", "filter"]).splitlines():
        if line.startswith(("-A INPUT ", "-A DOCKER-USER ")) and line.endswith(
                tuple(f"-j {name}" for name in names)):
            _run([tool, "-w", "-D", *line.split()[1:]])
    for rule in reversed(rules):  # each goes to the top, so that they end in order
        if rule not in inner:
            chain, *match = rule.split()[1:]
            _run([tool, "-w", "-N", chain], check=False)
            _run([tool, "-w", "-I", chain, "1", *match])


def _run(command: list[str], text: str | None = None, check: bool = True) -> str:
    try:
        done: Any = subprocess.run(command, input=text, capture_output=True, text=True, check=False,
                                   timeout=30)
    except FileNotFoundError as error:
        raise UnreachableError(f"{command[0]} is not installed; `make run` installs iptables"
                               ) from error
    if check and done.returncode != 0:
        raise StackError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
