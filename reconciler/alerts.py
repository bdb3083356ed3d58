"""What fires, whom it is told, and whether that arrives: asked of Prometheus and Alertmanager."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from reconciler.prometheus import Prometheus
from stacks import UnreachableError
from stacks.monitoring_config import TEST, WATCHDOG, receiver_name
from stacks.observed import container_log
from state_repo.documents import Alerts
from state_repo.instance import Instance

PATIENCE_S = 45.0
_STARTS_S = 15.0  # Alertmanager, when its settings were just changed
_TIMEOUT_S = 5.0
_LOG_S = 0.5  # from an answer to its line in Alertmanager's log
_PREFIX = re.compile(r"^.*?(?:attempts: |error: )")
_REQUESTS = re.compile(r'^alertmanager_notification_requests_total\{integration="(\w+)"\} (\S+)$',
                       re.MULTILINE)
# Of an attempt that is tried again, and of one that was given up.
_FAILED = (re.compile(r'receiver=(\S+) .*?err="((?:[^"\\]|\\.)*)"'),
           re.compile(r'err="([\w-]+)/((?:[^"\\]|\\.)*)"'))


def state(instance: Instance, alerts: Alerts) -> dict[str, Any]:
    """`receivers`: kind and target of each; `heartbeat`: whether there is one; `firing`: name,
    summary, runbook, since, and whose (employee, customer, part) of each alert; or None, and
    `problem`: why it can't be told."""
    found: dict[str, Any] = {
        "receivers": [{"kind": r.kind, "target": r.target} for r in alerts.receivers],
        "heartbeat": alerts.heartbeat is not None, "firing": None, "problem": None}
    try:
        found["firing"] = [
            {"name": a["labels"]["alertname"], "summary": a["annotations"].get("summary", ""),
             "runbook": a["annotations"].get("runbook"), "since": a["activeAt"],
             "whose": {k: a["labels"][k] for k in ("employee", "customer", "part")
                       if k in a["labels"]}}
            for a in Prometheus(instance).alerts()
            if a["state"] == "firing" and a["labels"]["alertname"] != WATCHDOG]
    except UnreachableError as error:
        found["problem"] = str(error)
    return found


def test(instance: Instance, alerts: Alerts) -> list[dict[str, Any]]:
    """Sends everybody a test alert, and waits until it was taken or refused. For each receiver its
    kind, its target and `problem`, None when its server took the alert.

    Raises:
        UnreachableError: Alertmanager does not answer.
    """
    url = f"http://127.0.0.1:{instance.ports['alertmanager']}"
    name = instance.platform_container("alertmanager")
    began, mark = datetime.now(UTC), secrets.token_hex(4)
    wanted = Counter(receiver.kind for receiver in alerts.receivers)
    try:
        before = _when_it_answers(url)
        requests.post(f"{url}/api/v2/alerts", timeout=_TIMEOUT_S, json=[{
            "labels": {"alertname": TEST, "mark": mark}, "endsAt": (
                began + timedelta(minutes=1)).isoformat(),
            "annotations": {"summary": "This is a test: alerts arrive here."}}]).raise_for_status()
        end = time.monotonic() + PATIENCE_S
        while (late := (wanted + before) - _tried(url)) and time.monotonic() < end:
            time.sleep(0.3)
    except requests.RequestException as error:
        raise UnreachableError(f"Alertmanager does not answer ({error})") from error
    time.sleep(_LOG_S)
    refused = _refusals(container_log(name, 200) or "", began)
    silent = f"no answer within {PATIENCE_S:.0f} s"
    return [{"kind": receiver.kind, "target": receiver.target, "problem": refused.get(
        receiver_name(at), silent if receiver.kind in late else None)}
        for at, receiver in enumerate(alerts.receivers)]


def _when_it_answers(url: str) -> Counter[str]:
    end = time.monotonic() + _STARTS_S
    while True:
        try:
            return _tried(url)
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def _tried(url: str) -> Counter[str]:
    """How often each kind of receiver was called, ever."""
    answer = requests.get(f"{url}/metrics", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return Counter({kind: int(float(count)) for kind, count in _REQUESTS.findall(answer.text)})


def _refusals(log: str, since: datetime) -> dict[str, str]:
    """By receiver, the last reason that Alertmanager's log gives since then, without the URL."""
    found = {}
    for line in log.splitlines():
        at = re.match(r"ts=(\S+)", line)
        told = next((match for shape in _FAILED if (match := shape.search(line))), None)
        if at and told and datetime.fromisoformat(at[1]) >= since:
            words = _PREFIX.sub("", told[2].replace('\\"', '"'))
            found[told[1]] = re.sub(r"https?://\S+", "…", words)
    return found
