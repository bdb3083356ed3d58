"""Compressed swap: made on the real kernel, and taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import swap
from tools.steps import StepError


@pytest.mark.parametrize("size", ["", "12", "0G", "12T", "-1G", "12G; true"])
def test_a_size_that_is_none_is_named(size):
    with pytest.raises(StepError, match="is no size"):
        swap.make(size)


def test_a_kernel_without_it_is_told(monkeypatch):
    monkeypatch.setattr(swap, "is_possible", lambda: False)
    with pytest.raises(StepError, match="no compressed swap") as refused:
        swap.make("12G")
    assert "leave IW_ZRAM out" in refused.value.next_try


@pytest.mark.parts
def test_it_is_there_until_it_is_taken_away():
    if not swap.is_possible():
        pytest.skip("this kernel has no zram")
    device = swap.make("64M")
    try:
        assert device in Path("/proc/swaps").read_text() and swap.exists()
    finally:
        swap.remove(device)
    assert device not in Path("/proc/swaps").read_text()
    assert not Path("/sys/block", device.removeprefix("/dev/")).exists()
