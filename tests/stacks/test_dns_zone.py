"""The zone by value: what the provider says is told apart by who must act."""

from __future__ import annotations

import pytest
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import HTTPError, Timeout

from stacks import StackError, UnreachableError, dns_zone
from stacks.dns_zone import Zone, read_records, records
from state_repo.instance import Instance


class FakeProvider:
    """Answers as octoDNS' providers do."""

    def __init__(self, error: Exception | None = None, exists: bool = True) -> None:
        self.error, self.exists, self.applied = error, exists, 0

    def populate(self, zone, lenient=False):
        if self.error:
            raise self.error
        return self.exists

    def plan(self, zone):
        if self.error:
            raise self.error
        self.wanted = {(r.name, r._type, tuple(r.values)) for r in zone.records}
        return "a plan"

    def apply(self, plan):
        self.applied += 1


@pytest.fixture
def instance(tmp_path):
    return Instance(id="0badcafe", data=tmp_path, ports={"dns_api": 1})


def inputs(instance: Instance) -> dict:
    return {"zone": "iw.localhost", "provider": "powerdns",
            "records": records(instance, "127.0.0.1", 60)}


@pytest.mark.parametrize(("error", "kind"), [
    (RequestsConnectionError("refused"), UnreachableError), (Timeout("late"), UnreachableError),
    (HTTPError("401 Client Error: Unauthorized"), StackError)])
def test_who_is_silent_and_who_refuses_are_told_apart(instance, monkeypatch, error, kind):
    monkeypatch.setattr(dns_zone, "make_provider", lambda *_: FakeProvider(error))
    with pytest.raises(StackError) as told:
        read_records(instance, inputs(instance))
    assert type(told.value) is kind


def test_a_zone_is_planned_and_applied_and_waits_for_a_server_that_starts(instance, monkeypatch):
    provider = FakeProvider(RequestsConnectionError("not yet"))
    asked = []

    def make(*_):
        asked.append(1)
        if len(asked) > 2:
            provider.error = None
        return provider
    monkeypatch.setattr(dns_zone, "make_provider", make)
    assert Zone(instance, patience_s=5).create(inputs(instance)) == "iw.localhost"
    assert provider.applied == 1
    assert ("*.gw", "A", ("127.0.0.1",)) in provider.wanted


def test_a_server_that_stays_away_is_told(instance, monkeypatch):
    monkeypatch.setattr(dns_zone, "make_provider",
                        lambda *_: FakeProvider(RequestsConnectionError("away")))
    with pytest.raises(UnreachableError):
        Zone(instance, patience_s=0.2).create(inputs(instance))
    assert Zone(instance).read("iw.localhost", inputs(instance)) is None


def test_without_its_key_nothing_is_asked_and_none_is_made(instance):
    with pytest.raises(StackError, match="pdns-api-key"):
        read_records(instance, inputs(instance))
    assert not instance.secrets_path.exists()


def test_a_provider_that_is_not_installed_says_what_to_do(instance):
    with pytest.raises(StackError, match="install its package"):
        read_records(instance, inputs(instance) | {"provider": "octodns_nowhere.Provider"})
