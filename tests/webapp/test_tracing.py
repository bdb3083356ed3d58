"""Every answer names its trace; what changes something is a line in the log, and the commit that
it makes is of the same trace."""

from __future__ import annotations

import logging

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_hire_s_answer_log_and_commit_are_of_one_trace(house, caplog):
    ann = house.client("ann@acme.test")
    caplog.set_level(logging.INFO, "webapp.tracing")
    hired = ann.post("/api/v1/customers/acme/employees?key=hidden",
                     json={"name": "Nova", "role": "Tester"})
    assert hired.status_code == 201, hired.json
    trace = hired.headers["X-Trace-Id"]
    store = house.app.extensions["iw_store"]
    assert store.commit_info(hired.json["commit"]).trace == trace
    line = caplog.messages[-1]
    assert line.startswith("POST /api/v1/customers/acme/employees: 201 in ")
    assert "hidden" not in caplog.text


def test_a_visitor_s_own_trace_is_taken_and_a_wrong_one_is_not(house):
    client = house.client()
    for came, taken in ((f"00-{TRACE}-00f067aa0ba902b7-01", True), ("00-nonsense-1-01", False)):
        answer = client.get("/api/v1/session", headers={"traceparent": came})
        assert (answer.headers["X-Trace-Id"] == TRACE) is taken
        assert len(answer.headers["X-Trace-Id"]) == 32
    one, other = (client.get("/sign-in").headers["X-Trace-Id"] for _ in range(2))
    assert one != other


def test_looking_is_no_line_and_an_error_of_ours_is_one_with_its_trace_on_the_page(
        house, caplog, monkeypatch):
    client = house.client()
    caplog.set_level(logging.INFO, "webapp.tracing")
    client.get("/sign-in")
    assert not [r for r in caplog.records if r.name == "webapp.tracing"]
    house.app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setitem(house.app.view_functions, "pages.sign_in", lambda: 1 / 0)
    broken = client.get("/sign-in")
    assert broken.status_code == 500
    assert broken.headers["X-Trace-Id"] in broken.text
    assert caplog.messages[-1].startswith("GET /sign-in: 500 in ")
