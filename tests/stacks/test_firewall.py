"""The host's rules by value: an iptables in memory that prints what it was told."""

from __future__ import annotations

import pytest

from stacks import StackError, firewall
from state_repo.instance import Instance

INPUTS = {"bridges": "iw-", "chain": "IW", "proxyPort": 4000}
DOCKER = ["-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-ISOLATION-STAGE-1"]


class Iptables:
    """Of each tool the rules by chain, in order."""

    def __init__(self) -> None:
        self.rules: dict[str, list[str]] = {"iptables": list(DOCKER), "ip6tables": []}
        self.refuses = ""

    def run(self, command: list[str], text: str | None = None, check: bool = True) -> str:
        tool, _, verb = command[0].partition("-")
        rules = self.rules[tool]
        if self.refuses and verb != "save":
            raise StackError(self.refuses)
        if verb == "save":
            return "\n".join(rules)
        if verb == "restore":
            assert text is not None
            fresh = {line[1:].split()[0] for line in text.splitlines() if line.startswith(":")}
            rules[:] = [r for r in rules if r.split()[1] not in fresh]
            rules += [line for line in text.splitlines() if line.startswith("-A ")]
        elif "-D" in command:
            rules.remove("-A " + " ".join(command[3:]))
        elif "-I" in command:
            chain, match = command[3], command[5:]
            at = next((n for n, r in enumerate(rules) if r.split()[1] == chain), len(rules))
            rules.insert(at, f"-A {chain} {' '.join(match)}")
        return ""


@pytest.fixture
def iptables(monkeypatch):
    made = Iptables()
    monkeypatch.setattr(firewall, "_run", made.run)
    return made


def test_the_rules_are_put_in_force_once_and_found_so(iptables):
    firewall.ensure(INPUTS)
    assert firewall.observed(INPUTS) == firewall.expected(INPUTS)
    before = {tool: list(rules) for tool, rules in iptables.rules.items()}
    firewall.ensure(INPUTS)
    assert iptables.rules == before


@pytest.mark.parametrize("harm", [
    lambda rules: rules.remove("-A IW-HOST -j DROP"),
    lambda rules: rules.remove("-A INPUT -i iw-+ -j IW-HOST"),
    lambda rules: rules.insert(0, "-A INPUT -i iw-+ -j ACCEPT"),
    lambda rules: rules.clear() or rules.extend(DOCKER),
])
def test_whatever_was_done_to_them_is_undone_before_somebody_starts(iptables, harm):
    firewall.ensure(INPUTS)
    harm(iptables.rules["iptables"])
    assert firewall.observed(INPUTS) != firewall.expected(INPUTS)
    if "-A INPUT -i iw-+ -j ACCEPT" in iptables.rules["iptables"]:
        return  # it is reported as drift; what others put there is not removed in silence
    firewall.ensure(INPUTS)
    assert firewall.observed(INPUTS) == firewall.expected(INPUTS)


def test_nobody_starts_where_the_rules_can_not_be_put(iptables):
    iptables.refuses = "iptables: Permission denied (you must be root)"
    with pytest.raises(StackError, match="Permission denied"):
        firewall.ensure(INPUTS)


def test_a_docker_that_asks_another_firewall_is_refused(iptables):
    iptables.rules["iptables"] = ["-A FORWARD -j SOMETHING"]
    with pytest.raises(StackError, match="does not use the iptables chain DOCKER-USER"):
        firewall.ensure(INPUTS)


def test_instances_with_alike_names_do_not_see_each_others_rules(iptables):
    other = {"bridges": "w-", "chain": "W", "proxyPort": 4001}
    firewall.ensure(INPUTS)
    firewall.ensure(other)
    assert firewall.observed(INPUTS) == firewall.expected(INPUTS)
    assert firewall.observed(other) == firewall.expected(other)


def test_prefixes_that_share_five_letters_share_no_bridges(tmp_path):
    bridges = {Instance(id="0badcafe", data=tmp_path, prefix=p).bridge_prefix
               for p in ("iw", "iw2", "prodab", "prodabc", "proda", "prodaxyz")}
    assert len(bridges) == 6 and all(len(b) <= 6 for b in bridges)
    assert not any(a != b and a.startswith(b) for a in bridges for b in bridges)
