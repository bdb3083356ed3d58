"""The instance: one installation on one machine, with its own data folder, ports and names.

Set-up writes `<data>/instance.json` once; every process reads it. Containers, volumes, networks
and hosts are named here, from ids alone, so that a name never depends on what a customer typed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from state_repo import StateRepoError
from state_repo.forge import ForgeAddress, address_of

PORTS = ("edge", "app", "reconciler", "dns", "dns_api", "prometheus", "alertmanager", "blackbox",
         "node_exporter", "model_proxy")
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,7}")

LABEL_INSTANCE = "instantworker.instance"
LABEL_CUSTOMER = "instantworker.customer"
LABEL_EMPLOYEE = "instantworker.employee"
LABEL_PLATFORM = "instantworker.platform"
LABEL_SPEC = "instantworker.spec"
LABEL_SECCOMP = "instantworker.seccomp"


class InstanceError(StateRepoError):
    """The data folder has no instance, or an unusable one; the message says what to do."""


def default_data() -> Path:
    """IW_DATA, else `.data` beside the code."""
    named = os.environ.get("IW_DATA")
    return Path(named) if named else Path(__file__).resolve().parent.parent / ".data"


FIREWALL_CHAINS = ("HOST", "FORWARD", "PROXY")  # each after the instance's prefix and a hyphen
# Ends of paths of the internal API that carry large bodies, or take long.
BULK_SOCKET = "reconciler-bulk.sock"
_BULK = ("/content", "/archive", "/search", "/text", "/page", "/restore", "/ask", "/plan",
         "/overview", "/charts", "/services", "/uptime", "/journal", "/alerts/test")


def door_for(socket: Path, path: str) -> Path:
    """The door of the internal API (its usual one is `socket`) for a path such as /v1/status:
    long work and large bodies have one of their own beside it."""
    bulk = socket.with_name(BULK_SOCKET)
    return bulk if path.partition("?")[0].endswith(_BULK) and bulk.exists() else socket


@dataclass(frozen=True, slots=True)
class Instance:
    """`bind`: the address that the edge listens on. `ports`: see PORTS. `network_pool`: CIDR from
    which customers' subnets are taken. `database`, `remote`, `forge` and `forge_url`: what set-up
    wrote; DATABASE_URL, IW_STATE_REMOTE, IW_FORGE and IW_FORGE_URL win over them."""

    id: str
    data: Path
    prefix: str = "iw"
    domain: str = "iw.localhost"
    bind: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    network_pool: str = "10.192.0.0/12"
    database: str | None = None
    remote: str | None = None
    forge: str | None = None
    forge_url: str | None = None

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise InstanceError(f"prefix {self.prefix!r}: 2 to 8 of a-z and 0-9, a letter first")

    @classmethod
    def load(cls, data: Path | None = None) -> Instance:
        """Raises InstanceError when there is none: `make run` makes it."""
        folder = (data or default_data()).resolve()
        path = folder / "instance.json"
        try:
            return cls(data=folder, **json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise InstanceError(f"there is no instance at {folder}: start one with `make run`, "
                                "or name its folder in IW_DATA") from error
        except (ValueError, TypeError) as error:
            raise InstanceError(f"{path} can't be read ({error}); restore it from a backup, or "
                                "remove it to have `make run` write it anew") from error

    def save(self) -> None:
        values = asdict(self)
        del values["data"]
        self.data.mkdir(parents=True, exist_ok=True)
        fresh = self.data / "instance.json.new"
        fresh.write_text(json.dumps(values, indent=2) + "\n")
        fresh.rename(self.data / "instance.json")

    def expect(self, what: str, present: bool, advice: str) -> None:
        """What carries data is never made anew in silence.

        Raises:
            InstanceError: `what` was made before (`mark_made`), and is not there.
        """
        marker = self.data / "made" / what
        if not present and marker.exists():
            raise InstanceError(f"{what} was made before and is gone; it is not made anew by "
                                f"itself. {advice}. To begin with nothing: rm {marker}")

    def last_set(self, what: str) -> dict[str, str]:
        """What set-up itself wrote last: "images" by part, or digests of "skills" by name."""
        try:
            return dict(json.loads((self.data / f"{what}-set.json").read_text()))
        except (OSError, ValueError):
            return {}

    def mark_made(self, what: str) -> None:
        marker = self.data / "made" / what
        if not marker.exists():
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    @property
    def database_url(self) -> str:
        return (os.environ.get("DATABASE_URL") or self.database
                or f"sqlite:///{self.database_path}")

    @property
    def database_path(self) -> Path:
        """SQLite's file, in a folder of its own: who writes to it makes files beside it."""
        return self.data / "database" / "instantworker.db"

    @property
    def state_remote(self) -> str | None:
        return os.environ.get("IW_STATE_REMOTE") or self.remote

    @property
    def state_forge(self) -> ForgeAddress | None:
        """The forge that holds the state repo; None: it is here, or a remote is no forge's.

        Raises:
            ForgeAddressError: the settings can't be right.
        """
        kind = os.environ.get("IW_FORGE") or self.forge
        return address_of(kind, os.environ.get("IW_FORGE_URL") or self.forge_url,
                          self.state_remote) if kind else None

    @property
    def edge_address(self) -> str:
        """Where this machine itself reaches the edge."""
        return "127.0.0.1" if self.bind in ("0.0.0.0", "::") else self.bind

    @property
    def app_host(self) -> str:
        return f"app.{self.domain}"

    @property
    def app_url(self) -> str:
        """The dashboard's origin, as a browser writes it."""
        return self.url(self.app_host)

    def url(self, host: str) -> str:
        port = self.ports["edge"]
        scheme = "http" if self.domain.endswith(".localhost") else "https"
        standard = {"http": 80, "https": 443}[scheme]
        return f"{scheme}://{host}" + ("" if port == standard else f":{port}")

    def chat_host(self, employee: str) -> str:
        return f"{employee}.gw.{self.domain}"

    def browser_host(self, employee: str) -> str:
        return f"{employee}.vnc.{self.domain}"

    @property
    def state_repo_path(self) -> Path:
        return self.data / "state.git"

    @property
    def secrets_path(self) -> Path:
        return self.data / "secrets"

    @property
    def backup_password_path(self) -> Path:
        return self.secrets_path / "backup-password"

    @property
    def git_credentials_path(self) -> Path:
        """What git shows a remote over http: lines as git-credential(1) reads them."""
        return self.secrets_path / "webapp" / "git-credentials"

    @property
    def run_path(self) -> Path:
        return self.data / "run"

    @property
    def socket(self) -> Path:
        """The reconciler's internal API: what is quick."""
        return self.run_path / "reconciler.sock"

    @property
    def pulumi_path(self) -> Path:
        return self.data / "pulumi"

    @property
    def config_path(self) -> Path:
        return self.data / "config"

    @property
    def logs_path(self) -> Path:
        return self.data / "logs"

    @property
    def backups_path(self) -> Path:
        return self.data / "backups"

    def container_name(self, employee: str) -> str:
        return f"{self.prefix}-emp-{employee}"

    def employee_volume(self, employee: str) -> str:
        return f"{self.prefix}-vol-{employee}"

    def knowledge_volume(self, customer: str) -> str:
        return f"{self.prefix}-know-{customer}"

    def volume(self, customer: str, employee: str | None) -> str:
        """An employee's, or (None) that of what its company knows."""
        return self.employee_volume(employee) if employee else self.knowledge_volume(customer)

    def network_name(self, customer: str) -> str:
        return f"{self.prefix}-net-{customer}"

    @property
    def bridge_prefix(self) -> str:
        """What every bridge of this instance begins with: the firewall's rules match it. At most
        6 characters, and another instance's prefix gives another one."""
        if len(self.prefix) <= 5:
            return f"{self.prefix}-"
        return f"{self.prefix[0]}{hashlib.sha256(self.prefix.encode()).hexdigest()[:4]}-"

    def bridge_name(self, customer: str) -> str:
        """At most 15 characters, the kernel's limit for an interface."""
        digest = hashlib.sha256(f"{self.prefix}/{customer}".encode()).hexdigest()
        return f"{self.bridge_prefix}{digest[:8]}"

    def platform_container(self, part: str) -> str:
        return f"{self.prefix}-{part}"
