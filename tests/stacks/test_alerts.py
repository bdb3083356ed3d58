"""Each alert fires for its cause and for nothing else, by Prometheus' own promtool; and whoever it
wakes finds a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from operator_cli.whole import iw
from stacks import monitoring_config
from stacks.monitoring_config import WATCHDOG
from tests.conftest import ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS = {rule["alert"]: rule for rule in
          yaml.safe_load(monitoring_config.rules())["groups"][1]["rules"]}
BACKUP = "reconciler_backup_last_success_timestamp_seconds"
LIMIT = ("reconciler_volume_limit_bytes", "1000")
VOLUME = 'reconciler_volume_bytes{employee="emp-a",customer="acme"}'
# Each alert: the series and its value when all is well, and when it is not; and others it reads.
CAUSES: dict[str, tuple[str, str, str, tuple[tuple[str, str], ...]]] = {
    "EmployeeDown": ('probe_success{job="employee",instance="emp-a",customer="acme"}', "1", "0",
                     ()),
    "LoopDead": ('up{job="reconciler"}', "1", "0", ()),
    "WebAppDown": ('up{job="webapp"}', "1", "0", ()),
    "PartDown": ('probe_success{job="edge",part="edge"}', "1", "0", ()),
    "AlertsNotDelivered": ('alertmanager_notifications_failed_total{integration="email"}', "0", "1",
                           ()),
    "LoopHalted": ("reconciler_halted", "0", "1", ()),
    "NobodyWorks": ("reconciler_workers", "1", "0", ()),
    "WorkerWedged": ("reconciler_workers_wedged", "0", "1", ()),
    "QueueStuck": ("reconciler_queue_oldest_seconds", "900", "901", ()),
    "RolloutFailed": ("reconciler_rollout_failed", "0", "1", ()),
    "FilesLost": ("reconciler_volumes_lost", "0", "1", ()),
    "PartUnreachable": ('reconciler_part_unreachable{part="dns"}', "0", "1", ()),
    # promtool's time begins at 0.
    "BackupFailing": (f"{BACKUP}{{kind=\"backup\"}}", "0", "-100000",
                      (("reconciler_backup_age_limit_seconds{kind=\"backup\"}", "50000"),)),
    "DrillFailing": (f"{BACKUP}{{kind=\"drill\"}}", "0", "-100000",
                     (("reconciler_backup_age_limit_seconds{kind=\"drill\"}", "50000"),)),
    "CertificateExpiring": ('reconciler_certificate_timestamp_seconds{at="overdue"}', "1000000",
                            "0", ()),
    "VolumeFilling": (VOLUME, "800", "801", (LIMIT,)),
    "CapacityLow": ('reconciler_capacity{kind="used",resource="disk"}', "90", "91",
                    (('reconciler_capacity{kind="total",resource="disk"}', "100"),)),
    "ModelFailing": ('model_proxy_calls_total{model="default",result="failed"}', "0", "10",
                     (('model_proxy_calls_total{model="default",result="answered"}', "9"),)),
    "StackDegraded": ('reconciler_stack_info{customer="acme",health_status="Degraded"}', "0", "1",
                      ())}
# Where they are not those of the series.
LABELS = {"CapacityLow": {"resource": "disk"}, "ModelFailing": {"model": "default"}}
# Each service level: series with their values (`a+bxn`: n more, each b larger), and what it is at
# the end. None: nothing is said of it.
LEVELS: tuple[tuple[str, dict[str, str], float | None], ...] = (
    ("service:dashboard:ratio", {'probe_success{job="edge"}': "1+0x60"}, 1.0),
    ("service:dashboard:ratio", {'up{job="edge"}': "0+0x60"}, None),
    ("service:employees:ratio", {'probe_success{job="employee",employee="a"}': "1+0x60",
                                 'probe_success{job="employee",employee="b"}': "0+0x60"}, 0.5),
    ("service:thinking:ratio", {'probe_success{job="model-proxy"}': "0+0x60"}, 0.0),
    ("service:hiring:ratio", {"reconciler_workers": "4+0x60", "reconciler_halted": "0+0x60"}, 1.0),
    ("service:hiring:ratio", {"reconciler_workers": "4+0x60", "reconciler_halted": "1+0x60"}, 0.0),
    ("service:hiring:ratio", {'up{job="reconciler"}': "0+0x60"}, 0.0),
    ("service:capacity:used_ratio", {
        'reconciler_capacity{resource="disk",kind="used"}': "25+0x60",
        'reconciler_capacity{resource="disk",kind="total"}': "100+0x60"}, 0.25),
    # One of a hundred every ten seconds, and forty are left.
    ("service:capacity:runs_out_s", {
        'reconciler_capacity{resource="disk",kind="used"}': "0+1x60",
        'reconciler_capacity{resource="disk",kind="total"}': "100+0x60"}, 400.0),
    ("service:capacity:runs_out_s", {
        'reconciler_capacity{resource="disk",kind="used"}': "90-1x60",
        'reconciler_capacity{resource="disk",kind="total"}': "100+0x60"}, None))


def test_every_alert_has_its_cause_and_its_runbook():
    assert {*CAUSES, WATCHDOG} == set(ALERTS)
    assert {name for name, *_ in LEVELS} == {
        name for name in monitoring_config.SERVICE_LEVELS if "_seconds:" not in name}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*ALERTS, "README"}
    for name, rule in ALERTS.items():
        assert (ROOT / rule["annotations"]["runbook"]) == RUNBOOKS / f"{name}.md"


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_a_runbook_says_what_it_must_and_names_commands_that_exist(name):
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n\n") and [line for line in text.splitlines()
                                               if line.startswith("## ")] == [
        "## Who notices", "## First look", "## Mend", "## It ends"]
    for command in re.findall(r"`\./iw\s([^`]+)`", text):
        assert_exists(command)


def test_the_guide_to_production_names_commands_that_exist():
    text = (ROOT / "docs" / "production.md").read_text()
    found = re.findall(r"^ +\./iw ([^\n#]+)", text, re.MULTILINE)
    assert len(found) > 10
    for command in found:
        assert_exists(command)


def assert_exists(command: str) -> None:
    verb, *rest = command.split()
    assert verb in iw.commands, command
    found = iw.commands[verb]
    if isinstance(found, click.Group):
        assert rest and rest[0] in found.commands, command
        found = found.commands[rest[0]]
    known = {option for parameter in found.params
             for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known, command


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def asked() -> dict[str, Any]:
    """What promtool is to find: silence while all is well and until an alert's time has passed,
    then the alert."""
    tests = []
    for name, (series, well, ill, others) in CAUSES.items():
        wait = seconds(ALERTS[name]["for"])
        labels = LABELS.get(name) or dict(re.findall(r'(\w+)="([^"]*)"', series))
        expected = {"exp_labels": {"severity": "page", **labels}}
        tests.append({
            "interval": "10s",
            "input_series": [
                {"series": series, "values": f"{well}+0x60 {ill}+0x{wait // 10 + 30}"},
                *({"series": other, "values": f"{value}+0x{wait // 10 + 100}"}
                  for other, value in others)],
            "alert_rule_test": [
                {"eval_time": "600s", "alertname": name, "exp_alerts": []},
                *([{"eval_time": f"{610 + wait - 10}s", "alertname": name, "exp_alerts": []}]
                  if wait else []),
                {"eval_time": f"{610 + wait + 10}s", "alertname": name, "exp_alerts": [expected]}]})
    always = {"eval_time": "10s", "alertname": WATCHDOG,
              "exp_alerts": [{"exp_labels": {"severity": "none"}}]}
    tests.append({"interval": "10s", "alert_rule_test": [always]})
    for name, series, value in LEVELS:
        tests.append({
            "interval": "10s",
            "input_series": [{"series": one, "values": values} for one, values in series.items()],
            "promql_expr_test": [{
                "expr": f"round(sum({name}), 0.01)", "eval_time": "600s", "exp_samples": [
                    {"labels": "{}", "value": value}] if value is not None else []}]})
    return {"rule_files": ["rules.yml"], "evaluation_interval": "10s", "tests": tests}


@pytest.mark.parts
def test_each_fires_for_its_cause_in_time(tmp_path: Path, images: dict[str, str]) -> None:
    plain = yaml.safe_load(monitoring_config.rules())
    for rule in plain["groups"][1]["rules"]:
        del rule["annotations"]  # their words are for people
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(plain))
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(asked()))
    (tmp_path / "real.yml").write_text(monitoring_config.rules())
    for command in (("check", "rules", "/t/real.yml"), ("test", "rules", "/t/tests.yml")):
        done = subprocess.run(
            ["docker", "run", "--rm", "--network=none", "--volume", f"{tmp_path}:/t:ro",
             "--entrypoint", "promtool", images["monitoring"].partition("@")[2],
             *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
