"""A forge's messages: only the signature over the raw body says who sends them.

What they say is not believed further than that something changed: it is looked up.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping

from reconciler import ReconcilerError
from stacks.secret_files import existing
from state_repo.files import write_secret
from state_repo.forge import WEBHOOK_SECRET, ForgeAddress
from state_repo.instance import Instance

_PREFIX = "whsec_"  # so that it also is a key in the form of https://www.standardwebhooks.com
_TOLERANCE_S = 300.0


class ForgedError(ReconcilerError):
    """The message proves nothing."""


def webhook_secret(instance: Instance) -> str:
    """What both sides know; made at first use. Raises StackError: it is empty."""
    path = instance.secrets_path / WEBHOOK_SECRET
    if not path.exists():
        write_secret(path, _PREFIX + base64.b64encode(os.urandom(32)).decode(), replace=False)
    return existing(instance, WEBHOOK_SECRET)


def verify(address: ForgeAddress, secret: str, headers: Mapping[str, str], body: bytes,
           now: float | None = None) -> None:
    """Raises ForgedError. `headers`: by their names in small letters.

    GitHub: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
    Gitea and Forgejo: X-Gitea-Signature and X-Forgejo-Signature, the same without `sha256=`.
    GitLab: https://docs.gitlab.com/user/project/integrations/webhooks: the signing token's
    signature where there is one, else the secret token itself.
    """
    if not secret:
        raise ForgedError("there is no secret to prove it by")
    if address.kind == "gitlab":
        if "webhook-signature" in headers:
            _standard(secret, headers, body, time.time() if now is None else now)
        elif not _same(headers.get("x-gitlab-token", ""), secret):
            raise ForgedError("X-Gitlab-Token is not the secret")
        return
    given = headers.get("x-hub-signature-256", "").removeprefix("sha256=") if (
        address.kind == "github") else headers.get(
            "x-forgejo-signature", headers.get("x-gitea-signature", ""))
    if not _same(given, hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()):
        raise ForgedError("the signature does not match")


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        age = abs(now - int(at))
    except (binascii.Error, ValueError) as error:
        raise ForgedError("the secret or the time of the message can't be read") from error
    if age > _TOLERANCE_S:
        raise ForgedError(f"the message is {age:.0f} s away from this machine's clock")
    right = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    wanted = f"v1,{base64.b64encode(right).decode()}"
    if not any(_same(one, wanted) for one in headers["webhook-signature"].split()):
        raise ForgedError("the signature does not match")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
