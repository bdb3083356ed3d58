"""The fleet at a glance, for the operator's page; how well each service was there, for everybody.

What the figures are is Prometheus' to say (recording rules in `stacks.monitoring_config`); the
loop adds what it knows better now. A monitoring that is away takes its own figures with it, and
nothing else: they are None then, and `problem` says why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reconciler import alerts
from reconciler.prometheus import Prometheus, Series
from stacks import UnreachableError

if TYPE_CHECKING:
    from reconciler.loop import Reconciler

DAY_S = 86400
DAYS = 14  # Prometheus keeps fifteen
SPANS = {"1h": (3600, 15), "1d": (DAY_S, 300), "7d": (7 * DAY_S, 1800)}  # seconds, and of a step
SOON_S = 90 * DAY_S  # what runs out later than this is told of nobody
_SERVICES = ("dashboard", "employees", "thinking", "hiring")
# By chart, its lines: how each is called, and what Prometheus is asked.
CHARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "capacity": tuple((what, f'service:capacity:used_ratio{{resource="{what}"}}')
                      for what in ("memory", "disk", "networks")),
    "employees": (("awake", "sum(reconciler_employees) - reconciler_employees_asleep"),
                  ("asleep", "reconciler_employees_asleep"),
                  ("degraded", 'sum(reconciler_employees{health_status="Degraded"}) or vector(0)')),
    "apply": (("p50", "service:apply_seconds:p50"), ("p95", "service:apply_seconds:p95")),
    "web": (("p50", "service:web_seconds:p50"), ("p95", "service:web_seconds:p95")),
    "queue": (("waiting", "reconciler_queue_depth"),
              ("waits longest (s)", "reconciler_queue_oldest_seconds")),
}


def overview(r: Reconciler, health: Callable[[], tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    """`fleet`: how many employees are how; `loop`: its health; `alerts`: as `alerts.state`;
    `capacity`: used, total (bytes, or a number) and in how many seconds it runs out, if it does;
    `runs`: of the engine in the last day, by kind and result."""
    asked, problem = Prometheus(r.instance), None
    found, well = health()
    turn = r.turn
    hold = turn.decision.hold if turn else None
    try:
        runs_out = {s.labels["resource"]: s.last for s in asked.now("service:capacity:runs_out_s")}
        runs: list[dict[str, Any]] | None = sorted(
            ({**s.labels, "count": round(s.last)} for s in asked.now(
                "sum by (kind, result) (increase(reconciler_reconcile_total[1d]))")
             if round(s.last)), key=lambda run: -run["count"])
        drift: int | None = round(sum(s.last for s in asked.now(
            "sum(increase(reconciler_drift_total[1d]))")))
    except UnreachableError as error:
        runs_out, runs, drift, problem = {}, None, None, str(error)
    return {
        "fleet": fleet(r), "problem": problem, "runs": runs, "drift": drift,
        "loop": {**found, "well": well, "queue": r.queue.depth(),
                 "commit": turn.commit if turn else None,
                 "halted": (turn.halt or (hold.reason if hold else None)) if turn else None,
                 "unreachable": dict(turn.look.unreachable) if turn else {}},
        "alerts": alerts.state(r.instance, r.store.platform().alerts),
        "capacity": [{"resource": what, "used": used, "total": total, "runs_out_s": (
            seconds if (seconds := runs_out.get(what)) is not None and seconds < SOON_S else None)}
            for what, (used, total) in r.capacity().items()]}


def fleet(r: Reconciler) -> dict[str, int]:
    """`customers`, and employees by how they are: working, asleep, blank, starting, paused,
    unwell."""
    counts: Counter[str] = Counter()
    for row in r.fleet.rows().values():
        if row["desired_state"] == "warm":
            counts["blank"] += 1
        elif row["health_status"] == "Suspended":
            counts["paused"] += 1
        elif row["health_status"] in ("Degraded", "Missing"):
            counts["unwell"] += 1
        elif row["health_status"] == "Progressing":
            counts["starting"] += 1
        else:
            counts["asleep" if row["asleep_since"] else "working"] += 1
    names = ("working", "asleep", "starting", "unwell", "paused", "blank")
    return {"customers": len(r.book.wanted()), **{name: counts[name] for name in names}}


def charts(asked: Prometheus, span: str) -> dict[str, Any]:
    """By chart its lines, over one of SPANS: `at` (seconds since 1970), and by name the value at
    each of them, None where there is none."""
    length, step = SPANS[span]
    end = time.time() // step * step
    start = end - length
    at = [start + step * n for n in range(length // step + 1)]
    return {"at": at, "charts": {chart: {name: _on(at, asked.between(query, start, end, step))
                                         for name, query in lines}
                                 for chart, lines in CHARTS.items()}}


def _on(at: list[float], found: list[Series]) -> list[float | None]:
    points = dict(found[0].points) if found else {}
    return [points.get(moment) for moment in at]


def services(asked: Prometheus) -> list[dict[str, Any]]:
    """Of each service: whether it is there `now`, and the share of each of the last DAYS days
    that it was, the oldest first; None where nobody looked."""
    return [{"service": name, "now": (there[0].last >= 0.99) if (
        there := asked.now(f"service:{name}:ratio")) else None,
        "days": days(asked, f"service:{name}:ratio")} for name in _SERVICES]


def days(asked: Prometheus, query: str) -> list[float | None]:
    """The mean of what is asked over each of the last DAYS days, the oldest first."""
    end = time.time()
    at = [end - DAY_S * n for n in range(DAYS - 1, -1, -1)]
    found = asked.between(f"avg_over_time(({query})[1d:1m])", at[0], end, DAY_S)
    points = [(moment, value) for series in found[:1] for moment, value in series.points]
    return [next((value for moment, value in points if abs(moment - wanted) < DAY_S / 2), None)
            for wanted in at]


def uptime(asked: Prometheus, employee: str) -> list[float | None]:
    """The share of each of the last DAYS days that the employee answered, of the time in which it
    was to: while it sleeps, or is paused, nobody asks it."""
    if not employee.replace("-", "").isalnum():
        return [None] * DAYS
    return days(asked, f'probe_success{{job="employee",employee="{employee}"}}')
