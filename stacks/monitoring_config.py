"""Prometheus', Alertmanager's and the exporters' files, as pure functions of the instance."""

from __future__ import annotations

from typing import Any

import yaml

from stacks.secret_files import given_reference
from state_repo.documents import AlertReceiver, Alerts, MailServer
from state_repo.instance import Instance

MAIL_PASSWORD = "mail-password"  # a file beside alertmanager.yml, where mail has a user
WATCHDOG = "Watchdog"  # fires always; its notification is the heartbeat
TEST = "Test"  # `iw alert test`: told at once, each by itself
NOBODY, HEARTBEAT = "nobody", "heartbeat"

# What people notice, by name: how well each service is there (0 to 1), how long things take (in
# seconds), and when what the host has is used up if it goes on as in the last six hours.
SERVICE_LEVELS = {
    "service:dashboard:ratio": 'max(probe_success{job="edge"})',
    "service:employees:ratio": 'avg(probe_success{job="employee"})',
    "service:thinking:ratio": 'max(probe_success{job="model-proxy"})',
    "service:hiring:ratio": "max(reconciler_workers > bool 0) * max(reconciler_halted == bool 0) "
                            'or max(up{job="reconciler"} == 0)',
    **{f"service:apply_seconds:{name}": f"histogram_quantile({share}, sum by (le) (rate("
       'reconciler_reconcile_duration_seconds_bucket{kind="commit",phase="apply"}[15m])))'
       for name, share in (("p50", 0.5), ("p95", 0.95))},
    **{f"service:web_seconds:{name}": f"histogram_quantile({share}, sum by (le) (rate("
       "webapp_request_duration_seconds_bucket[5m])))"
       for name, share in (("p50", 0.5), ("p95", 0.95))},
    "service:capacity:used_ratio": 'sum by (resource) (reconciler_capacity{kind="used"}) / '
                                   'sum by (resource) (reconciler_capacity{kind="total"})',
    "service:capacity:runs_out_s":
        '(1 - service:capacity:used_ratio) / (sum by (resource) '
        '(deriv(reconciler_capacity{kind="used"}[6h])) / sum by (resource) '
        '(reconciler_capacity{kind="total"}) > 0)',
}


def _local(instance: Instance, port: str) -> str:
    return f"127.0.0.1:{instance.ports[port]}"


