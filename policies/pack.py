"""The rules over planned resources as a Pulumi policy pack (CrossGuard).

Two ways in, one set of rules:

- hosted: the reconciler serves the analyzer on a port of its own, and hands the engine a tiny
  executable that prints that port. A run then starts no Python process for its policies.
- by itself: `pulumi preview --policy-pack policies/instantworker-policies` starts this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

# The servicer that PolicyPack itself serves; it has no public name. Pinned version.
from pulumi_policy.policy import _PolicyAnalyzerServicer

from policies.resources import Tenant, check_resource
from state_repo.instance import Instance
from state_repo.store import Store

NAME = "instantworker"
TenantOf = Callable[[str], Tenant]


def tenant_of(instance: Instance, stack: str, employees: Collection[str], subnet: str = ""
              ) -> Tenant:
    """Whose stack `customer-<id>` or `platform` is, and what it may name: the customer's network,
    its knowledge, its `subnet`, and the volumes of its own `employees` (ids)."""
    customer = stack.removeprefix("customer-") if stack.startswith("customer-") else None
    if customer is None:
        return Tenant(None, instance.id, data=str(instance.data))
    owned = {instance.knowledge_volume(customer), *map(instance.employee_volume, employees)}
    return Tenant(customer, instance.id, instance.network_name(customer), owned.__contains__,
                  str(instance.data), subnet)


def _policies(tenant: TenantOf) -> list[ResourceValidationPolicy]:
    def validate(args: Any, report: Any) -> None:
        stack = args.urn.split("::")[0].removeprefix("urn:pulumi:")
        for rule, message in check_resource(args.resource_type, _plain(args.props), tenant(stack)):
            report(f"[{rule}] {message}")

    return [ResourceValidationPolicy(
        name="hardening", validate=validate, enforcement_level=EnforcementLevel.MANDATORY,
        description="Every planned resource keeps the hardening list and its tenant's bounds.")]


def _plain(value: Any) -> Any:
    """The properties without the proxy that guards values unknown in a preview."""
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or type(value).__name__.endswith("ListProxy"):
        return [_plain(item) for item in value]
    return value


class _Servicer(_PolicyAnalyzerServicer):
    """With the two calls that pulumi_policy leaves unanswered, which its engine makes."""

    def Handshake(self, request: Any, context: Any) -> Any:
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


class HostedPack:
    """The analyzer, served until `stop`."""

    def __init__(self, tenant: TenantOf) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        analyzer_pb2_grpc.add_AnalyzerServicer_to_server(
            _Servicer(NAME, "1.0.0", list(_policies(tenant)), EnforcementLevel.MANDATORY),
            self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def write_launcher(self, path: Path) -> Path:
        """An executable that the engine starts as the pack: it prints the port and waits to be
        ended."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {self.port}\nexec sleep 2147483647\n")
        path.chmod(0o755)
        return path

    def stop(self) -> None:
        self._server.stop(None)


@contextmanager
def hosted(tenant: TenantOf, folder: Path) -> Iterator[Path]:
    """An analyzer of its own while it is used; its launcher lies in `folder` meanwhile."""
    served = HostedPack(tenant)
    launcher = served.write_launcher(folder / f"policy-pack-{served.port}")
    try:
        yield launcher
    finally:
        served.stop()
        launcher.unlink()


def main() -> None:
    """Serves the pack for one run of the engine, as Pulumi's own packs do."""
    instance = Instance.load()
    snapshot = Store(instance.state_repo_path).snapshot()

    def tenant(stack: str) -> Tenant:
        state = snapshot.customers.get(stack.removeprefix("customer-"))
        company = state.customer if state else None
        return tenant_of(instance, stack, state.employees if state else (),
                         company.subnet if company else "")
    if len(sys.argv) < 3:  # pulumi_policy reads the pack's folder from its arguments
        sys.argv[1:] = [*sys.argv[1:], *("", str(Path.cwd()))[len(sys.argv) - 1:]]
    PolicyPack(NAME, _policies(tenant),
               EnforcementLevel.MANDATORY)


if __name__ == "__main__":
    main()
