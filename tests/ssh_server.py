"""A machine that keeps backups: a real OpenSSH, in a container of its own (tests/sshd)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, docker, free_ports
from tests.e2e.authority import listens
from tests.e2e.house import until
from tools import images


@dataclass(frozen=True)
class SshServer:
    """`place`: where keeper's backups go, for restic."""

    container: str
    place: str

    def let_in(self, said: str) -> None:
        """Does there what `iw backup set` asks for."""
        (line,) = re.findall(r"^restrict ssh-ed25519 \S+ \S+$", said, re.MULTILINE)
        docker("exec", "--user=keeper", self.container, "sh", "-c",
               f"echo '{line}' >> ~/.ssh/authorized_keys")


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """`folder`: what it keeps lies there."""
    image = images.image("sshd", ROOT / "tests" / "sshd", folder.parent / "sshd.log")
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    port = free_ports()["app"]
    name = f"iw-test-sshd-{port}"
    docker("run", "--detach", "--rm", "--network=host", f"--name={name}",
           f"--volume={folder}:/srv/backups", image.partition("@")[2], "-p", str(port))
    try:
        until(lambda: listens(port), "sshd listens", 20)
        yield SshServer(name, f"sftp://keeper@127.0.0.1:{port}//srv/backups/iw")
    finally:
        docker("rm", "--force", name)
