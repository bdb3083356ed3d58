"""An employee's disk beside a folder of Docker's, in one run: what it costs to make and to use.

    python -m bench.disks        prints a table; as root
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stacks.disks import Disks, unmount_all
from state_repo.instance import Instance

ROUNDS = 5


def large(folder: Path) -> None:
    with open(folder / "large", "wb") as file:
        for _ in range(256):
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())


def small(folder: Path) -> None:
    for n in range(2_000):
        (folder / f"{n}").write_bytes(b"x" * 2_000)
    subprocess.run(["sync", "-f", str(folder)], check=True)


def commits(folder: Path) -> None:
    """What a database does: small writes, each one safe before the next."""
    with open(folder / "log", "wb") as file:
        for _ in range(200):
            file.write(b"x" * 4_096)
            file.flush()
            os.fsync(file.fileno())


def timed(work: Callable[[Path], None], folder: Path) -> float:
    folder.mkdir()
    began = time.perf_counter()
    work(folder)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        disks, root = Disks(Instance(id="0badcafe", data=Path(data))), Path(data)
        made = []
        for number in range(20):
            began = time.perf_counter()
            disks.options(f"iw-vol-e{number}-aaaaaa")
            made.append(time.perf_counter() - began)
        disk = disks.mount("iw-vol-e0-aaaaaa")
        print(f"made and mounted, 5 GiB: {statistics.median(made) * 1e3:.0f} ms, taking "
              f"{disks.folder.joinpath('iw-vol-e0-aaaaaa.img').stat().st_blocks >> 1} KiB")
        for name, work in (("256 MiB, one file", large), ("2,000 files", small),
                           ("200 writes, each synced", commits)):
            on, beside = [], []
            for number in range(ROUNDS):
                beside.append(timed(work, root / f"{work.__name__}{number}"))
                on.append(timed(work, disk / f"{work.__name__}{number}"))
            print(f"{name}: disk {statistics.median(on):.2f} s, folder "
                  f"{statistics.median(beside):.2f} s, ratio "
                  f"{statistics.median(on) / statistics.median(beside):.2f}")
        unmount_all(disks.folder)


if __name__ == "__main__":
    main()
