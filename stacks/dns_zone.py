"""The zone, through octoDNS's provider classes: populate, plan, apply.

PowerDNS of the platform by default; any other octoDNS provider by its class path
(`octodns_route53.Route53Provider`), with its arguments in the secret file `dns-provider.json`.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from octodns.provider.plan import UnsafePlan
from octodns.record import Record
from octodns.zone import Zone as OctoZone
from octodns_powerdns import PowerDnsProvider
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import HTTPError, Timeout

from stacks import StackError, UnreachableError
from stacks.providers.servicer import Inputs, Kind
from stacks.secret_files import existing
from state_repo.instance import Instance

API_KEY = "pdns-api-key"


def records(instance: Instance, address: str, ttl: int) -> list[dict[str, Any]]:
    """The hosts of the platform: the dashboard, and one wildcard each for chats and browsers."""
    return [{"name": name, "type": "A", "ttl": ttl, "values": [address]}
            for name in ("*.gw", "*.vnc", "app")]


def make_provider(instance: Instance, name: str) -> Any:
    if name == "powerdns":
        return PowerDnsProvider("platform", "127.0.0.1", existing(instance, API_KEY),
                                port=instance.ports["dns_api"], timeout=5)
    module, _, cls = name.rpartition(".")
    path = instance.secrets_path / "dns-provider.json"
    try:
        arguments = json.loads(path.read_text())
        return getattr(importlib.import_module(module), cls)("platform", **arguments)
    except (ImportError, AttributeError, ValueError, FileNotFoundError, TypeError) as error:
        raise StackError(f"dns.provider {name} can't be used ({error}): install its package, and "
                         f"put its arguments as JSON into {path.name} among the secrets") from error


# What proves to a certificate authority whose a name is: it comes and goes, and is nobody's drift.
CHALLENGE = "_acme-challenge"


def read_records(instance: Instance, inputs: Inputs) -> list[dict[str, Any]] | None:
    """The zone's address records as they are, or None without the zone.

    Raises:
        UnreachableError: the provider does not answer.
    """
    zone = OctoZone(_dotted(inputs["zone"]), [])
    with_zone = _speak(lambda: make_provider(instance, inputs["provider"]).populate(
        zone, lenient=True))
    if not with_zone:
        return None
    return sorted(({"name": r.name, "type": r._type, "ttl": r.ttl, "values": list(r.values)}
                   for r in zone.records if r._type not in ("NS", "SOA")
                   and not _is_challenge(r)),
                  key=lambda r: (r["name"], r["type"]))


class Zone(Kind):
    token = "instantworker:dns:Zone"
    properties = frozenset({"zone", "provider", "records"})
    in_place = frozenset({"records"})

    def __init__(self, instance: Instance, patience_s: float = 15.0) -> None:
        self._instance, self._patience_s = instance, patience_s

    def create(self, inputs: Inputs) -> str:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                self._apply(inputs)
                return inputs["zone"]
            except UnreachableError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        try:
            real = read_records(self._instance, inputs)
        except UnreachableError:
            return None  # its container is made again first, then the zone is planned anew
        return None if real is None else inputs | {"records": _like(inputs["records"], real)}

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, id: str, inputs: Inputs) -> None:
        self._apply(inputs | {"records": []})

    def answer(self, inputs: Inputs, challenges: Mapping[str, Sequence[str]]) -> None:
        """Has the zone answer an authority: by name below it, the texts; without any, what it
        answered is taken out again.

        Raises:
            StackError: the provider refuses, or does not answer.
        """
        self._apply(inputs, [{"name": name, "type": "TXT", "ttl": 60, "values": list(texts)}
                             for name, texts in challenges.items()])

    def _apply(self, inputs: Inputs, challenges: list[dict[str, Any]] | None = None) -> None:
        """`challenges` None: those that are there stay."""
        zone = OctoZone(_dotted(inputs["zone"]), [])
        provider = make_provider(self._instance, inputs["provider"])
        for record in [*inputs["records"], *(challenges or ())]:
            zone.add_record(Record.new(zone, record["name"], {
                "type": record["type"], "ttl": int(record["ttl"]), "values": record["values"]},
                lenient=True), lenient=True)
        if challenges is None:
            there = OctoZone(_dotted(inputs["zone"]), [])
            _speak(lambda: provider.populate(there, lenient=True))
            for found in filter(_is_challenge, there.records):
                zone.add_record(found, lenient=True)
        plan = _speak(lambda: provider.plan(zone))
        if plan is None:
            return
        if inputs["provider"] != "powerdns":
            # The platform's own PowerDNS holds nothing but this zone; anybody else's might.
            try:
                plan.raise_if_unsafe()
            except UnsafePlan as error:
                raise StackError(f"DNS: {error}; look at the zone, nothing was changed") from error
        _speak(lambda: provider.apply(plan))


def _is_challenge(record: Any) -> bool:
    return record._type == "TXT" and record.name.partition(".")[0] == CHALLENGE


def _like(wanted: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return wanted if sorted(wanted, key=lambda r: (r["name"], r["type"])) == real else real


def _dotted(zone: str) -> str:
    return zone.rstrip(".") + "."


def _speak(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (RequestsConnectionError, Timeout) as error:
        raise UnreachableError("the DNS provider does not answer") from error
    except HTTPError as error:
        raise StackError(f"the DNS provider refuses: {error}") from error
