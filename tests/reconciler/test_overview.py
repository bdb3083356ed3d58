"""What the operator's page and the status page are told: by value, with Prometheus faked."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from reconciler import overview
from reconciler.answers import SERVICES_S, Answers
from reconciler.overview import DAY_S, DAYS, SPANS
from reconciler.prometheus import Prometheus, Series
from stacks import UnreachableError
from state_repo.instance import PORTS, Instance
from tests.conftest import free_ports


class FakePrometheus:
    """Answers each query with what `known` holds: a value, or points by seconds ago."""

    def __init__(self, known: dict, labels: dict | None = None) -> None:
        self.known, self.labels, self.asked = known, labels or {}, []

    def now(self, query: str) -> list[Series]:
        self.asked.append(query)
        found = next((v for k, v in self.known.items() if k in query), None)
        return [] if found is None else [Series(self.labels, [(time.time(), found)])]

    def between(self, query: str, start: float, end: float, step_s: float) -> list[Series]:
        self.asked.append(query)
        found = next((v for k, v in self.known.items() if k in query), None)
        return [] if found is None else [Series(self.labels, [
            (end - ago, value) for ago, value in sorted(found.items(), reverse=True)])]

    def alerts(self) -> list[dict]:
        raise UnreachableError("away")


def test_a_day_is_the_mean_of_itself_and_a_day_that_nobody_looked_at_is_none():
    asked = FakePrometheus({"service:dashboard:ratio": {0: 1.0, DAY_S: 0.25, 3 * DAY_S: 0.5}})
    found = overview.days(asked, "service:dashboard:ratio")
    assert len(found) == DAYS
    assert found[-4:] == [0.5, None, 0.25, 1.0] and found[:-4] == [None] * (DAYS - 4)
    assert "avg_over_time((service:dashboard:ratio)[1d" in asked.asked[0]


def test_a_service_that_nobody_looked_at_is_neither_there_nor_away():
    asked = FakePrometheus({"service:thinking:ratio": 0.0, "service:dashboard:ratio": 1.0})
    asked.between = lambda *_: []
    found = {one["service"]: one["now"] for one in overview.services(asked)}
    assert found == {"dashboard": True, "employees": None, "thinking": False, "hiring": None}


def test_a_chart_has_a_value_at_each_moment_or_none():
    length, step = SPANS["1h"]
    asked = FakePrometheus({"reconciler_queue_depth": {0: 3.0, step: 2.0}})
    found = overview.charts(asked, "1h")
    assert len(found["at"]) == length // step + 1
    assert found["at"][-1] - found["at"][0] == length
    assert found["charts"]["queue"]["waiting"][-3:] == [None, 2.0, 3.0]
    assert set(found["charts"]) == set(overview.CHARTS)


def test_an_employee_is_named_in_its_query_and_nothing_else_gets_into_one():
    asked = FakePrometheus({"probe_success": {0: 1.0}})
    assert overview.uptime(asked, "pulse-7f3k2a")[-1] == 1.0
    assert 'employee="pulse-7f3k2a"' in asked.asked[0]
    assert overview.uptime(asked, 'x"} or vector(1)#') == [None] * DAYS and len(asked.asked) == 1


def test_monitoring_that_is_away_takes_only_its_own_figures(house):
    house.hire("acme", 2)
    house.settle()
    found = Answers(house.r).overview()
    assert "Prometheus does not say" in found["problem"]
    assert found["runs"] is None and found["drift"] is None and found["alerts"]["firing"] is None
    assert found["fleet"]["customers"] == 1 and found["loop"]["well"]
    by = {c["resource"]: c for c in found["capacity"]}
    assert 0 < by["memory"]["used"] < by["memory"]["total"]
    assert by["networks"]["used"] == 1 and by["networks"]["total"] > 1


def test_what_runs_out_late_is_told_of_nobody(house, monkeypatch):
    house.settle()
    for left, told in ((86400.0, 86400.0), (400 * 86400.0, None)):
        monkeypatch.setattr(overview, "Prometheus", lambda _, left=left: FakePrometheus(
            {"runs_out_s": left}, {"resource": "memory"}))
        found = Answers(house.r).overview()
        assert {c["resource"]: c["runs_out_s"] for c in found["capacity"]}["memory"] == told


def test_employees_are_counted_by_how_they_are(house):
    rows = [("running", "Healthy", None), ("running", "Healthy", "2026-11-28T00:00:00"),
            ("running", "Degraded", None), ("running", "Progressing", None),
            ("paused", "Suspended", None), ("warm", "Healthy", None)]
    house.r.fleet.rows = lambda: {str(n): {"desired_state": state, "health_status": health,
                                           "asleep_since": asleep}
                                  for n, (state, health, asleep) in enumerate(rows)}
    assert overview.fleet(house.r) == {"customers": 0, "working": 1, "asleep": 1, "starting": 1,
                                       "unwell": 1, "paused": 1, "blank": 1}


def test_however_many_look_at_the_status_prometheus_is_asked_once_in_a_while(house, monkeypatch):
    asked = []
    monkeypatch.setattr(overview, "services", lambda _: asked.append(1) or [])
    answers = Answers(house.r)
    for _ in range(5):
        answers.services()
    assert len(asked) == 1 and SERVICES_S <= 60


def test_a_monitoring_that_does_not_answer_holds_one_of_those_who_look(house, monkeypatch):
    asked, asks, go_on = [], threading.Event(), threading.Event()

    def services(_):
        asked.append(1)
        asks.set()
        go_on.wait(10)
        raise UnreachableError("away")
    def look():
        with pytest.raises(UnreachableError):
            answers.services()
    answers = Answers(house.r)
    monkeypatch.setattr(overview, "services", lambda _: [{"service": "dashboard"}])
    known = answers.services()
    answers._services = -SERVICES_S, known
    monkeypatch.setattr(overview, "services", services)
    first = threading.Thread(target=look, daemon=True)
    first.start()
    assert asks.wait(10)
    assert answers.services() == known and len(asked) == 1, "told at once what was so before"
    go_on.set()
    first.join(10)
    monkeypatch.setattr(overview, "services", lambda _: [])
    assert answers.services() == [], "and then no more"


@pytest.mark.parametrize("body", [b"no JSON", b"[]", b'{"data": {}}', b""])
def test_an_answer_that_is_none_is_told_as_such(tmp_path, body):
    class Odd(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...
    served = http.server.HTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    instance = Instance(id="0badcafe", data=tmp_path, ports={
        **dict.fromkeys(PORTS, 0), "prometheus": served.server_port})
    try:
        for ask in (lambda p: p.now("up"), lambda p: p.between("up", 0, 1, 1),
                    lambda p: p.alerts()):
            with pytest.raises(UnreachableError, match="Prometheus does not say"):
                ask(Prometheus(instance))
    finally:
        served.shutdown()
        served.server_close()
    with pytest.raises(UnreachableError):
        Prometheus(Instance(id="0badcafe", data=tmp_path, ports=free_ports())).now("up")


def test_what_is_no_number_is_left_out():
    from reconciler.prometheus import _series
    assert _series({"metric": {}}, [[1, "NaN"], [2, "+Inf"], [3, "4"]]).points == [(3.0, 4.0)]
