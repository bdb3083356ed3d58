"""The pack by itself: a process that serves Pulumi's analyzer protocol, as the engine starts it."""

from __future__ import annotations

import os
import subprocess
import sys

import grpc
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policies import pack
from state_repo import changes
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.store import Author, Store
from tests.conftest import ROOT
from tests.policies.test_resources import GOOD


def analyze(port: int, instance: Instance, props: dict) -> list[str]:
    labels = [{"label": "instantworker.instance", "value": instance.id},
              {"label": "instantworker.customer", "value": "acme"}]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = analyzer_pb2.AnalyzeRequest(
            type="docker:index/container:Container", name="x",
            urn="urn:pulumi:customer-acme::instantworker::docker:index/container:Container::x")
        request.properties.update(GOOD | {"labels": labels, "mounts": []} | props)
        answer = analyzer_pb2_grpc.AnalyzerStub(channel).Analyze(request, timeout=20)
    return [d.message for d in answer.diagnostics]


def test_the_pack_runs_by_itself_with_the_same_rules(tmp_path):
    instance = Instance(id="0badcafe", data=tmp_path)
    instance.save()
    store, setup = Store.open_or_create(instance), Author("S", "s@iw.test")
    image = f"iw/employee@sha256:{'a' * 64}"
    changes.set_platform(store, setup, "P", lambda _: Platform(images={"employee": image}))
    process = subprocess.Popen(
        [sys.executable, "-m", "policies.pack", "127.0.0.1:1", "."], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, env=os.environ | {"IW_DATA": str(tmp_path)})
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert analyze(port, instance, {}) == []
        (message,) = analyze(port, instance, {"readOnly": False})
        assert "[read-only] readOnly must be true" in message
    finally:
        process.kill()
        process.wait()


def test_the_hosted_pack_answers_the_same(tmp_path):
    instance = Instance(id="0badcafe", data=tmp_path)
    hosted = pack.HostedPack(lambda stack: pack.tenant_of(instance, stack, ()))
    try:
        launcher = hosted.write_launcher(tmp_path / "launch")
        process = subprocess.Popen([str(launcher)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert int(process.stdout.readline()) == hosted.port
        process.kill()
        process.wait()
        (message,) = analyze(hosted.port, instance, {"user": "root"})
        assert "[user] user must be set, and not root" in message
    finally:
        hosted.stop()
