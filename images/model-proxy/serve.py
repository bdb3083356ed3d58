"""Starts the model proxy: the gate, and LiteLLM behind it. Settings: the environment, once."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from itertools import count
from pathlib import Path

import uvicorn
import yaml
from gate import App, Gate, Price
from ledger import Ledger, Unavailable

INNER_KEY = f"sk-{secrets.token_urlsafe(32)}"
CONFIG = os.environ.get("IW_CONFIG", "/etc/model_proxy/config.yaml")
DEMO = "openai/demo"
SUMS_EVERY_S = 5
KEEP_CALLS_S = 90 * 86400.0
log = logging.getLogger("model-proxy")


def prices(config: str) -> dict[str, Price]:
    """By model, from the same file that LiteLLM reads."""
    listed = yaml.safe_load(Path(config).read_text())["model_list"]
    return {model["model_name"]: Price(
        info["input_cost_per_token"], info["output_cost_per_token"], info["max_input_tokens"],
        info["max_output_tokens"]) for model in listed for info in [model["model_info"]]}


def demos(config: str) -> frozenset[str]:
    """The models that are the demo model."""
    listed = yaml.safe_load(Path(config).read_text())["model_list"]
    return frozenset(model["model_name"] for model in listed
                     if model["litellm_params"]["model"] == DEMO)


def litellm() -> App:
    """LiteLLM's application. To load it takes seconds and some 350 MB, so that it is loaded only
    where a provider is behind a model. It reads the environment when it is imported."""
    os.environ |= {"CONFIG_FILE_PATH": CONFIG, "LITELLM_MASTER_KEY": INNER_KEY,
                   "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
                   "DISABLE_ADMIN_UI": "True", "NO_DOCS": "True", "NO_REDOC": "True"}
    from litellm.proxy.proxy_server import app
    return app


async def tidy(ledger: Ledger) -> None:
    """Keeps the sums every SUMS_EVERY_S seconds, and ends and forgets old calls every minute."""
    for seconds in count(SUMS_EVERY_S, SUMS_EVERY_S):
        await asyncio.sleep(SUMS_EVERY_S)
        try:
            await asyncio.to_thread(ledger.keep_sums)
            if seconds % 60 == 0:
                await asyncio.to_thread(ledger.expire, time.time())
                await asyncio.to_thread(ledger.forget, time.time() - KEEP_CALLS_S)
        except Unavailable as error:
            log.error("%s", error)


async def main(inner: App | None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    ledger = Ledger(os.environ.get("IW_LEDGER", "/data/ledger.db"))
    lost = ledger.expire(time.time(), 0.0)  # nothing runs yet: whatever is open was cut off
    if lost:
        log.warning("%d calls were cut off by the last stop; they count in full", lost)
    gate = Gate(inner, Path(os.environ.get("IW_KEYS", "/etc/model_proxy/keys")), ledger,
                prices(CONFIG), INNER_KEY, demos(CONFIG))
    server = uvicorn.Server(uvicorn.Config(
        gate, host=os.environ.get("IW_HOST", "127.0.0.1"), port=int(os.environ["IW_PORT"]),
        log_level="warning", access_log=False, proxy_headers=False, server_header=False,
        lifespan="on" if inner else "off", timeout_graceful_shutdown=20))
    tidying = asyncio.create_task(tidy(ledger))
    await server.serve()
    tidying.cancel()
    ledger.close()


asyncio.run(main(litellm() if prices(CONFIG).keys() - demos(CONFIG) else None))
