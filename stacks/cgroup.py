"""A running container from the kernel's side: what it uses, what it does, and how to let it rest.

Reading these files takes a millisecond where `docker stats` takes a second. Both hierarchies are
known: cgroup v1 (one tree a controller) and v2 (one tree). Sizes in bytes, CPU time in seconds.
"""

from __future__ import annotations

import contextlib
import stat
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stacks import StackError
from stacks.providers.docker_api import NotFound, client, speaking

ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000  # Docker's own
_ESTABLISHED = "01"
# What runs in every employee. Anything beside it is work that the agent started.
_OWN = ("/sbin/docker-init", "s6-svscan", "s6-supervise", "openclaw", "Xvnc", "Xtigervnc",
        "matchbox-window-manager", "/usr/lib/chromium/")
_OWN_FOLDERS = ("/opt/openclaw/", "/opt/employee/")


@dataclass(frozen=True, slots=True)
class Use:
    """One look. `memory`: what it holds, less files that the kernel can drop at any time (as
    Docker counts it). `open_ports`: own ports (of those asked about) with a live connection from
    outside. `calls_out`: connections to `proxy_port`. `own_work`: a process of the agent's."""

    cpu_s: float
    memory: int
    pids: int
    open_ports: frozenset[int]
    calls_out: int
    own_work: bool

    @property
    def is_at_work(self) -> bool:
        """Whether it waits for its model, or runs a command."""
        return bool(self.calls_out or self.own_work)

    @property
    def is_in_use(self) -> bool:
        """Whether somebody is connected, or it is at work."""
        return bool(self.open_ports) or self.is_at_work


@dataclass(frozen=True, slots=True)
class Container:
    """Where the kernel keeps a running container."""

    id: str
    pid: int
    memory: Path
    cpu: Path
    pids: Path
    quota: Path
    is_v2: bool

    def limit(self, size: int, patience_s: float = 5.0) -> None:
        """Sets the memory limit. What is over it goes to swap, which takes the kernel a while.

        Raises:
            StackError: the kernel could not free as much.
        """
        path = self.memory / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")
        until = time.monotonic() + patience_s
        while True:
            try:
                path.write_text(str(size))
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise StackError(f"the kernel can't take {self.id[:12]} down to "
                                     f"{size >> 20} MiB: {error}") from error
                time.sleep(0.1)


    def allow_swap(self, size: int) -> None:
        """How much may lie in swap. The old hierarchy counts memory and swap together, against
        the limit that the container was made with; in the new one swap has a limit of its own,
        which Docker sets to nothing where memory and memory + swap are the same."""
        if self.is_v2:
            with contextlib.suppress(OSError):
                (self.memory / "memory.swap.max").write_text(str(size))

    def allow_cpus(self, cpus: float) -> None:
        """Sets how many processors' time it may use. Raises OSError."""
        share = round(cpus * _PERIOD_US)
        if self.is_v2:
            (self.quota / "cpu.max").write_text(f"{share} {_PERIOD_US}")
        else:
            (self.quota / "cpu.cfs_quota_us").write_text(str(share))


def find(name: str) -> Container | None:
    """A running (or paused) container by name; None when it does not run."""
    with speaking():
        try:
            real = client().inspect_container(name)
        except NotFound:
            return None
    pid = real["State"]["Pid"]
    if not pid:
        return None
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {part: rest for _, parts, rest in (line.split(":", 2) for line in lines)
             for part in parts.split(",")}
    if "memory" in paths:
        def at(part: str) -> Path:
            return ROOT / part / paths[part].lstrip("/")
        return Container(real["Id"], pid, at("memory"), at("cpuacct"), at("pids"), at("cpu"),
                         False)
    whole = ROOT / paths[""].lstrip("/")
    return Container(real["Id"], pid, whole, whole, whole, whole, True)


