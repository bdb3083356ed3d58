"""The edge's certificate by value: when it is due, what is tried again and when, what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from acme import errors
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler import ReconcilerError
from reconciler.certificates import Certificates
from reconciler.metrics import Metrics
from stacks import certificate
from stacks.certificate import CertificateFiles
from stacks.edge_config import certificate_names, edge_config
from state_repo.documents import Platform, Tls
from state_repo.instance import Instance
from tests.conftest import free_ports

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NAMES = ["app.iw.test", "*.gw.iw.test", "*.vnc.iw.test"]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setattr(certificate.os, "chown", lambda *_: None)
    monkeypatch.setattr(certificate, "reload", lambda _: None)
    return Instance(id="0badcafe", data=tmp_path, ports=free_ports(), domain="iw.test")


class House:
    def __init__(self, instance: Instance, tls: Tls) -> None:
        self.instance, self.metrics, self.events = instance, Metrics(), list[tuple[str, str]]()
        self.asked: list[datetime] = []
        self.signs: list[Exception | None] = []
        self.platform = Platform(images={}, tls=tls)
        self.made = Certificates(SimpleNamespace(  # type: ignore[arg-type]
            instance=instance, metrics=self.metrics, book=SimpleNamespace(platform=self.platform),
            outbox=SimpleNamespace(event=lambda kind, text: self.events.append((kind, text)))))
        self.made._have_signed = self._signs  # type: ignore[method-assign]
        self.now = NOW
        CertificateFiles(instance).create({"names": certificate_names(instance)})

    def _signs(self, _: Platform) -> None:
        """The authority, made up: a certificate of 90 days, or what is wrong."""
        self.asked.append(self.now)
        wrong = self.signs.pop(0) if self.signs else None
        if wrong is not None:
            raise wrong
        certificate.install(self.instance, *signed(self.now))

    def at(self, **later: float) -> int:
        """Looks so much later than NOW; how often the authority was asked until then."""
        self.now = NOW + timedelta(**later)
        self.made.look(self.now)
        return len(self.asked)

    def measured(self) -> dict[str, float]:
        return {s.labels["at"]: s.value for family in self.metrics.registry.collect()
                for s in family.samples if s.name == "reconciler_certificate_timestamp_seconds"}


def signed(begins: datetime, days: float = 90) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    made = (x509.CertificateBuilder().subject_name(name("app.iw.test"))
            .issuer_name(name("An authority")).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=days)).add_extension(
                x509.SubjectAlternativeName([x509.DNSName(n) for n in NAMES]), critical=False)
            .sign(key, hashes.SHA256()))
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()), made.public_bytes(
                                 serialization.Encoding.PEM)


def test_a_placeholder_serves_until_the_first_is_signed_and_it_is_renewed_in_its_last_third(
        instance):
    house = House(instance, Tls("acme"))
    assert certificate.current(instance).is_signed is False
    assert house.made.as_json()["ends"] is None
    assert house.at() == 1 and certificate.current(instance).names == set(NAMES)
    assert house.measured() == {"ends": (NOW + timedelta(days=90)).timestamp(),
                                "overdue": (NOW + timedelta(days=75)).timestamp()}
    assert house.at(days=59.9) == 1
    assert house.at(days=60.1) == 2 and house.at(days=60.2) == 2
    assert house.events == [("CertificateSigned", "the edge has a new certificate")] * 2
    shown = house.made.as_json()
    assert shown["signed_by"] == "CN=An authority" and shown["problem"] == ""
    key = instance.data / "data/edge/tls/key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_failure_is_told_and_tried_again_after_longer_and_longer(instance):
    house = House(instance, Tls("acme"))
    house.signs = [errors.TimeoutError("no answer"), *[OSError("away")] * 9]
    assert house.at() == 1 and house.events[0] == (
        "CertificateFailed", "the certificate was not signed: no answer")
    assert house.measured() == {"ends": 0, "overdue": 0}
    for minutes, times in ((0.9, 1), (1.1, 2), (5, 2), (5.2, 3), (21, 3), (21.3, 4), (85, 4),
                           (86, 5), (340, 5), (343, 6), (343 + 359, 6), (343 + 361, 7)):
        assert house.at(minutes=minutes) == times, minutes
    again = Certificates(house.made._r)
    assert again.as_json()["problem"] == "away", "and another process knows"
    house.signs = []
    house.made.renew()
    assert house.at(minutes=705) == 8, "at once, when somebody asks"
    assert house.made.as_json()["problem"] == ""


def test_another_authority_or_other_names_are_asked_for(instance):
    house = House(instance, Tls("acme", "staging"))
    assert house.at() == 1
    house.made._r.book.platform = Platform(images={}, tls=Tls("acme"))
    assert house.at(hours=1) == 2 and house.at(hours=2) == 2
    key, chain = signed(NOW)
    certificate.install(instance, key, chain)
    house.made._instance = Instance(id="0badcafe", data=instance.data, ports=instance.ports,
                                    domain="other.test")
    assert house.at(hours=3) == 3


def test_the_edge_s_own_authority_asks_nobody(instance):
    house = House(instance, Tls())
    assert house.at() == 0 and house.measured() == {}
    assert house.made.as_json()["issuer"] == "internal"
    with pytest.raises(ReconcilerError, match="iw tls set acme"):
        house.made.renew()
    local = Instance(id="0badcafe", data=instance.data, ports=instance.ports)
    assert "tls" not in edge_config(local, Tls("acme"))["apps"], "localhost speaks http"


def test_files_that_are_gone_are_a_placeholder_again(instance):
    house = House(instance, Tls("acme"))
    house.at()
    kind, inputs = CertificateFiles(instance), {"names": NAMES}
    assert kind.read("edge", inputs) == inputs
    (instance.data / "data/edge/tls/key.pem").unlink()
    assert kind.read("edge", inputs) is None
    kind.create(inputs)
    assert certificate.current(instance).is_signed is False and house.at(hours=1) == 2
    kind.delete("edge", inputs)
    assert certificate.current(instance).is_signed
