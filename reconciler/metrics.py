"""What Prometheus scrapes from the reconciler. Customer labels on gauges only, and a customer's
series go with the customer, so that cardinality follows the fleet and not its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stacks.certificate import Certificate
from stacks.cgroup import Use

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.duration = Histogram(
            "reconciler_reconcile_duration_seconds", "Time of each phase of a reconcile.",
            ["kind", "phase"], buckets=_SECONDS, registry=self.registry)
        self.total = Counter("reconciler_reconcile_total", "Reconciles by result.",
                             ["kind", "result"], registry=self.registry)
        self.cycle = Histogram("reconciler_cycle_duration_seconds",
                               "One look at reality and the decision that follows.",
                               buckets=_SECONDS, registry=self.registry)
        self.drift = Counter("reconciler_drift_total", "Differences found, by kind of thing.",
                             ["kind"], registry=self.registry)
        self.queue = Gauge("reconciler_queue_depth", "Stacks that wait.", registry=self.registry)
        self.oldest = Gauge("reconciler_queue_oldest_seconds", "How long the Action waits that "
                            "waits longest.", registry=self.registry)
        self.workers = Gauge("reconciler_workers", "Workers that can take an Action.",
                             registry=self.registry)
        self.wedged = Gauge("reconciler_workers_wedged", "Workers that were given up, and hold a "
                            "stack.", registry=self.registry)
        self.lost = Gauge("reconciler_volumes_lost", "Volumes that were made and are gone.",
                          registry=self.registry)
        self.halted = Gauge("reconciler_halted", "1 while a snapshot is held or history was "
                            "rewritten, and an engineer is needed.", registry=self.registry)
        self.rollout_failed = Gauge("reconciler_rollout_failed", "1 when the last roll-out of an "
                                    "image failed.", registry=self.registry)
        self.unreachable = Gauge("reconciler_part_unreachable", "1 while a part can't be checked.",
                                 ["part"], registry=self.registry)
        self.stacks = Gauge("reconciler_stack_info", "Every stack with its state; always 1.",
                            ["customer", "sync_status", "health_status", "revision"],
                            registry=self.registry)
        self.employees = Gauge("reconciler_employees", "Employees by health.", ["health_status"],
                               registry=self.registry)

        self.volumes = Gauge("reconciler_volume_bytes", "What an employee's files take.",
                             ["customer", "employee"], registry=self.registry)
        whose = ["customer", "employee"]
        self.memory = Gauge("reconciler_employee_memory_bytes", "What an employee that is awake "
                            "holds in memory.", whose, registry=self.registry)
        self.cpu = Gauge("reconciler_employee_cpu_seconds", "Processor time of an employee's "
                         "container since it started.", whose, registry=self.registry)
        self.pids = Gauge("reconciler_employee_pids", "Its processes and threads.", whose,
                          registry=self.registry)
        self.volume_limit = Gauge("reconciler_volume_limit_bytes",
                                  "What an employee's files may take.", registry=self.registry)
        self.backup_success = Gauge(
            "reconciler_backup_last_success_timestamp_seconds", "When the last whole backup, or "
            "drill, ended.", ["kind"], registry=self.registry)
        self.backup_age_limit = Gauge("reconciler_backup_age_limit_seconds", "How old it may be.",
                                      ["kind"], registry=self.registry)
        self.certificate = Gauge("reconciler_certificate_timestamp_seconds",
                                 "When the edge's certificate ends, and by when it "
                                 "should long have been renewed.", ["at"],
                                 registry=self.registry)
        self.capacity = Gauge(
            "reconciler_capacity", "What the host has of memory and disk (bytes) and the pool of "
            "networks, and how much of it is used.", ["resource", "kind"], registry=self.registry)
        self.asleep = Gauge("reconciler_employees_asleep", "Employees that sleep.",
                            registry=self.registry)

    def show(self, stacks: Mapping[str, Mapping[str, Any]], employees: Iterable[Mapping[str, Any]]
             ) -> None:
        """Replaces the gauges of the fleet by what is recorded now."""
        self.stacks.clear()
        for id, stack in stacks.items():
            if id != "loop":
                self.stacks.labels(id.removeprefix("customer/"), stack["sync_status"],
                                   stack["health_status"], (stack["revision"] or "")[:10]).set(1)
        self.employees.clear()
        asleep = 0
        for employee in employees:
            self.employees.labels(employee["health_status"]).inc()
            asleep += employee["asleep_since"] is not None
        self.asleep.set(asleep)

    def show_use(self, used: Mapping[str, Use], employees: Mapping[str, Mapping[str, Any]]) -> None:
        """What each employee that is awake uses; an employee that is not has no series."""
        for gauge in (self.memory, self.cpu, self.pids):
            gauge.clear()
        for employee, use in used.items():
            if employee in employees:
                whose = employees[employee]["customer"], employee
                self.memory.labels(*whose).set(use.memory)
                self.cpu.labels(*whose).set(use.cpu_s)
                self.pids.labels(*whose).set(use.pids)

    def show_backups(self, times: Mapping[str, tuple[datetime | None, timedelta]] | None) -> None:
        """By "backup" and "drill": when the last whole one ended, and how old that may be. None:
        there is no place for backups."""
        self.backup_age_limit.clear()
        self.backup_success.clear()
        for what, (last, limit) in (times or {}).items():
            self.backup_success.labels(what).set(last.timestamp() if last else 0)
            self.backup_age_limit.labels(what).set(limit.total_seconds())

    def show_capacity(self, found: Mapping[str, tuple[float, float]]) -> None:
        for resource, (used, total) in found.items():
            self.capacity.labels(resource, "used").set(used)
            self.capacity.labels(resource, "total").set(total)

    def show_certificate(self, found: Certificate | None, *, is_wanted: bool = False) -> None:
        """`found` None: there is none that an authority signed. Unless it is wanted, nothing is
        shown."""
        self.certificate.clear()
        if is_wanted:
            self.certificate.labels("ends").set(found.ends.timestamp() if found else 0)
            self.certificate.labels("overdue").set(found.overdue.timestamp() if found else 0)

    def show_volumes(self, used: Mapping[str, int], employees: Mapping[str, Mapping[str, Any]],
                     limit: int) -> None:
        self.volumes.clear()
        self.volume_limit.set(limit)
        for employee, size in used.items():
            if employee in employees:
                self.volumes.labels(employees[employee]["customer"], employee).set(size)

    def render(self) -> bytes:
        return generate_latest(self.registry)
