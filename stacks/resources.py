"""The resource types of our own package, as programs write them."""

from __future__ import annotations

from typing import Any

import pulumi


class _Ours(pulumi.CustomResource):
    kind: str

    def __init__(self, resource_name: str, depends_on: list[pulumi.Resource] | None = None,
                 **properties: Any) -> None:
        super().__init__(self.kind, resource_name, properties,
                         pulumi.ResourceOptions(depends_on=depends_on))


class Folder(_Ours):
    """A folder of the data folder: `path` (relative), `uid`, `mode` ("0700")."""

    kind = "instantworker:host:Folder"


class ConfigFile(_Ours):
    """A file of the data folder: `path` (relative), `content` (may hold @secret:…@), `uid`,
    `reload` (a URL that is POSTed to after a change; optional)."""

    kind = "instantworker:host:ConfigFile"


class EmployeeFiles(_Ours):
    """Our files in an employee's volume; see `stacks.employee_files`."""

    kind = "instantworker:employee:Files"


class ModelKey(_Ours):
    """An employee's key for the model proxy; see `stacks.model_keys`."""

    kind = "instantworker:model:Key"


class Firewall(_Ours):
    """Our chains in INPUT and DOCKER-USER: `bridges` (prefix of interfaces), `chain` (prefix of
    chain names), `proxyPort` (the one port of the host that containers reach)."""

    kind = "instantworker:host:Firewall"


class LowPorts(_Ours):
    """`lowest`: the port from which on anybody may listen; see `stacks.low_ports`."""

    kind = "instantworker:host:LowPorts"


class Zone(_Ours):
    """A DNS zone: `zone`, `provider`, `records` (list of {name, type, ttl, values})."""

    kind = "instantworker:dns:Zone"


class Certificate(_Ours):
    """The files of the edge's certificate: `names`; see `stacks.certificate`."""

    kind = "instantworker:edge:Certificate"


class EdgeConfig(_Ours):
    """Caddy's whole configuration: `config`."""

    kind = "instantworker:edge:Config"
