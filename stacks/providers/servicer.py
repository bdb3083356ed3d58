"""The engine's provider protocol, once, for every kind of resource.

A kind is a class with a table of its properties; everything that is the same for all kinds
(unknown values in a preview, unsupported properties, what changed, replace or update) is here.

    class Record(Kind):
        token = "instantworker:dns:Record"
        properties = frozenset({"name", "value"})
        in_place = frozenset({"value"})

        def create(self, inputs): ...           # -> id
        def read(self, id, inputs): ...         # -> inputs as they really are, or None: gone
        def update(self, id, old, new): ...
        def delete(self, id, inputs): ...
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent import futures
from typing import Any, ClassVar

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from stacks import StackError
from state_repo import journal

log = logging.getLogger(__name__)
Inputs = dict[str, Any]


class Kind:
    """One type of resource. `properties`: what it supports; `in_place`: what an update can
    change, everything else replaces. Ids are the provider's own strings."""

    token: ClassVar[str]
    properties: ClassVar[frozenset[str]]
    in_place: ClassVar[frozenset[str]] = frozenset()

    def check(self, inputs: Inputs) -> dict[str, str]:
        """What is wrong with the inputs, by property. Values may be unknown (a preview)."""
        return {}

    def replaces_first(self, inputs: Inputs) -> bool:
        """Whether a new one is made before the old one goes."""
        return False

    def create(self, inputs: Inputs) -> str:
        raise NotImplementedError

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        raise NotImplementedError

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        raise NotImplementedError

    def delete(self, id: str, inputs: Inputs) -> None:
        raise NotImplementedError


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves the kinds of one package; safe for several engines at once."""

    def __init__(self, package: str, version: str, kinds: list[Kind]) -> None:
        self._package, self._version = package, version
        self._kinds = {kind.token: kind for kind in kinds}

    # ---- the conversation's start and end ----------------------------------------------------

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=False)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema="{}")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True,
                                              acceptResources=False, acceptOutputs=False)

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    # ---- resources ---------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        inputs = _values(request.news)
        failures = {name: f"is not supported by {kind.token} here; supported: "
                          f"{', '.join(sorted(kind.properties))}"
                    for name in sorted(set(inputs) - kind.properties)
                    if not name.startswith("__")}
        failures |= kind.check(inputs)
        return provider_pb2.CheckResponse(inputs=request.news, failures=[
            provider_pb2.CheckFailure(property=name, reason=reason)
            for name, reason in failures.items()])

    def Diff(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        old, new = _values(request.old_inputs), _values(request.news)
        changed = [name for name in sorted(old.keys() | new.keys())
                   if old.get(name) != new.get(name) and not name.startswith("__")
                   and name not in request.ignoreChanges]
        replaces = [name for name in changed if name not in kind.in_place]
        response = provider_pb2.DiffResponse(
            changes=(provider_pb2.DiffResponse.DIFF_SOME if changed
                     else provider_pb2.DiffResponse.DIFF_NONE),
            diffs=changed, replaces=replaces, deleteBeforeReplace=not kind.replaces_first(new),
            hasDetailedDiff=True)
        word = provider_pb2.PropertyDiff
        for name in changed:
            verb = "ADD" if name not in old else "DELETE" if name not in new else "UPDATE"
            suffix = "_REPLACE" if name in replaces else ""
            response.detailedDiff[name].CopyFrom(word(
                kind=word.Kind.Value(verb + suffix), inputDiff=True))
        return response

    def Create(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        if request.preview:
            return provider_pb2.CreateResponse(properties=request.properties)
        made = self._guarded(request, context, kind.create, _values(request.properties))
        return provider_pb2.CreateResponse(id=made, properties=request.properties)

    def Read(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        inputs = _values(request.inputs or request.properties)
        real = self._guarded(request, context, kind.read, request.id, inputs)
        if real is None:
            return provider_pb2.ReadResponse()
        found = request.inputs if real == inputs else _struct(real)
        return provider_pb2.ReadResponse(id=request.id, properties=found, inputs=found)

    def Update(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        if not request.preview:
            self._guarded(request, context, kind.update, request.id, _values(request.old_inputs),
                          _values(request.news))
        return provider_pb2.UpdateResponse(properties=request.news)

    def Delete(self, request: Any, context: Any) -> Any:
        kind = self._kind(request.urn, context)
        inputs = _values(request.old_inputs or request.properties)
        self._guarded(request, context, kind.delete, request.id, inputs)
        return empty_pb2.Empty()

    def _kind(self, urn: str, context: Any) -> Kind:
        # A child's type is written after its parents': urn:…::parent$type::name
        token = urn.split("::")[2].rpartition("$")[2]
        kind = self._kinds.get(token)
        if kind is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED,
                          f"{token} is not served here; served: {', '.join(sorted(self._kinds))}")
            raise AssertionError  # abort does not return
        return kind

    def _guarded(self, request: Any, context: Any, work: Any, *arguments: Any) -> Any:
        """Does the work, and tells of it with what the stack's run is about."""
        stack, name = request.urn.split(":")[2], request.urn.rpartition("::")[2]
        verb = work.__name__
        with journal.borrowed(stack):
            result = self._done(context, work, *arguments)
            if verb != "read":
                log.info("%s: %sd", name, verb)
            return result

    def _done(self, context: Any, work: Any, *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except StackError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as error:
            log.exception("%s failed", getattr(work, "__qualname__", work))
            context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")


class ProviderServer:
    """Providers on loopback ports, until `stop`."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._servers = []
        ports = {}
        for name, provider in providers.items():
            server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
            ports[name] = server.add_insecure_port("127.0.0.1:0")
            server.start()
            self._servers.append(server)
        self.environment = ",".join(f"{name}:{port}" for name, port in ports.items())

    def stop(self) -> None:
        for server in self._servers:
            server.stop(None)


def _values(struct: struct_pb2.Struct) -> Inputs:
    """Plain values; a value unknown in a preview stays `rpc.UNKNOWN`'s sentinel string."""
    values = rpc.deserialize_properties(struct, keep_unknowns=True)
    return {name: value for name, value in values.items() if value is not None}


def _struct(values: Inputs) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(values)
    return made
