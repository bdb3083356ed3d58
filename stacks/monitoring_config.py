"""Prometheus', Alertmanager's and the exporters' files, as pure functions of the instance."""

from __future__ import annotations

from typing import Any

import yaml

from state_repo.instance import Instance


def _local(instance: Instance, port: str) -> str:
    return f"127.0.0.1:{instance.ports[port]}"


def prometheus(instance: Instance) -> str:
    def job(name: str, *targets: str) -> dict[str, Any]:
        return {"job_name": name, "static_configs": [{"targets": list(targets)}]}
    probe = {
        "job_name": "employee", "metrics_path": "/probe", "params": {"module": ["http"]},
        "http_sd_configs": [{"url": f"http://{_local(instance, 'reconciler')}/targets",
                             "refresh_interval": "5s"}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["employee"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": _local(instance, "blackbox")}]}
    return _yaml({
        "global": {"scrape_interval": "10s", "evaluation_interval": "10s"},
        "rule_files": ["/etc/monitoring/rules.yml"],
        "alerting": {"alertmanagers": [
            {"static_configs": [{"targets": [_local(instance, "alertmanager")]}]}]},
        "scrape_configs": [
            probe, job("reconciler", _local(instance, "reconciler")),
            job("webapp", _local(instance, "app")),
            job("node", _local(instance, "node_exporter")),
            job("prometheus", _local(instance, "prometheus"))]})


def jobs(instance: Instance) -> frozenset[str]:
    """The scrape jobs that a running Prometheus must have."""
    return frozenset(job["job_name"] for job in
                     yaml.safe_load(prometheus(instance))["scrape_configs"])


def rules() -> str:
    def alert(name: str, expr: str, wait: str, summary: str) -> dict[str, Any]:
        return {"alert": name, "expr": expr, "for": wait, "labels": {"severity": "page"},
                "annotations": {"summary": summary, "runbook": f"docs/runbooks/{name}.md"}}
    return _yaml({"groups": [{"name": "instantworker", "rules": [
        alert("EmployeeDown", 'probe_success{job="employee"} == 0', "2m",
              "Employee {{ $labels.instance }} of {{ $labels.customer }} does not answer."),
        alert("LoopDead", 'up{job="reconciler"} == 0', "1m",
              "The reconciler does not answer: nothing is repaired. See `iw doctor`."),
        alert("WebAppDown", 'up{job="webapp"} == 0', "1m",
              "The web app does not answer: no page is shown, and the edge lets nobody in. See its "
              "log, and `iw doctor`."),
        alert("LoopHalted", "reconciler_halted == 1", "1m",
              "A snapshot is held, or history was rewritten: an engineer must look (`iw status`)."),
        alert("NobodyWorks", "reconciler_workers == 0", "30s",
              "No worker of the reconciler takes an Action: nothing is applied."),
        alert("WorkerWedged", "reconciler_workers_wedged > 0", "1m",
              "A worker did not come back and holds a stack; `./iw status` and /healthz name it."),
        alert("QueueStuck", "reconciler_queue_oldest_seconds > 900", "1m",
              "An Action has waited for a quarter of an hour."),
        alert("RolloutFailed", "reconciler_rollout_failed == 1", "0s",
              "A newer image of the employees failed, and was taken back: `./iw upgrade --status` "
              "says why."),
        alert("FilesLost", "reconciler_volumes_lost > 0", "0s",
              "The files of an employee, or a company's knowledge, are gone. `./iw status` says "
              "whose, and what can be restored."),
        alert("PartUnreachable", "reconciler_part_unreachable == 1", "2m",
              "{{ $labels.part }} can't be checked."),
        alert("VolumeFilling", "reconciler_volume_bytes > on() group_left() "
              "(0.8 * reconciler_volume_limit_bytes)", "1m",
              "The files of {{ $labels.employee }} ({{ $labels.customer }}) are nearly at their "
              "limit. Nothing is lost yet."),
        alert("StackDegraded", 'reconciler_stack_info{health_status="Degraded"} == 1', "5m",
              "Stack {{ $labels.customer }} is degraded. See `iw status`."),
    ]}]})


def alertmanager() -> str:
    """Keeps and groups alerts; where they are sent is for the operator to add."""
    return _yaml({"route": {"receiver": "log", "group_by": ["alertname"]},
                  "receivers": [{"name": "log"}]})


def blackbox() -> str:
    return _yaml({"modules": {"http": {"prober": "http", "timeout": "5s", "http": {
        "preferred_ip_protocol": "ip4", "follow_redirects": False}}}})


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)
