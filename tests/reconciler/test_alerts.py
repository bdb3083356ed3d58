"""Alerts reach whom platform.yaml names, through the real Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from reconciler import alerts
from stacks import StackError, UnreachableError, monitoring_config
from stacks.host_files import ConfigFile
from state_repo.documents import AlertReceiver, Alerts, MailServer
from state_repo.instance import LABEL_INSTANCE, Instance
from tests.conftest import docker, free_ports
from tests.fake_receivers import Mailbox, Webhook, closing, wait_for

PASSWORD = "it's \"quoted\" \\ and: odd"


def write(instance: Instance, wanted: Alerts) -> None:
    for name, content in monitoring_config.alertmanager(wanted).items():
        ConfigFile(instance).create({"path": f"alertmanager/{name}", "content": content, "uid": 0})


def test_a_secret_that_only_a_person_knows_is_never_made_up(instance):
    wanted = Alerts((AlertReceiver(slack="alert-slack"),))
    with pytest.raises(StackError, match=r"names the secret alert-slack.*write it into .*one line"):
        write(instance, wanted)
    assert not (instance.secrets_path / "alert-slack").exists()
    assert "@given:alert-slack@" in monitoring_config.alertmanager(wanted)["alertmanager.yml"]


def test_without_prometheus_it_says_so_and_still_whom_it_tells(instance, monkeypatch):
    monkeypatch.setattr(alerts, "_STARTS_S", 0.0)
    told = alerts.state(instance, Alerts((AlertReceiver(email="a@iw.test"),)))
    assert told["receivers"] == [{"kind": "email", "target": "a@iw.test"}]
    assert told["firing"] is None and told["problem"].startswith("Prometheus does not say")
    with pytest.raises(UnreachableError, match="Alertmanager does not answer"):
        alerts.test(instance, Alerts())


# ---- the real one --------------------------------------------------------------------------------

@dataclass
class Manager:
    instance: Instance
    alerts: Alerts
    mailbox: Mailbox
    hooks: Webhook

    def fires(self, name: str, **annotations: str) -> None:
        url = f"http://127.0.0.1:{self.instance.ports['alertmanager']}/api/v2/alerts"
        requests.post(url, timeout=5, json=[{"labels": {"alertname": name}, "annotations":
                                             annotations}]).raise_for_status()


@pytest.fixture
def manager(instance: Instance, images: dict[str, str]) -> Iterator[Manager]:
    mailbox, hooks = Mailbox(free_ports()["app"], PASSWORD), Webhook()
    instance.secrets_path.mkdir(mode=0o700)
    for name, text in (("alert-mail", PASSWORD), ("alert-slack", f"{hooks.url}/slack"),
                       ("alert-webhook", f"{hooks.url}/hook"), ("alert-gone", f"{hooks.url}/gone"),
                       ("alert-heartbeat", f"{hooks.url}/beat")):
        (instance.secrets_path / name).write_text(text)
    wanted = Alerts(
        (AlertReceiver(email="night@iw.test"), AlertReceiver(webhook="alert-webhook"),
         AlertReceiver(webhook="alert-gone"), AlertReceiver(slack="alert-slack")),
        MailServer(mailbox.server, "alerts@iw.test", "iw", "alert-mail", tls=False),
        "alert-heartbeat")
    write(instance, wanted)
    with closing(mailbox, hooks):
        docker("run", "-d", "--name", instance.platform_container("alertmanager"), "--network",
               "host", "--label", f"{LABEL_INSTANCE}={instance.id}", "-v",
               f"{instance.data}/alertmanager:/etc/monitoring:ro",
               images["monitoring"].partition("@")[2], "prometheus-alertmanager",
               "--config.file=/etc/monitoring/alertmanager.yml", "--storage.path=/tmp",
               "--cluster.listen-address=",
               f"--web.listen-address=127.0.0.1:{instance.ports['alertmanager']}")
        made = Manager(instance, wanted, mailbox, hooks)
        wait_for(lambda: is_up(instance), "Alertmanager is up")
        yield made


def is_up(instance: Instance) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{instance.ports['alertmanager']}/-/ready", timeout=2
                            ).ok
    except requests.RequestException:
        return False


def text_of(mail) -> str:
    return mail.get_body(("plain",)).get_content().replace("\r\n", "\n")


@pytest.mark.parts
def test_a_test_reaches_everybody_and_names_who_refuses(manager):
    told = alerts.test(manager.instance, manager.alerts)
    assert [(one["kind"], one["target"]) for one in told] == [
        ("email", "night@iw.test"), ("webhook", "alert-webhook"), ("webhook", "alert-gone"),
        ("slack", "alert-slack")]
    assert [one["problem"] for one in (told[0], told[1], told[3])] == [None, None, None]
    assert "unexpected status code 410" in told[2]["problem"]
    assert manager.hooks.url not in told[2]["problem"]
    (mail,) = manager.mailbox.mails
    assert mail["To"] == "night@iw.test" and mail["Subject"] == "[InstantWorker] Test (1)"
    assert "This is a test: alerts arrive here.\nsince 20" in text_of(mail)
    (slack,) = manager.hooks.at("/slack")
    assert "This is a test" in str(slack)
    assert manager.hooks.at("/hook")[0]["alerts"][0]["labels"]["alertname"] == "Test"
    alerts.test(manager.instance, manager.alerts)
    assert len(manager.mailbox.mails) == 2, "a second test is not held back as a repetition"


@pytest.mark.parts
def test_an_alert_names_its_runbook_and_the_heartbeat_goes_nowhere_else(manager):
    manager.fires("Watchdog", summary="all is well")
    manager.fires("LoopDead", summary="Nothing is repaired.", runbook="docs/runbooks/LoopDead.md")
    wait_for(lambda: manager.hooks.at("/beat"), "the heartbeat")
    wait_for(lambda: manager.mailbox.mails, "the mail")
    (mail,) = manager.mailbox.mails
    assert mail["Subject"] == "[InstantWorker] LoopDead (1)"
    text = text_of(mail)
    assert "Nothing is repaired.\nsince " in text and "runbook: docs/runbooks/LoopDead.md" in text
    assert [body["groupLabels"]["alertname"] for body in manager.hooks.at("/hook")] == ["LoopDead"]