def prometheus(instance: Instance) -> str:
    def job(name: str, *targets: str) -> dict[str, Any]:
        return {"job_name": name, "static_configs": [{"targets": list(targets)}]}
    def probe(name: str, module: str, of_each: str, **found_by: Any) -> dict[str, Any]:
        return {"job_name": name, "metrics_path": "/probe", "params": {"module": [module]},
                **found_by, "relabel_configs": [
                    {"source_labels": ["__address__"], "target_label": "__param_target"},
                    {"source_labels": [of_each], "target_label": "instance"},
                    {"target_label": "__address__", "replacement": _local(instance, "blackbox")}]}
    employees = [{"url": f"http://{_local(instance, 'reconciler')}/targets",
                  "refresh_interval": "5s"}]
    scheme = instance.app_url.partition(":")[0]
    edge = f"{scheme}://{instance.edge_address}:{instance.ports['edge']}/healthz"
    proxy = f"http://{_local(instance, 'model_proxy')}/healthz"
    return _yaml({
        "global": {"scrape_interval": "10s", "evaluation_interval": "10s"},
        "rule_files": ["/etc/monitoring/rules.yml"],
        "alerting": {"alertmanagers": [
            {"static_configs": [{"targets": [_local(instance, "alertmanager")]}]}]},
        "scrape_configs": [
            probe("employee", "http", "employee", http_sd_configs=employees),
            probe("edge", "edge", "part", static_configs=[
                {"targets": [edge], "labels": {"part": "edge"}}]),
            probe("model-proxy", "http", "part", static_configs=[
                {"targets": [proxy], "labels": {"part": "model-proxy"}}]),
            job("alertmanager", _local(instance, "alertmanager")),
            job("reconciler", _local(instance, "reconciler")),
            # Caddy's admin socket is for nobody else: the reconciler reads there.
            job("edge-requests", _local(instance, "reconciler")) | {
                "metrics_path": "/metrics/edge"},
            job("model-proxy-calls", _local(instance, "model_proxy")),
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
    return _yaml({"groups": [{"name": "service-levels", "rules": [
        {"record": name, "expr": expr} for name, expr in SERVICE_LEVELS.items()]},
        {"name": "instantworker", "rules": [
        alert("EmployeeDown", 'probe_success{job="employee"} == 0', "2m",
              "Employee {{ $labels.instance }} of {{ $labels.customer }} does not answer."),
        alert("LoopDead", 'up{job="reconciler"} == 0', "1m",
              "The reconciler does not answer: nothing is repaired. See `iw doctor`."),
        alert("WebAppDown", 'up{job="webapp"} == 0', "1m",
              "The web app does not answer: no page is shown, and the edge lets nobody in. See its "
              "log, and `iw doctor`."),
        alert("PartDown", 'probe_success{job=~"edge|model-proxy"} == 0', "1m",
              "The {{ $labels.part }} does not answer: without the edge nobody reaches any page, "
              "without the model proxy no employee can think."),
        alert("ModelFailing", 'sum by (model) (increase(model_proxy_calls_total{result="failed"}'
              "[10m])) > 0.5 * sum by (model) (increase(model_proxy_calls_total[10m]))", "1m",
              "Most calls of the model {{ $labels.model }} fail: its provider refuses or is away. "
              "`./iw model test` says what it says."),
        alert("AlertsNotDelivered", "increase(alertmanager_notifications_failed_total[10m]) > 0",
              "0s", "Alerts by {{ $labels.integration }} do not arrive: `./iw alert test` says "
              "why."),
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
        alert("BackupFailing", 'time() - reconciler_backup_last_success_timestamp_seconds'
              '{kind="backup"} > reconciler_backup_age_limit_seconds', "1m",
              "There was no whole backup for twice as long as from one to the next: "
              "`./iw backup list` says why."),
        alert("DrillFailing", 'time() - reconciler_backup_last_success_timestamp_seconds'
              '{kind="drill"} > reconciler_backup_age_limit_seconds', "1m",
              "No backup was restored and compared for too long: `./iw backup list` says why."),
        alert("CertificateExpiring",
              'reconciler_certificate_timestamp_seconds{at="overdue"} < time()', "10m",
              "The edge's certificate ends soon, or there is none, and it was not signed anew: "
              "`./iw tls show` says why."),
        alert("VolumeFilling", "reconciler_volume_bytes > on() group_left() "
              "(0.8 * reconciler_volume_limit_bytes)", "1m",
              "The files of {{ $labels.employee }} ({{ $labels.customer }}) are nearly at their "
              "limit. Nothing is lost yet."),
        alert("StackDegraded", 'reconciler_stack_info{health_status="Degraded"} == 1', "5m",
              "Stack {{ $labels.customer }} is degraded. See `iw status`."),
        alert("CapacityLow", "service:capacity:used_ratio > 0.9 or (service:capacity:runs_out_s "
              "< 3 * 86400 and service:capacity:used_ratio > 0.6)", "15m",
              "The {{ $labels.resource }} runs out: new employees will find no place. "
              "`./iw status` and the page Operations say how much is left."),
        alert(WATCHDOG, "vector(1)", "0s", "Nothing is wrong: this one fires always, and its "
              "notification is the heartbeat that says that alerts work.") | {
                  "labels": {"severity": "none"}},
    ]}]})


def alertmanager(alerts: Alerts) -> dict[str, str]:
    """By name, the files of Alertmanager: everybody is told of everything, once for each kind of
    alert, and again when it has ended; who can't be reached keeps nobody else waiting."""
    files, mail = {}, alerts.mail
    if mail and mail.secret:
        files[MAIL_PASSWORD] = given_reference(mail.secret)
    receivers = [{"name": receiver_name(at), **_receiver(one)}
                 for at, one in enumerate(alerts.receivers)]
    everybody = [{"receiver": one["name"], "continue": True} for one in receivers]
    if alerts.heartbeat:
        receivers.append({"name": HEARTBEAT, "webhook_configs": [
            {"url": given_reference(alerts.heartbeat), "send_resolved": False}]})
    return files | {"alertmanager.yml": _yaml({
        **({"global": _mail(mail)} if mail else {}),
        "route": {
            "receiver": NOBODY, "group_by": ["alertname"], "group_wait": "10s",
            "group_interval": "1m", "repeat_interval": f"{round(alerts.repeat_hours * 3600)}s",
            "routes": [
                {"receiver": HEARTBEAT if alerts.heartbeat else NOBODY,
                 "matchers": [f'alertname="{WATCHDOG}"'], "group_wait": "0s",
                 "repeat_interval": "1m"},
                {"receiver": NOBODY, "matchers": [f'alertname="{TEST}"'], "group_by": ["..."],
                 "group_wait": "0s", "routes": everybody},
                *everybody]},
        "receivers": [{"name": NOBODY}, *receivers]})}


def receiver_name(at: int) -> str:
    """What Alertmanager calls the receiver at this place of platform.yaml."""
    return f"receiver-{at}"


# What a person reads at night: which, of whom, since when, and where to look.
_LINE = ('{{ .Annotations.summary }}{{ "\\n" }}since {{ .StartsAt.UTC.Format "2006-01-02 15:04:05" '
         '}} UTC{{ if .Annotations.runbook }}, runbook: {{ .Annotations.runbook }}{{ end }}'
         '{{ "\\n\\n" }}')
_TEXT = ("{{ range .Alerts.Firing }}" + _LINE + "{{ end }}{{ range .Alerts.Resolved }}ended: "
         + _LINE + "{{ end }}")
_TITLE = ('{{ if eq .Status "firing" }}{{ .GroupLabels.alertname }} ({{ len .Alerts.Firing }})'
          "{{ else }}ended: {{ .GroupLabels.alertname }}{{ end }}")


def _receiver(told: AlertReceiver) -> dict[str, Any]:
    if told.email:
        return {"email_configs": [{
            "to": told.email, "send_resolved": True, "html": "", "text": _TEXT,
            "headers": {"Subject": f"[InstantWorker] {_TITLE}"}}]}
    url = given_reference(told.target)
    if told.slack:
        return {"slack_configs": [{
            "api_url": url, "send_resolved": True, "title": _TITLE, "title_link": "",
            "text": _TEXT, "fallback": _TITLE}]}
    return {"webhook_configs": [{"url": url, "send_resolved": True}]}


def _mail(mail: MailServer) -> dict[str, Any]:
    password = {"smtp_auth_username": mail.user, "smtp_auth_password_file":
                f"/etc/monitoring/{MAIL_PASSWORD}"} if mail.user else {}
    return {"smtp_smarthost": mail.server, "smtp_from": mail.sender, "smtp_require_tls": mail.tls,
            **password}


def blackbox(instance: Instance) -> str:
    """`edge`: asked by the dashboard's name, through to the web app, by whatever certificate."""
    def module(**more: Any) -> dict[str, Any]:
        return {"prober": "http", "timeout": "5s", "http": {
            "preferred_ip_protocol": "ip4", "follow_redirects": False, **more}}
    return _yaml({"modules": {"http": module(), "edge": module(
        headers={"Host": instance.app_host},
        tls_config={"server_name": instance.app_host, "insecure_skip_verify": True})}})


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)
