"""One question to a model, asked the way employees ask: through the model proxy, with a key of its
own that lives as long as the question."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from typing import Any

from reconciler import ReconcilerError
from stacks.identity import key_name
from stacks.model_keys import ModelKey
from stacks.secret_files import existing
from state_repo.documents import OfferedModel, Platform
from state_repo.instance import Instance

WHO = "model-test"  # whose spending it is, in the ledger
QUESTION = "In one short sentence: what can you help a company with?"
PATIENCE_S = 90.0
_MOST_TOKENS = 300


def ask(instance: Instance, platform: Platform, name: str, question: str = QUESTION
        ) -> dict[str, Any]:
    """`answer`, `seconds`, `tokens_in`, `tokens_out`, `usd`; or `problem`: what is wrong, in words.
    And `model`: what the provider was asked for.

    Raises:
        ReconcilerError: no such model is offered.
    """
    offered = platform.models.get(name)
    if offered is None:
        raise ReconcilerError(f"platform.yaml offers no model {name!r}; it offers "
                              f"{', '.join(sorted(platform.models))}")
    told: dict[str, Any] = {"name": name, "model": offered.model}
    version = secrets.randbelow(10**9)
    grant = {"employee": WHO, "customer": WHO, "subnet": "127.0.0.0/8", "version": version,
             "models": [name], "monthlyBudgetUsd": 1_000.0, "requestsPerMinute": 60}
    keys = ModelKey(instance)
    made = keys.create(grant)
    began = time.monotonic()
    try:
        status, said = _post(instance, existing(instance, key_name(WHO, version)), {
            "model": name, "max_tokens": _MOST_TOKENS,
            "messages": [{"role": "user", "content": question}]})
    except (OSError, http.client.HTTPException) as error:
        away = "did not answer in time" if isinstance(error, TimeoutError) else "is away"
        return told | {"problem": f"the model proxy {away} ({error}); `iw doctor` says more"}
    finally:
        keys.delete(made, grant)
    seconds = round(time.monotonic() - began, 2)
    if status != 200:
        return told | {"seconds": seconds, "problem": _problem(instance, offered, status, said)}
    usage = said.get("usage") or {}
    sent, got = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    message = (said.get("choices") or [{}])[0].get("message") or {}
    return told | {
        "answer": str(message.get("content") or "").strip(), "seconds": seconds,
        "tokens_in": sent, "tokens_out": got, "usd": round(
            sent * offered.input_usd_per_million / 1e6
            + got * offered.output_usd_per_million / 1e6, 6)}


def _post(instance: Instance, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", instance.ports["model_proxy"],
                                            timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        said = json.loads(text)
    except ValueError:
        said = {"error": {"message": text[:300].decode(errors="replace")}}
    return answer.status, said if isinstance(said, dict) else {}


def _problem(instance: Instance, offered: OfferedModel, status: int, said: dict[str, Any]) -> str:
    """What is wrong and what to do; with the provider's own words, without its key."""
    error = said.get("error")
    words = " ".join(str(error.get("message") if isinstance(error, dict) else error).split())
    if offered.secret:
        path = instance.secrets_path / offered.secret
        key = path.read_text().strip() if path.exists() else ""
        if key:
            words = words.replace(key, "…")
    where = offered.api_base or "the provider"
    if status == 401:
        told = (f"{where} refuses the key" if offered.secret else f"{where} wants a key, and "
                "platform.yaml names none (models.*.secret)")
        told += f"; put a good one into <data>/secrets/{offered.secret}" if offered.secret else ""
    elif status == 404:
        told = f"{where} knows no {offered.model!r}; see its list of models"
    elif status == 429:
        told = f"{where} takes no more calls now, or the account has no credit left"
    elif status in (402, 403):
        told = f"{where} does not let this account use {offered.model!r}"
    elif status >= 500:
        told = f"{where} can't be reached, or failed"
    else:
        told = f"{where} does not take the question"
    return f"{told} (status {status}: {words[:300]})"
