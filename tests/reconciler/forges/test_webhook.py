"""Only the secret proves that a message is the forge's. The values are of GitHub's own page:
https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat

import pytest

from reconciler.forges.webhook import ForgedError, verify, webhook_secret
from state_repo.forge import ForgeAddress
from state_repo.instance import Instance

URL = "https://git.example.com"
GITHUB, GITLAB, GITEA, FORGEJO = (
    ForgeAddress(kind, URL, "acme/state") for kind in ("github", "gitlab", "gitea", "forgejo"))
KEY = base64.b64encode(b"k" * 32).decode()


def signed(body: bytes, secret: str = "s") -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_githubs_own_example():
    verify(GITHUB, "It's a Secret to Everybody", {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b0"
                               "43e17"}, b"Hello, World!")


@pytest.mark.parametrize(("address", "header", "prefix"), [
    (GITHUB, "x-hub-signature-256", "sha256="), (GITEA, "x-gitea-signature", ""),
    (FORGEJO, "x-forgejo-signature", "")])
def test_another_body_secret_or_header_proves_nothing(address, header, prefix):
    verify(address, "s", {header: prefix + signed(b"{}")}, b"{}")
    for secret, headers, body in (
            ("s", {header: prefix + signed(b"{}")}, b"{ }"),
            ("t", {header: prefix + signed(b"{}")}, b"{}"),
            ("s", {}, b"{}"), ("s", {header: ""}, b"{}"), ("s", {header: "ü"}, b"{}"),
            ("", {header: prefix + signed(b"{}", "")}, b"{}"),
            ("s", {"x-gitlab-token": "s"}, b"{}")):
        with pytest.raises(ForgedError):
            verify(address, secret, headers, body)


def test_gitlabs_secret_token():
    verify(GITLAB, "s", {"x-gitlab-token": "s"}, b"{}")
    for token in ("", "t", "s "):
        with pytest.raises(ForgedError):
            verify(GITLAB, "s", {"x-gitlab-token": token}, b"{}")


def test_gitlabs_signing_token_counts_before_the_secret_token():
    secret, now = f"whsec_{KEY}", 1_700_000_000.0

    def headers(body: bytes, at: int = 1_700_000_000, id: str = "m1") -> dict[str, str]:
        right = hmac.new(b"k" * 32, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        return {"webhook-id": "m1", "webhook-timestamp": str(at), "x-gitlab-token": secret,
                "webhook-signature": f"v1,AAAA v1,{base64.b64encode(right).decode()}"}
    verify(GITLAB, secret, headers(b"{}"), b"{}", now)
    for given in (headers(b"{ }"), headers(b"{}", at=1_699_999_000), headers(b"{}", id="m2"),
                  headers(b"{}") | {"webhook-timestamp": "soon"}):
        with pytest.raises(ForgedError):
            verify(GITLAB, secret, given, b"{}", now)
    with pytest.raises(ForgedError):
        verify(GITLAB, "no key", headers(b"{}"), b"{}", now)


def test_the_secret_is_made_once_and_is_nobody_elses(tmp_path):
    instance = Instance(id="0badcafe", data=tmp_path)
    made = webhook_secret(instance)
    assert made == webhook_secret(instance) and len(base64.b64decode(made[6:])) == 32
    mode = (instance.secrets_path / "forge-webhook").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
