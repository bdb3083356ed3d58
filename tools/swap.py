"""Compressed swap (zram) for this machine: what employees that sleep lie in. `IW_ZRAM=12G make run`
makes it, `make down` takes it away again; after a reboot the next `make run` makes it anew."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.steps import StepError

_CONTROL = Path("/sys/class/zram-control")
_SIZE = re.compile(r"([1-9]\d{0,4})([MG])")
_PATH = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}


def exists() -> bool:
    """Whether this machine has swap of any kind."""
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


def is_possible() -> bool:
    return (_CONTROL / "hot_add").exists() or subprocess.run(
        ["modprobe", "zram"], env=_PATH, capture_output=True, check=False).returncode == 0


def make(size: str) -> str:
    """A device of that size (12G, 512M), in use, before other swap; returns its path.

    Raises:
        StepError: the size can't be read, or this kernel has none; nothing is left.
    """
    if not _SIZE.fullmatch(size):
        raise StepError(f"IW_ZRAM={size} is no size", "write 512M or 12G; half of the machine's "
                        "memory is a good beginning, it is only taken as it is used")
    if not is_possible():
        raise StepError("this kernel has no compressed swap (zram)", "leave IW_ZRAM out, or give "
                        "the machine a swap file; without either, idle employees are stopped")
    number = (_CONTROL / "hot_add").read_text().strip()
    device = f"/dev/zram{number}"
    try:
        (Path("/sys/block") / f"zram{number}" / "comp_algorithm").write_text("lz4")
        (Path("/sys/block") / f"zram{number}" / "disksize").write_text(size)
        _run("mkswap", device)
        _run("swapon", "--priority", "100", device)
    except OSError as error:
        remove(device)
        raise StepError(f"{device} can't be made: {error}", "run this as root") from error
    return device


def this_boot() -> str:
    """Told beside what was made: after a reboot a device of the same name is somebody else's."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def remove(device: str) -> None:
    """Takes it away; what lies in it comes back to memory first."""
    subprocess.run(["swapoff", device], env=_PATH, capture_output=True, check=False)
    number = device.removeprefix("/dev/zram")
    if number.isdecimal() and (_CONTROL / "hot_remove").exists():
        try:
            (_CONTROL / "hot_remove").write_text(number)
        except OSError as error:  # somebody still uses it: it stays, and takes no more
            print(f"  {device} stays: {error}")


def _run(*command: str) -> None:
    done = subprocess.run(command, env=_PATH, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
