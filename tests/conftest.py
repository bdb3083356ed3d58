"""Fixtures for tests on real parts: an instance of its own, and nothing left behind."""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from playwright.sync_api import expect
from sqlalchemy import text
from werkzeug.routing import Rule

from state_repo import journal
from state_repo.database import engine_for
from state_repo.documents import NetworkPool, Platform, Resources
from state_repo.instance import LABEL_INSTANCE, PORTS, Instance
from tools import ports

# What takes long, an example or a page, says something about the machine, not about the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")
expect.set_options(timeout=15_000)

ROOT = Path(__file__).resolve().parent.parent
# Chromium without a window's parts: the same pages, measured side by side, in 0.72 of the time.
BROWSER = "/usr/bin/chromium-headless-shell"


def docker(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False,
                          errors="replace").stdout.split()


def _compile_addresses_once() -> None:
    """werkzeug compiles what builds each address, twice, for every app that is made: most of what
    an app of tests takes. It depends on the rule alone."""
    compile_it, known = Rule._compile_builder, {}

    def once(self: Rule, append_unknown: bool = True) -> Any:
        key = self.rule, tuple(self._trace), repr(self.defaults), append_unknown
        if key not in known:
            known[key] = compile_it(self, append_unknown)
        return known[key]
    Rule._compile_builder = once  # type: ignore[method-assign]


_compile_addresses_once()


def free_ports() -> dict[str, int]:
    """Of this process's own share: a port is looked for by binding it, which is in the way of
    whoever begins to listen there in that moment."""
    return ports.free_ports(PORTS, share=_share()[:2])


@cache
def _share() -> tuple[int, int, socket.socket]:
    """A share of all ports that no other process of tests on this machine has: it is taken while
    the socket is open."""
    for which in range(_SHARES):
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mark.bind(f"\0instantworker-tests-ports-{which}")
            return which, _SHARES, mark
        except OSError:
            mark.close()
    raise OSError(f"{_SHARES} processes of tests run on this machine already")


_SHARES = 32


def new_instance(data: Path, domain: str = "iw.localhost") -> Instance:
    """An instance with a random prefix, free ports, and a small pool of its own."""
    pool, mark = _pool_of_our_own()
    made = Instance(id=secrets.token_hex(4), data=data, prefix=f"t{secrets.token_hex(2)}",
                    domain=domain, ports=free_ports(), network_pool=pool)
    _POOLS[made.id] = mark
    made.save()
    return made


_POOLS: dict[str, socket.socket] = {}  # instance -> what marks its pool as taken


def _pool_of_our_own() -> tuple[str, socket.socket]:
    """A /16 that no network here uses, and no other test run of this machine has taken. It is
    taken while the socket is open: the kernel lets a name go with the process that bound it."""
    used = docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
                  *docker("network", "ls", "-q")) if shutil.which("docker") else []
    free = [n for n in range(128, 192) if not any(net.startswith(f"10.{n}.") for net in used)]
    for block in secrets.SystemRandom().sample(free, len(free)):
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0instantworker-tests-10.{block}")
        except OSError:
            mark.close()
            continue
        return f"10.{block}.0.0/16", mark
    pytest.fail("every pool of 10.128.0.0/10 is in use: `docker network ls` says by what")


def remove_all(instance: Instance) -> None:
    """Removes what carries the instance's label, and its firewall chains."""
    from stacks.disks import unmount_all
    from tools.setup import _remove_chains

    label = f"label={LABEL_INSTANCE}={instance.id}"
    for listing, removing in ((("ps", "-aq"), ("rm", "-f")),
                              (("network", "ls", "-q"), ("network", "rm")),
                              (("volume", "ls", "-q"), ("volume", "rm"))):
        found = docker(*listing, "--filter", label)
        if found:
            docker(*removing, *found)
    unmount_all(instance.data / "disks")
    _remove_chains(instance.prefix)
    if mark := _POOLS.pop(instance.id, None):
        mark.close()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = new_instance(tmp_path)
    yield made
    if shutil.which("docker"):
        remove_all(made)


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged, as a process of ours writes it: a dictionary a line."""
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    journal.write_to(stream, "webapp")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The built images by digest; `make test` names them."""
    named = os.environ.get("IW_TEST_IMAGES")
    if named is None:
        pytest.fail("these tests need the images: run them with `make test-parts`")
    return json.loads(named)


def light_platform(images: dict[str, str], instance: Instance) -> Platform:
    """Real parts, and employees that have the container's contract and no agent."""
    return Platform(images=images | {"employee": images["light"]},
                    network=NetworkPool(instance.network_pool, 25),
                    defaults=Resources(0.5, 128, 64))


@pytest.fixture
def platform(images: dict[str, str], instance: Instance) -> Platform:
    return light_platform(images, instance)


@pytest.fixture(scope="session")
def pulumi() -> str:
    built = ROOT / ".build" / "bin" / "pulumi"
    found = str(built) if built.exists() else shutil.which("pulumi")
    if found is None:
        pytest.fail("these tests need the Pulumi CLI: run them with `make test-parts`")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with throwaway_postgres("fsync=off", "full_page_writes=off") as url:  # it survives no test
        yield url


@contextmanager
def throwaway_postgres(*settings: str) -> Iterator[str]:
    """A throw-away PostgreSQL, as a user that is not root, with other settings than usual."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.fail("this test needs PostgreSQL: run it with `make test-parts`")
    folder, port = Path(f"/tmp/iwpg-{os.getpid()}"), free_ports()["app"]
    folder.mkdir(mode=0o755)
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        as_user = ["setpriv", "--reuid", "nobody", "--clear-groups"]
    run = [*as_user, str(found[-1] / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "iw"]
    subprocess.run(run, check=True, capture_output=True, cwd="/")
    server = subprocess.Popen([*as_user, str(found[-1] / "postgres"), "-D", f"{folder}/data", "-p",
                               str(port), "-k", str(folder), "-h", "127.0.0.1",
                               *(f"-c{setting}" for setting in settings)], cwd="/",
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ready = [str(found[-1] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    until = time.monotonic() + 20
    try:
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.05)
        yield f"postgresql://iw@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown: it waits for no open connection
        server.wait(60)
        shutil.rmtree(folder)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """An empty PostgreSQL database's URL."""
    engine = engine_for(postgres_server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres_server
