"""Who is no root may listen on a low port once the host is told so, and never on more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stacks import StackError
from stacks.low_ports import LowPorts, lowest
from state_repo.documents import Dns, Platform
from state_repo.instance import Instance
from tests.conftest import free_ports

PLATFORM = Platform(images={})


@pytest.mark.parametrize("edge, listen, wanted", [
    (8080, (), None), (443, (), 443), (8443, ("203.0.113.7:53",), 53),
    (443, ("203.0.113.7:5353", "[2001:db8::7]:53"), 53)])
def test_only_what_needs_it_asks_for_it(tmp_path, edge, listen, wanted):
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports() | {"edge": edge})
    assert lowest(instance, replace(PLATFORM, dns=Dns(listen=listen))) == wanted


def test_it_is_lowered_when_it_must_be_and_never_raised(tmp_path: Path):
    setting = tmp_path / "start"
    setting.write_text("1024\n")
    kind = LowPorts(setting)
    assert kind.read("", {"lowest": 443.0}) == {"lowest": 1024.0}, "which is drift"
    kind.create({"lowest": 443.0})
    assert setting.read_text() == "443" and kind.read("", {"lowest": 443.0}) == {"lowest": 443.0}
    kind.create({"lowest": 600.0})
    assert setting.read_text() == "443" and kind.read("", {"lowest": 600.0}) == {"lowest": 600.0}
    kind.delete("", {"lowest": 443.0})
    assert setting.read_text() == "443"


def test_a_host_that_lets_us_not_is_told_what_to_do(tmp_path: Path, monkeypatch):
    setting = tmp_path / "start"
    setting.write_text("1024")

    def refuses(*_: object) -> None:
        raise PermissionError("read-only file system")
    monkeypatch.setattr(Path, "write_text", refuses)
    with pytest.raises(StackError, match=r"sysctl -w net.ipv4.ip_unprivileged_port_start=443"):
        LowPorts(setting).create({"lowest": 443.0})
