"""The edge's certificate where a public authority signs it: two files that the edge reads, and a
placeholder that is there until the first one is had. Who has it signed is the reconciler
(`reconciler.certificates`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stacks.edge import reload
from stacks.edge_config import CERTIFICATE, KEY
from stacks.providers.servicer import Inputs, Kind
from state_repo.files import write_secret
from state_repo.instance import Instance

UID = 10002  # the edge's
_FOLDER = "data/edge/tls"
_NOT_YET = "InstantWorker: not certified yet"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the edge shows. `is_signed`: by an authority, and no placeholder."""

    names: frozenset[str]
    begins: datetime
    ends: datetime
    issuer: str
    is_signed: bool

    @property
    def overdue(self) -> datetime:
        """From then on half of the time for its renewal is over."""
        return self.ends - (self.ends - self.begins) / 6

    def is_due(self, now: datetime) -> bool:
        """Whether the last third of its time has begun."""
        return now >= self.ends - (self.ends - self.begins) / 3


def current(instance: Instance) -> Certificate | None:
    """What is there; None: nothing that can be read."""
    try:
        made = x509.load_pem_x509_certificates(_path(instance, CERTIFICATE).read_bytes())[0]
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        issuer = made.issuer.rfc4514_string()
        return Certificate(frozenset(names.get_values_for_type(x509.DNSName)),
                           made.not_valid_before_utc, made.not_valid_after_utc, issuer,
                           _NOT_YET not in issuer)
    except (OSError, ValueError, IndexError, x509.ExtensionNotFound):
        return None


def request(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A new key, and a request for a certificate with these names; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(
        _alternatives(names), critical=False).sign(key, hashes.SHA256())
    return _pem(key), made.public_bytes(serialization.Encoding.PEM)


def install(instance: Instance, key: bytes, chain: bytes) -> None:
    """Gives the edge a certificate, and has it read it. Raises UnreachableError: it does not
    answer; it reads it when it starts."""
    _write(instance, key, chain)
    reload(instance)


class CertificateFiles(Kind):
    """`names`: what the certificate is for."""

    token = "instantworker:edge:Certificate"
    properties = frozenset({"names"})
    in_place = frozenset({"names"})

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def create(self, inputs: Inputs) -> str:
        if current(self._instance) is None or not _path(self._instance, KEY).exists():
            _write(self._instance, *_placeholder(inputs["names"]))
        return "edge"

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        found = current(self._instance)
        return inputs if found and _path(self._instance, KEY).exists() else None

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        """Its new names are asked for by whoever has it signed; until then the old one serves."""

    def delete(self, id: str, inputs: Inputs) -> None:
        """Kept: to have one signed again counts at the authority."""


def _placeholder(names: Sequence[str]) -> tuple[bytes, bytes]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NOT_YET)])
    made = (x509.CertificateBuilder().subject_name(who).issuer_name(who)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=3650))
            .add_extension(_alternatives(names), critical=False).sign(key, hashes.SHA256()))
    return _pem(key), made.public_bytes(serialization.Encoding.PEM)


def _alternatives(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _write(instance: Instance, key: bytes, chain: bytes) -> None:
    """The key first: an edge that is started between the two shows the old one's error at most
    until the reload."""
    folder = instance.data / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(folder, UID, UID)
    for name, content in ((KEY, key), (CERTIFICATE, chain)):
        path = _path(instance, name)
        write_secret(path, content.decode())
        os.chown(path, UID, UID)


def _path(instance: Instance, inside: str) -> Path:
    """Of a file that the edge knows by another name: its /data is our data/edge."""
    return instance.data / _FOLDER / Path(inside).name
