"""The real model proxy in its container, against a fake provider."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from reconciler import ReconcilerError, models
from stacks.model_keys import FOLDER
from stacks.model_proxy import config
from stacks.secret_files import resolved
from state_repo.documents import OfferedModel, Platform
from tests.conftest import docker, new_instance
from tests.fake_provider import KEY, FakeProvider

pytestmark = pytest.mark.parts
# The fake answers with 100 + 50 tokens: 0.2 USD a call at these prices.
OFFERED = {"default": OfferedModel("openai/scripted", "provider-key", input_usd_per_million=1000,
                                   output_usd_per_million=2000, context_tokens=2000,
                                   max_output_tokens=100),
           "demo": OfferedModel(), "other": OfferedModel()}
COST = 100 * 0.001 + 50 * 0.002


class Proxy:
    """The container, with helpers to give keys and to call."""

    def __init__(self, folder: Path, image: str, provider: FakeProvider,
                 offered: dict[str, OfferedModel] = OFFERED) -> None:
        self.instance = new_instance(folder)
        self.name = f"{self.instance.prefix}-model-proxy"
        self.url = f"http://127.0.0.1:{self.instance.ports['model_proxy']}"
        self.image, self.keys, self.data = image, folder / FOLDER, folder / "data"
        self.instance.secrets_path.mkdir()
        (self.instance.secrets_path / "provider-key").write_text(KEY)
        models = {name: m if m.model == "demo" else OfferedModel(
            m.model, m.secret, provider.url, m.input_usd_per_million, m.output_usd_per_million,
            m.context_tokens, m.max_output_tokens) for name, m in offered.items()}
        self.config = folder / "config.yaml"
        self.config.write_text(resolved(self.instance, config(Platform(images={}, models=models))))
        for made in (self.keys, self.data):
            made.mkdir(parents=True)
            subprocess.run(["chown", "10005:10005", str(made)], check=True)
        folder.chmod(0o755)
        self.config.chmod(0o444)

    def start(self) -> None:
        docker("run", "-d", "--name", self.name, "--network", "host", "--read-only", "--user",
               "10005:10005", "--cap-drop", "ALL", "--tmpfs", "/tmp:rw,noexec,nosuid,mode=1777",
               "--label", f"instantworker.instance={self.instance.id}", "--env",
               f"IW_PORT={self.instance.ports['model_proxy']}", "-v",
               f"{self.config}:/etc/model_proxy/config.yaml:ro", "-v",
               f"{self.keys}:/etc/model_proxy/keys:ro", "-v", f"{self.data}:/data",
               self.image.partition("@")[2])
        end = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{self.url}/healthz", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            state = docker("inspect", "-f", "{{.State.Running}}", self.name)
            assert state == ["true"] and time.monotonic() < end, subprocess.run(
                ["docker", "logs", "--tail", "30", self.name], capture_output=True, text=True,
                check=False)
            time.sleep(0.2)

    def key(self, name: str = "pulse", **fields) -> str:
        key = f"iw-key-{name}"
        path = self.keys / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        path.write_text(json.dumps({
            "employee": name, "customer": "acme", "models": ["default", "demo"],
            "monthly_budget_usd": 100.0, "customer_monthly_budget_usd": None,
            "requests_per_minute": 1000, "subnet": "127.0.0.0/8"} | fields))
        path.chmod(0o444)
        return key

    def revoke(self, key: str) -> None:
        (self.keys / f"{hashlib.sha256(key.encode()).hexdigest()}.json").unlink()

    def chat(self, key: str, text: str = "SAY hello there", *, model: str = "default",
             stream: bool = False, **more) -> requests.Response:
        return requests.post(f"{self.url}/v1/chat/completions", timeout=30, stream=stream, headers={
            "Authorization": f"Bearer {key}"}, json={
                "model": model, "messages": [{"role": "user", "content": text}], "stream": stream,
                **more})

    def spent(self, scope: str) -> tuple[float, float]:
        with sqlite3.connect(self.data / "ledger.db") as db:
            row = db.execute("SELECT settled_usd, reserved_usd FROM spend WHERE scope = ?",
                             (scope,)).fetchone()
        return row or (0.0, 0.0)

    def settled(self, scope: str) -> float:
        """What was spent, once nothing is reserved any more."""
        end = time.monotonic() + 10
        while self.spent(scope)[1] > 1e-9 and time.monotonic() < end:
            time.sleep(0.05)
        return self.spent(scope)[0]


def shown(folder: Path) -> Path:
    """The folder, with the rights that a container's own user needs to look into it."""
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    made = FakeProvider()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _well_again(provider) -> Iterator[None]:
    """What a test has the provider do ends with the test, however that ends."""
    yield
    provider.fail_with, provider.pause_s = None, 0.0
    provider.prompt_tokens, provider.completion_tokens = 100, 50


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, images, provider) -> Iterator[Proxy]:
    made = Proxy(shown(tmp_path_factory.mktemp("proxy")), images["model-proxy"], provider)
    made.start()
    yield made
    docker("rm", "-f", made.name)


