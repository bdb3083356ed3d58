"""The guide to production, followed word for word on a machine that knows nothing of it: https by a
public authority (Pebble), an alert in a mailbox, a newer version of the platform, and everything
back from the backup alone. What a guide can't know (names, addresses, passwords) is put in its
place; every other word is docs/production.md's."""

from __future__ import annotations

import re
import secrets
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from state_repo import changes
from state_repo.documents import Dns
from tests.conftest import ROOT, docker, free_ports
from tests.e2e import authority
from tests.e2e.house import ENGINEER, until
from tests.e2e.own_copy import OwnCopy
from tests.fake_receivers import Mailbox, Webhook, closing
from tests.ssh_server import SshServer, ssh_server
from tools import service

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]
DOMAIN = "workers.iw.test"


def guide() -> dict[int, list[str]]:
    """By section: its commands, a line each, without their comments."""
    sections: dict[int, list[str]] = {}
    number, text = 0, (ROOT / "docs" / "production.md").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if found := re.match(r"## (\d+)\.", line):
            number = int(found[1])
        elif line.startswith("    ") and not line.startswith("     "):
            sections.setdefault(number, []).append(
                " ".join(line.partition(" #")[0].split()))
    return sections


def snippet(section: int) -> str:
    """The first indented part of a section, as it stands."""
    text = (ROOT / "docs" / "production.md").read_text()
    part = re.split(r"^## \d+\.", text, flags=re.MULTILINE)[section]
    return re.search(r"(?:^    .*\n)+", part, re.MULTILINE)[0]


@dataclass
class Machine:
    """Where the guide is followed. `said`: what stands here for what the guide names."""

    copy: OwnCopy
    address: str
    mailbox: Mailbox
    hooks: Webhook
    backups: SshServer
    said: dict[str, str]

    def follow(self, command: str, typed: str = "") -> str:
        for theirs, ours in self.said.items():
            command = command.replace(theirs, ours)
        done = subprocess.run(
            ["env", *command.split()] if "=" in command.split()[0] else command.split(),
            cwd=self.copy.code, input=typed, capture_output=True, text=True, check=False,
            env=self.copy.environment(), timeout=400)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def settled(self) -> None:
        until(lambda: all(s["sync_status"] == "Synced"
                          for s in self.copy.iw("status")["stacks"]), "all is applied", 90)


@pytest.fixture
def here(tmp_path: Path, pulumi: str) -> Iterator[Machine]:
    tmp_path.chmod(0o755)
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.1"
    mailbox, hooks = Mailbox(free_ports()["app"]), Webhook()
    with ssh_server(tmp_path / "other-machine") as backups, closing(mailbox, hooks):
        made = Machine(OwnCopy(tmp_path), address, mailbox, hooks, backups, {
            "workers.example.com": DOMAIN, "203.0.113.7": address,
            # The machine's, and no provider is here.
            "IW_ZRAM=12G": "", "ANTHROPIC_API_KEY=…": "",
            "smtps://user:password@mail.example.com": f"smtp://{mailbox.server}",
            "mail.example.com:587": mailbox.server, "--user alerts": "--no-tls",
            "sftp:backup@other.example.com:/srv/instantworker": backups.place})
        try:
            yield made
        finally:
            made.copy.purge()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_from_a_fresh_machine_to_everything_lost_and_back(here, images, tmp_path):
    steps, copy = guide(), here.copy
    start, service_command = steps[3]
    here.follow(start)
    assert copy.instance.app_url == f"https://app.{DOMAIN}"
    if not service._RUNS_SYSTEMD.exists():
        assert service_command == "sudo make service"  # by tests/tools/test_service.py
    copy.hires_light_ones(images)

    wanted = yaml.safe_load(snippet(4).replace("203.0.113.7", here.address))["spec"]["dns"]
    changes.set_platform(copy.store, ENGINEER, "DNS as in the guide", lambda p: replace(
        p, dns=Dns(address=wanted["address"], listen=tuple(wanted["listen"]))))
    here.settled()
    asked = subprocess.run(["dig", "+short", f"@{here.address}", f"app.{DOMAIN}"],
                           capture_output=True, text=True, check=True).stdout
    assert asked.strip() == here.address

    with authority.pebble(_folder(tmp_path, "pebble"), f"{here.address}:53") as signer:
        staging = f"--directory {signer.directory} --trusted {signer.authority}"
        here.said["--directory staging"] = ""
        here.said["./iw tls set acme"] = f"./iw tls set acme {staging}"
        for command in steps[5]:
            if command == "./iw tls show":
                until(lambda: copy.iw("tls", "show", check=False).get("ends"), "it is signed", 120)
            here.follow(command)
        trust = ssl.create_default_context(cadata=signer.root())
        until(lambda: copy.page(trust=trust), "https, by the authority's certificate", 30)
        container = copy.instance.container_name(copy.hire())
        docker("exec", container, "sh", "-c", "echo remembered > /data/memory")

        answers = iter(["", "", f"{here.hooks.url}/beat\n", ""])
        for command in steps[6]:
            here.follow(command, next(answers))
        assert any("Test" in m["Subject"] for m in here.mailbox.mails)
        print(f"a stopped edge was in the mailbox after {stopped_edge(here):.0f} s")
        until(lambda: copy.page(trust=trust), "the edge is back", 60)

        password = ""
        for command in steps[7]:
            said = here.follow(command, "y\n")  # it is the right server
            if command == "./iw backup key":
                password = max(re.findall(r"\S+", said), key=len)
            if "does not let us in yet" in said:
                here.backups.let_in(said)
        for command in steps[8]:
            here.follow(command)

        newer(copy)
        here.follow("make run")
        assert "the newer one" in copy.page(trust=trust)
        assert docker("exec", container, "cat", "/data/memory") == ["remembered"]
        here.follow("./iw backup now")
        for command in steps[9]:
            here.follow(command)

        # Everything is lost but the backup and its password.
        instance = copy.instance
        copy.purge()
        assert not copy.data.exists() and not docker(
            "ps", "-aq", "--filter", f"label=instantworker.instance={instance.id}")
        began = time.monotonic()
        # There it is a folder; from elsewhere one comes in by SSH, as whoever restores may.
        kept = tmp_path / "other-machine" / "iw"
        copy.setup("restore", IW_RESTORE=str(kept), IW_BACKUP_PASSWORD=password)
        here.follow("make run")
        until(lambda: docker("exec", container, "cat", "/data/memory") == ["remembered"],
              "the employee remembers", 120)
        until(lambda: copy.page(trust=trust), "the same certificate", 60)
        print(f"everything was back after {time.monotonic() - began:.0f} s")


def stopped_edge(here: Machine) -> float:
    """Stops the edge, and whoever would start it again; how long until that is in the mailbox."""
    service.stop(here.copy.data, "reconciler")
    docker("stop", here.copy.instance.platform_container("edge"))
    began = time.monotonic()
    until(lambda: any("PartDown" in m["Subject"] for m in here.mailbox.mails), "the mail", 180)
    delay = time.monotonic() - began
    here.follow("make run")
    return delay


def newer(copy: OwnCopy) -> None:
    landing = copy.code / "webapp" / "templates" / "landing.html"
    landing.write_text(landing.read_text().replace("</h1>", " (the newer one)</h1>", 1))
    copy.commit()


def _folder(place: Path, name: str) -> Path:
    made = place / name
    made.mkdir()
    return made
