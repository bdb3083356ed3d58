"""Pebble, Let's Encrypt's own server for tests of ACME clients."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import free_ports
from tests.e2e.house import until
from tools import machine


@dataclass
class Pebble:
    """`authority`: the file that its own server is trusted by."""

    process: subprocess.Popen[bytes]
    directory: str
    management: str
    authority: Path

    def root(self) -> str:
        """The certificate that signs what it signs, at its end."""
        return requests.get(f"{self.management}/roots/0", verify=False, timeout=5).text

    def signer(self) -> str:
        return requests.get(f"{self.management}/intermediates/0", verify=False, timeout=5).text


@contextmanager
def pebble(folder: Path, dns: str, lifetime_s: int = 86_400) -> Iterator[Pebble]:
    """One that asks the DNS server at `dns` for proofs. `lifetime_s`: of what it signs."""
    ports = free_ports()
    own_certificate(folder)
    (folder / "config.json").write_text(json.dumps({"pebble": {
        "listenAddress": f"127.0.0.1:{ports['app']}",
        "managementListenAddress": f"127.0.0.1:{ports['edge']}",
        "certificate": str(folder / "server.pem"), "privateKey": str(folder / "key.pem"),
        "httpPort": 5002, "tlsPort": 5001, "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": lifetime_s,
        "profiles": {"default": {"description": "short", "validityPeriod": lifetime_s}}}}))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [machine.pebble(), "-config", str(folder / "config.json"), "-dnsserver",
         dns], stdout=log, stderr=log,
        env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5"})
    made = Pebble(process, f"https://127.0.0.1:{ports['app']}/dir",
                  f"https://127.0.0.1:{ports['edge']}", folder / "server.pem")
    try:
        until(lambda: listens(ports["app"]), "Pebble listens", 30)
        yield made
    finally:
        process.kill()
        process.wait()
        log.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def own_certificate(folder: Path) -> None:
    """Of Pebble's own server, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pebble")])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(1).not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
                           critical=False).sign(key, hashes.SHA256()))
    (folder / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
