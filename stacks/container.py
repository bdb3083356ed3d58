"""pulumi_docker's Container with the one limit that its schema lacks.

Docker limits processes per container (PidsLimit); pulumi_docker 5 has no property for it. The
provider of this house takes `pidsLimit`, and a policy refuses a container without it.
"""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_docker as docker


class _WithPidsLimit(pulumi.CustomResource):
    """Stands between `docker.Container` and its base class, and adds the property."""

    _pids_limit: int

    def __init__(self, kind: str, name: str, props: Any, *rest: Any) -> None:
        props.__dict__["pidsLimit"] = self._pids_limit
        super().__init__(kind, name, props, *rest)


class Container(docker.Container, _WithPidsLimit):
    """A `docker.Container` that also takes `pids_limit`."""

    def __init__(self, resource_name: str, *, pids_limit: int,
                 depends_on: list[pulumi.Resource] | None = None, **properties: Any) -> None:
        self._pids_limit = pids_limit
        docker.Container.__init__(self, resource_name, **properties,
                                  opts=pulumi.ResourceOptions(depends_on=depends_on))


def label_args(labels: dict[str, str]) -> list[docker.ContainerLabelArgs]:
    return [docker.ContainerLabelArgs(label=k, value=v) for k, v in sorted(labels.items())]
