"""What Prometheus reads of employees: series that go with them."""

from __future__ import annotations

from reconciler.metrics import Metrics
from tests.reconciler.test_rest import use

ROWS = {"emp-a": {"customer": "acme"}, "emp-b": {"customer": "bolt"}}


def series(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {(s.name.removeprefix("reconciler_employee_"), s.labels["employee"]): s.value
            for family in metrics.registry.collect() for s in family.samples
            if s.name.startswith("reconciler_employee_")}


def test_an_employee_s_use_is_shown_while_it_is_awake_and_ours():
    metrics = Metrics()
    metrics.show_use({"emp-a": use(memory=7, cpu_s=2.5, pids=3), "emp-gone": use()}, ROWS)
    assert series(metrics) == {("memory_bytes", "emp-a"): 7, ("cpu_seconds", "emp-a"): 2.5,
                               ("pids", "emp-a"): 3}
    metrics.show_use({"emp-b": use(memory=9)}, ROWS)
    assert {employee for _, employee in series(metrics)} == {"emp-b"}