def use(container: Container, ports: frozenset[int], proxy_port: int) -> Use | None:
    """What it uses now, or None when it ended meanwhile."""
    try:
        if container.is_v2:
            counts = dict(line.split() for line in
                          (container.cpu / "cpu.stat").read_text().splitlines())
            cpu = int(counts["usage_usec"]) / 1e6
            memory = int((container.memory / "memory.current").read_text()) - _droppable(
                container.memory / "memory.stat", "inactive_file")
        else:
            cpu = int((container.cpu / "cpuacct.usage").read_text()) / 1e9
            memory = int((container.memory / "memory.usage_in_bytes").read_text()) - _droppable(
                container.memory / "memory.stat", "total_inactive_file")
        pids = int((container.pids / "pids.current").read_text())
        members = [int(x) for x in (container.memory / "cgroup.procs").read_text().split()]
        open_ports, calls = _connections(container.pid, ports, proxy_port)
    except OSError:
        return None
    return Use(cpu, memory, pids, open_ports, calls, any(map(_is_work, members)))


def unnamed(name: str, folder: Path) -> int:
    """Bytes on the disk of `folder`, of files that a container's processes hold open or mapped and
    that have no name any more: no walk of a folder finds them."""
    container, device = find(name), folder.stat().st_dev
    if container is None:
        return 0
    with contextlib.suppress(OSError):
        return unnamed_of(map(int, (container.memory / "cgroup.procs").read_text().split()), device)
    return 0


def unnamed_of(pids: Iterable[int], device: int) -> int:
    """As `unnamed`, of these processes."""
    found: dict[int, int] = {}
    for pid in pids:
        for kind in ("fd", "map_files"):
            with contextlib.suppress(OSError):  # it ended
                for link in Path(f"/proc/{pid}/{kind}").iterdir():
                    with contextlib.suppress(OSError):
                        seen = link.stat()
                        if seen.st_nlink == 0 and seen.st_dev == device and stat.S_ISREG(
                                seen.st_mode):
                            found[seen.st_ino] = seen.st_blocks * 512
    return sum(found.values())


def _droppable(counts: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in counts.read_text().splitlines()
                 if line.startswith(f"{name} ")), 0)


def _connections(pid: int, ports: frozenset[int], proxy_port: int) -> tuple[frozenset[int], int]:
    """In the container's own network: who is connected to it, and its calls to the proxy."""
    found, calls = set(), 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state, *_ = line.split()
            if state != _ESTABLISHED or _is_loopback(remote.partition(":")[0]):
                continue
            own, other = (int(x.partition(":")[2], 16) for x in (local, remote))
            if own in ports:
                found.add(own)
            calls += other == proxy_port
    return frozenset(found), calls


def _is_loopback(address: str) -> bool:
    """Of /proc/net/tcp's hexadecimal words, low byte first; IPv4 in IPv6 too."""
    return address[-8:].endswith("7F") or address == "0" * 24 + "01000000"


def _is_work(pid: int) -> bool:
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(
            errors="replace")
        return bool(command) and not command.startswith(_OWN) and not any(
            folder in command for folder in _OWN_FOLDERS)
    return False


def host_memory() -> dict[str, int]:
    """The host's memory in bytes, by the kernel's names (MemTotal, MemAvailable, SwapFree, …)."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(size) * 1024 for name, size, *_ in lines}


def swap_free() -> int:
    """Bytes of swap that nobody uses."""
    return host_memory().get("SwapFree", 0)


def wanted_limit(name: str) -> int:
    """The memory limit that the container was made with."""
    with speaking():
        return int(client().inspect_container(name)["HostConfig"]["Memory"])


def wanted_cpus(name: str) -> float:
    """The processors that the container was made with."""
    with speaking():
        return int(client().inspect_container(name)["HostConfig"]["NanoCpus"]) / 1e9


def pause(name: str) -> None:
    """Nothing happens to one that is paused."""
    with speaking():
        if not client().inspect_container(name)["State"]["Paused"]:
            client().pause(name)


def unpause(name: str) -> None:
    """Nothing happens to one that is not paused."""
    with speaking():
        if client().inspect_container(name)["State"]["Paused"]:
            client().unpause(name)


def stop(name: str, patience_s: int = 10) -> None:
    with speaking():
        client().stop(name, timeout=patience_s)


def start(name: str) -> None:
    with speaking():
        client().start(name)


def close_connections(address: str) -> None:
    """Ends every connection of the host to a container, so that each is authorised anew."""
    subprocess.run(["ss", "--kill", "--tcp", "--no-header", "dst", address], capture_output=True,
                   check=False)