def test_an_answer_is_paid_for(proxy, provider):
    key = proxy.key("payer")
    said = proxy.chat(key)
    assert said.json()["choices"][0]["message"]["content"] == "(scripted) hello there"
    assert proxy.settled("employee:payer") == pytest.approx(COST)
    assert provider.requests[-1]["max_tokens"] == 100, "clamped to what was reserved"
    with proxy.chat(key, stream=True, max_tokens=5) as streamed:
        text = streamed.text
    assert "hello" in text and text.strip().endswith("[DONE]")
    assert provider.requests[-1]["max_tokens"] == 5
    assert proxy.settled("employee:payer") == pytest.approx(2 * COST)


def test_the_demo_model_says_that_it_is_one_and_costs_nothing(proxy):
    key = proxy.key("demo")
    said = proxy.chat(key, model="demo").json()["choices"][0]["message"]["content"]
    assert said.startswith("This is the demo model")
    assert "[DONE]" in proxy.chat(key, model="demo", stream=True).text
    assert proxy.settled("employee:demo") == 0


def test_where_no_provider_is_behind_any_model_litellm_is_not_loaded(
        tmp_path_factory, images, provider):
    made = Proxy(shown(tmp_path_factory.mktemp("alone")), images["model-proxy"], provider,
                 {"default": OfferedModel()})
    try:
        made.start()
        said = made.chat(made.key("alone")).json()["choices"][0]["message"]["content"]
        assert said.startswith("This is the demo model")
        (process,) = docker("inspect", "-f", "{{.State.Pid}}", made.name)
        assert "pydantic" not in Path(f"/proc/{process}/maps").read_text()
        assert made.settled("employee:alone") == 0
    finally:
        docker("rm", "-f", made.name)


@pytest.mark.parametrize("fields, key, status", [
    ({}, "iw-nobody", 401), ({}, "../../config", 401), ({}, "", 401),
    ({"subnet": "10.9.0.0/24"}, None, 403), ({"models": ["other"]}, None, 403)])
def test_who_may_not_is_refused(proxy, fields, key, status):
    made = proxy.key("strange", **fields)
    answer = proxy.chat(made if key is None else key)
    assert answer.status_code == status and answer.json()["error"]["message"]


def test_its_figures_name_models_and_nobody_else(proxy):
    assert proxy.chat(proxy.key("counted")).ok
    told = requests.get(f"{proxy.url}/metrics", timeout=10).text
    assert 'model_proxy_calls_total{model="default",result="answered"}' in told
    assert 'model_proxy_call_duration_seconds_count{model="default"}' in told
    assert "counted" not in told and KEY not in told


@pytest.mark.parametrize("path", [
    "/model/info", "/v1/model/info", "/health", "/health/readiness", "/key/generate", "/key/info",
    "/spend/logs", "/config/yaml", "/openapi.json", "/", "/v1/embeddings", "/ui",
    "/v1/responses", "/openai/deployments/default/chat/completions", "//v1/chat/completions"])
def test_nothing_but_chat_is_open(proxy, path):
    headers = {"Authorization": f"Bearer {proxy.key('curious')}"}
    for method in ("GET", "POST"):
        answer = requests.request(method, proxy.url + path, headers=headers, json={}, timeout=10)
        assert answer.status_code == 404, (method, path, answer.text)
        assert KEY not in answer.text


def test_the_provider_s_key_and_address_come_out_of_nothing(proxy, provider):
    key = proxy.key("prober")
    listed = requests.get(f"{proxy.url}/v1/models", timeout=10,
                          headers={"Authorization": f"Bearer {key}"})
    assert [m["id"] for m in listed.json()["data"]] == ["default", "demo"]
    provider.fail_with = 500
    failed = proxy.chat(key)
    provider.fail_with = None
    assert failed.status_code >= 400
    for answer in (listed, failed, proxy.chat(key)):
        everything = answer.text + str(answer.headers)
        assert KEY not in everything and provider.url not in everything
    # Orders that LiteLLM would take from a body.
    sent = proxy.chat(key, api_base="http://127.0.0.1:1", api_key="sk-mine",
                      mock_response="free", fallbacks=["other"])
    assert sent.json()["choices"][0]["message"]["content"] == "(scripted) hello there"


