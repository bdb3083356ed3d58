"""Ports for tests and instances: free, different, and of one's own share."""

from __future__ import annotations

import socket

from tests import conftest
from tools.ports import free_ports


def test_shares_never_meet():
    shares = [set(free_ports("abcdefgh", share=(which, 4)).values()) for which in range(4)]
    assert all(len(share) == 8 for share in shares) and len(set().union(*shares)) == 32
    assert all(len({port % 4 for port in share}) == 1 for share in shares)


def test_what_is_listened_on_is_not_given():
    with socket.socket() as taken:
        port = free_ports("a")["a"]
        taken.bind(("127.0.0.1", port))
        assert free_ports("a", {"a": port})["a"] != port


def test_this_process_has_a_share_of_its_own():
    which, of, _ = conftest._share()
    assert {port % of for port in conftest.free_ports().values()} == {(10_240 + which) % of}
