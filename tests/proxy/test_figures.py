"""The proxy's figures are for its own host alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "model-proxy"))
import figures
from gate import Gate


def asked(tmp_path: Path, address: str) -> tuple[int, bytes]:
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    gate = Gate(None, tmp_path, None, {}, "sk-inner")
    asyncio.run(gate({"type": "http", "path": "/metrics", "method": "GET", "headers": [],
                      "client": (address, 1)}, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize("address", ["10.192.0.2", "203.0.113.7", "::ffff:10.192.0.2"])
def test_an_employee_is_told_nothing(tmp_path, address):
    status, body = asked(tmp_path, address)
    assert status == 401 and b"model_proxy" not in body


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_prometheus_is_told_how_calls_ended(tmp_path, address):
    for status in (200, 429, 499):
        figures.ended("default", status, 1.5)
    status, body = asked(tmp_path, address)
    assert status == 200
    for result in ("answered", "failed", "cut off"):
        assert f'model_proxy_calls_total{{model="default",result="{result}"}}'.encode() in body
