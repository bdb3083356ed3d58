"""Certificates of a public authority, from Pebble, Let's Encrypt's own server for tests: wildcards,
proved in our own DNS; renewed; and told when they are not."""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from cryptography import x509

from stacks import certificate
from state_repo.documents import Dns
from tests.conftest import ROOT, docker, light_platform, new_instance
from tests.e2e import authority
from tests.e2e.authority import Pebble
from tests.e2e.house import House, standing, until
from tests.e2e.work import chromium, signed_in

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1800)]
DOMAIN, LIFETIME_S = "iw.test", 240  # long enough for a second attempt at a renewal


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str
          ) -> Iterator[House]:
    data: Path = tmp_path_factory.mktemp("house")
    data.chmod(0o755)
    # As in production: the usual ports, on an address that no other copy has.
    instance = new_instance(data, DOMAIN)
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.1"
    instance = replace(instance, bind=address, ports=instance.ports | {"edge": 443})
    instance.save()
    platform = light_platform(images, instance)
    made = House(instance, replace(platform, dns=Dns(listen=(f"{address}:53",))))
    made.customer("acme", 3)
    with standing(made):
        yield made


@pytest.fixture(scope="module")
def pebble(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with authority.pebble(tmp_path_factory.mktemp("pebble"), f"{house.instance.bind}:53",
                          LIFETIME_S) as made:
        yield made


def shown(house: House, name: str, root: str) -> int:
    """The serial number of the certificate that the edge shows for a name; it is verified by the
    authority's root, as a browser that knows it would."""
    trust = ssl.create_default_context(cadata=root)
    edge = house.instance.bind, house.instance.ports["edge"]
    with (socket.create_connection(edge, timeout=5) as raw,
          trust.wrap_socket(raw, server_hostname=name) as speaking):
        found = speaking.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(found or b"").serial_number


def iw(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "iw"), "--data", str(house.instance.data), *arguments],
                          capture_output=True, text=True, check=False)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_wildcards_are_signed_used_and_renewed_and_a_failure_is_told(house: House, pebble: Pebble):
    done = iw(house, "tls", "set", "acme", "--directory", pebble.directory, "--trusted",
              str(pebble.authority), "--email", "ops@iw.test")
    assert done.returncode == 0, done.stderr
    until(lambda: house.iw("tls", "show", check=False).get("ends"), "it is signed", 120, house)
    pulse, root = house.hire("acme", "Pulse"), pebble.root()
    first = shown(house, house.instance.app_host, root)
    assert first == shown(house, house.instance.chat_host(pulse), root)
    assert first == shown(house, house.instance.browser_host(pulse), root)
    assert docker("exec", house.instance.platform_container("edge"), "stat", "-c", "%U%a",
                  "/data/tls/key.pem") == ["UNKNOWN600"]
    assert house.instance.app_url == "https://app.iw.test"
    with chromium(DOMAIN, pebble.signer(), house.instance.bind) as browser:
        visitor = signed_in(house, browser)
        visitor.page.goto(house.instance.app_url)
        visitor.shot("certified")
        visitor.context.close()
    left = subprocess.run(["dig", "+short", f"@{house.instance.bind}",
                           f"_acme-challenge.app.{DOMAIN}", "TXT"], capture_output=True, text=True,
                          check=True).stdout
    assert left == "", "the proof is taken out of the zone again"

    # By itself, in the last third of its time; then when somebody asks.
    second = until(lambda: (now := shown(house, house.instance.app_host, root)) != first and now,
                   "it is renewed by itself", LIFETIME_S, house)
    done = iw(house, "tls", "renew")
    assert done.returncode == 0 and "Signed by" in done.stdout, done.stdout + done.stderr
    assert shown(house, house.instance.app_host, root) not in (first, second)
    assert house.is_synced() and house.drift() == []

    # The authority is away.
    pebble.process.kill()
    done = iw(house, "tls", "renew")
    assert done.returncode == 1 and "refused" in done.stderr, done.stdout + done.stderr
    assert iw(house, "tls", "show").returncode == 1
    assert any("was not signed" in text for text in house.events("CertificateFailed"))
    shown(house, house.instance.app_host, root)  # what there is goes on serving
    (found,) = (f for f in json.loads(iw(house, "doctor", "--json").stdout)
                if f["name"] == "certificate")
    assert found["result"] == "fail"
    metrics = requests.get(f"http://127.0.0.1:{house.instance.ports['reconciler']}/metrics",
                           timeout=5).text
    (ends,) = re.findall(r'^reconciler_certificate_timestamp_seconds{at="ends"} (.*)$', metrics,
                         re.MULTILINE)
    assert float(ends) == certificate.current(house.instance).ends.timestamp()

    until(lambda: "CertificateExpiring" in {
        a["name"] for a in house.iw("alert", "list")["firing"]},
        "and somebody is woken, ten minutes later", 1000, house)
