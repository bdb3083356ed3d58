"""LiteLLM's configuration, as a pure function of what the platform offers.

Providers' keys stand here by reference alone; the file that holds them is the proxy's own, and no
container of an employee can see it.
"""

from __future__ import annotations

from typing import Any

import yaml

from stacks.identity import WARM_MODEL
from stacks.secret_files import reference
from state_repo.documents import OfferedModel, Platform

DEMO = "openai/demo"  # what the gate answers itself (images/model-proxy/demo.py)


def config(platform: Platform) -> str:
    offered = {**platform.models, WARM_MODEL: OfferedModel()}
    return yaml.safe_dump({
        "model_list": [_model(name, model) for name, model in sorted(offered.items())],
        "litellm_settings": {"drop_params": True, "num_retries": 0, "request_timeout": 600,
                             "telemetry": False},
        "general_settings": {"disable_spend_logs": True},
        # One employee's failure must not close a model to everybody for seconds.
        "router_settings": {"disable_cooldowns": True},
    }, sort_keys=False, width=1000)


def _model(name: str, model: OfferedModel) -> dict[str, Any]:
    if model.model == "demo":
        parameters: dict[str, Any] = {"model": DEMO, "api_key": "none", "mock_response": "demo"}
    else:
        parameters = {"model": model.model}
        if model.secret:
            parameters["api_key"] = reference(model.secret)
        if model.api_base:
            parameters["api_base"] = model.api_base
    price = {"input_cost_per_token": model.input_usd_per_million / 1e6,
             "output_cost_per_token": model.output_usd_per_million / 1e6}
    return {"model_name": name, "litellm_params": parameters | price,
            "model_info": price | {"max_input_tokens": model.context_tokens,
                                   "max_output_tokens": model.max_output_tokens,
                                   "max_tokens": model.max_output_tokens}}