def test_no_field_of_a_request_reaches_past_the_clamp(proxy, provider):
    key, asked = proxy.key("sly"), len(provider.requests)
    answer = proxy.chat(key, extra_body={"max_tokens": 100000, "n": 8}, num_retries=5,
                        service_tier="priority", web_search_options={}, timeout=0.0001,
                        user_config={"model_list": []}, max_completion_tokens=100000)
    assert answer.ok and len(provider.requests) == asked + 1
    sent = provider.requests[-1]
    assert sent["max_tokens"] == 100 and sent.get("n", 1) == 1
    assert not {"extra_body", "service_tier", "web_search_options", "timeout"} & sent.keys()
    hosted = proxy.chat(key, tools=[{"type": "web_search"}])
    assert hosted.status_code == 400 and "function" in hosted.text


def test_a_picture_s_address_reserves_the_whole_window(proxy):
    key = proxy.key("seer", monthly_budget_usd=2.0)  # the window alone costs 2 USD
    picture = [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]
    answer = requests.post(f"{proxy.url}/v1/chat/completions", timeout=30, json={
        "model": "default", "messages": picture}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 402


@pytest.mark.parametrize("body", [
    b"[" * 100_000, b"nonsense", b"[]",
    b'{"model": "default", "messages": [{"role": "user", "content": "\\ud800"}]}'])
def test_odd_bodies_get_plain_answers(proxy, body):
    answer = requests.post(f"{proxy.url}/v1/chat/completions", data=body, timeout=30,
                           headers={"Authorization": f"Bearer {proxy.key('odd')}"})
    assert answer.status_code < 500 and answer.status_code != 404, answer.text


def test_one_failure_closes_the_model_to_nobody_else(proxy, provider):
    provider.fail_with = 401
    assert proxy.chat(proxy.key("first")).status_code >= 400
    provider.fail_with = None
    assert proxy.chat(proxy.key("second")).ok


def test_a_blank_is_answered_by_a_stand_in_for_nothing(proxy, provider):
    key, asked = proxy.key("blank", stand_in="demo", monthly_budget_usd=0.0), len(provider.requests)
    assert proxy.chat(key).json()["choices"][0]["message"]["content"].startswith("This is the demo")
    assert proxy.settled("employee:blank") == 0 and len(provider.requests) == asked


def test_a_failed_call_costs_nothing(proxy, provider):
    key = proxy.key("unlucky")
    provider.fail_with = 500
    assert proxy.chat(key).status_code >= 400
    provider.fail_with = None
    assert proxy.settled("employee:unlucky") == 0


def test_requests_a_minute_are_limited(proxy):
    key = proxy.key("hasty", requests_per_minute=2)
    assert [proxy.chat(key).status_code for _ in range(3)] == [200, 200, 429]
    refused = proxy.chat(key)
    assert int(refused.headers["Retry-After"]) > 0 and "a minute" in refused.text


def test_a_revoked_key_ends_at_once(proxy):
    key = proxy.key("leaver")
    assert proxy.chat(key).ok
    proxy.revoke(key)
    assert proxy.chat(key).status_code == 401


def test_fifty_streams_at_once_never_spend_past_the_cap(proxy, provider):
    # A call reserves at most its bytes and 100 tokens: some 0.3 USD; it costs 0.2.
    key = proxy.key("crowd", monthly_budget_usd=3.0)
    provider.pause_s = 0.05
    results: list[int] = []

    def call() -> None:
        with proxy.chat(key, "SAY one two three four five", stream=True) as answer:
            results.append(answer.status_code)
            assert answer.text
    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    provider.pause_s = 0.0
    assert set(results) == {200, 402} and results.count(200) >= 5
    assert proxy.settled("employee:crowd") == pytest.approx(results.count(200) * COST)
    assert proxy.settled("employee:crowd") <= 3.0
    said = [proxy.chat(key).status_code for _ in range(20)]
    assert said[-1] == 402 and proxy.settled("employee:crowd") <= 3.0
    assert "budget" in proxy.chat(key).json()["error"]["message"]


def test_who_hangs_up_in_the_middle_pays_what_was_reserved(proxy, provider):
    key = proxy.key("hangup")
    provider.pause_s = 0.3
    answer = proxy.chat(key, "SAY a b c d e f g h", stream=True)
    next(answer.iter_lines())
    answer.close()
    provider.pause_s = 0.0
    spent = proxy.settled("employee:hangup")
    assert spent >= COST and proxy.spent("employee:hangup")[1] == pytest.approx(0)


def test_a_killed_proxy_forgets_nothing(proxy, provider):
    key = proxy.key("crash")
    provider.pause_s = 1.0
    thread = threading.Thread(target=lambda: _quietly(lambda: proxy.chat(
        key, "SAY a b c d", stream=True).text))
    thread.start()
    end = time.monotonic() + 10
    while proxy.spent("employee:crash")[1] == 0 and time.monotonic() < end:
        time.sleep(0.05)
    reserved = proxy.spent("employee:crash")[1]
    assert reserved > 0, "the call did not begin"
    docker("kill", proxy.name)
    docker("rm", proxy.name)
    provider.pause_s = 0.0
    thread.join()
    proxy.start()
    assert proxy.spent("employee:crash") == pytest.approx((reserved, 0.0))
    assert proxy.chat(key).ok


@pytest.mark.parametrize("usage", [(0, 0), (-50_000_000, 10), (100, -5), (10**9, 10**9)])
def test_a_usage_that_can_not_be_true_counts_as_what_was_reserved(proxy, provider, usage):
    key = proxy.key(f"liar{abs(hash(usage)) % 9999}")
    name = f"employee:{key.removeprefix('iw-key-')}"
    provider.prompt_tokens, provider.completion_tokens = usage
    assert proxy.chat(key).ok
    assert 0.1 < proxy.settled(name) <= 100 * 0.002 + 2000 * 0.001


@pytest.mark.parametrize("odd", [{"tools": 5}, {"tools": {"a": 1}}, {"messages": "hello"},
                                 {"functions": 3}, {"messages": 7}])
def test_what_is_no_list_is_told_so(proxy, odd):
    answer = proxy.chat(proxy.key("oddity"), **odd)
    assert answer.status_code == 400 and "is a list" in answer.json()["error"]["message"]


def test_without_a_key_and_with_an_empty_one_nothing_opens(proxy):
    proxy.key("")  # what an empty secret would have registered
    empty = proxy.keys / f"{hashlib.sha256(b'').hexdigest()}.json"
    shutil.copy(next(proxy.keys.glob("*.json")), empty)
    empty.chmod(0o444)
    for shown in ("", " ", "x"):
        assert proxy.chat(shown).status_code == 401
    assert requests.get(f"{proxy.url}/v1/models", timeout=5).status_code == 401
    empty.unlink()


def test_books_that_are_locked_answer_503_with_a_reason_and_call_nobody(proxy, provider):
    key, before = proxy.key("locked"), len(provider.requests)
    locker = sqlite3.connect(proxy.data / "ledger.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(2) as two:
            said = list(two.map(lambda _: proxy.chat(key), range(2)))
        assert time.monotonic() - began < 9
        assert [s.status_code for s in said] == [503, 503]
        assert "the books" in said[0].json()["error"]["message"]
        assert len(provider.requests) == before
        health = requests.get(f"{proxy.url}/healthz", timeout=10)
        assert health.status_code == 503 and "the books" in health.json()["reason"]
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert proxy.chat(key).ok


@pytest.mark.long  # by value: test_ledger.py
def test_books_that_were_removed_call_nobody_and_the_months_sums_come_back(proxy, provider):
    key, before = proxy.key("removed"), len(provider.requests)
    assert proxy.chat(key).ok
    spent = proxy.settled("employee:removed")
    end = time.monotonic() + 20
    sums = proxy.data / "ledger.db.sums.json"
    while "employee:removed" not in sums.read_text():  # kept every few seconds
        assert time.monotonic() < end and proxy.chat(proxy.key("other")).ok
        time.sleep(0.5)
    for file in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (proxy.data / file).unlink(missing_ok=True)
    said = [proxy.chat(key) for _ in range(2)]
    assert [s.status_code for s in said] == [503, 503]
    assert len([r for r in provider.requests[before:] if "removed" in str(r)]) == 0
    docker("rm", "-f", proxy.name)
    proxy.start()
    assert proxy.settled("employee:removed") >= spent
    assert "begun with the sums" in requests.get(f"{proxy.url}/healthz", timeout=5).json()["note"]
    assert proxy.chat(key).ok


def _quietly(work) -> None:
    with contextlib.suppress(requests.RequestException):
        work()


def test_a_model_is_asked_one_question_and_the_key_for_it_goes(proxy, provider):
    platform = Platform(images={}, models=OFFERED)
    said = models.ask(proxy.instance, platform, "default", "SAY hello there")
    assert said["answer"] == "(scripted) hello there" and said["model"] == "openai/scripted"
    assert (said["tokens_in"], said["tokens_out"]) == (100, 50)
    assert said["usd"] == pytest.approx(COST) and said["seconds"] > 0
    assert proxy.settled("employee:model-test") == pytest.approx(COST)
    assert "demo model" in models.ask(proxy.instance, platform, "demo")["answer"]
    provider.fail_with = 401
    wrong = models.ask(proxy.instance, platform, "default")
    assert "refuses the key" in wrong["problem"] and "secrets/provider-key" in wrong["problem"]
    assert KEY not in json.dumps(wrong)
    provider.fail_with = 429
    assert "no credit" in models.ask(proxy.instance, platform, "default")["problem"]
    with pytest.raises(ReconcilerError, match="it offers default, demo, other"):
        models.ask(proxy.instance, platform, "nothing")
    assert not list(proxy.instance.secrets_path.glob("model-key-model-test*"))
    assert not [path for path in proxy.keys.glob("*.json") if "model-test" in path.read_text()]
