"""`iw log`: both processes' lines in order, and those of one customer, commit or trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from state_repo import changes, journal, logbook
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.store import Author, Store
from tests.conftest import free_ports
from tests.operator_cli.test_iw import IMAGE, run

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports())
    instance.save()
    instance.logs_path.mkdir()
    return tmp_path


def write(data: Path, process: str, *lines: tuple[float, str] | tuple[float, str, dict] | str,
          name: str = "") -> None:
    """`lines`: how many seconds ago, the message, further fields; or a line as it stands."""
    with (data / "logs" / (name or f"{process}.log")).open("a") as file:
        for line in lines:
            if isinstance(line, tuple):
                at = datetime.now(UTC) - timedelta(seconds=line[0])
                line = json.dumps({"level": "INFO", "logger": "x", "message": line[1],
                                   "process": process, "time": at.isoformat(),
                                   **(line[2] if len(line) > 2 else {})})
            file.write(f"{line}\n")


def messages(data: Path, *arguments: str) -> list[str]:
    done = run(data, "log", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return [line["message"] for line in json.loads(done.stdout)]


def test_both_processes_are_told_in_the_order_of_time_and_as_far_back_as_asked(data):
    write(data, "reconciler", (7200, "two hours ago"), name="reconciler.log.1")
    write(data, "reconciler", (50, "third"), (10, "fifth", {"level": "ERROR"}))
    write(data, "webapp", (90, "second"), "Traceback of one that could not begin", (20, "fourth"))
    assert messages(data) == ["second", "Traceback of one that could not begin", "third",
                              "fourth", "fifth"]
    assert messages(data, "--since", "1d")[0] == "two hours ago"
    assert messages(data, "--level", "error") == ["fifth"]
    assert messages(data, "--since", "30s") == ["fourth", "fifth"]


def test_what_it_is_about_is_a_customer_an_employee_or_a_trace_however_old(data):
    write(data, "webapp", (9999, "hired", {"trace": TRACE, "customer": "acme"}),
          (40, "of bolt", {"customer": "bolt"}))
    write(data, "reconciler", (9000, "made", {"trace": TRACE, "customer": "acme"}),
          (30, "pulse-7f3k2a sleeps"))
    assert messages(data, TRACE) == messages(data, "acme") == ["hired", "made"]
    assert messages(data, "pulse-7f3k2a") == ["pulse-7f3k2a sleeps"]
    assert messages(data, "acme", "--since", "1h") == []


def test_a_commit_is_told_with_the_request_that_made_it(data):
    store = Store.open_or_create(Instance.load(data))
    with journal.about(trace=TRACE):
        sha = changes.set_platform(store, Author("Eve", "eve@iw.test"), "P",
                                   lambda _: Platform(images={"employee": IMAGE}))
    write(data, "webapp", (60, "the click", {"trace": TRACE}), (50, "something else"))
    write(data, "reconciler", (40, "applied", {"commit": sha}))
    assert messages(data, sha) == messages(data, sha[:10]) == ["the click", "applied"]
    assert messages(data, "0123456789abcdef") == []


def test_for_people_it_is_a_line_with_what_it_is_about_and_nothing_steers_the_terminal(data):
    write(data, "webapp", (5, "[bold]\x1b[31mred", {"customer": "acme", "level": "WARNING",
                                                   "exception": "Traceback\nValueError: x"}))
    shown = run(data, "log").stdout
    assert "warning webapp" in shown and "customer=acme" in shown and "ValueError: x" in shown
    assert "[bold]" in shown and "\x1b" not in shown
    assert "Nothing was logged about it" in run(data, "log", "nobody").stdout


def test_a_span_that_is_none_says_what_is(data):
    done = run(data, "log", "--since", "yesterday")
    assert done.exit_code == 2 and "say 90s, 10m, 2h or 7d" in done.stderr


def test_of_a_long_log_only_what_is_asked_for_is_read(data):
    write(data, "webapp", *((900 - n, f"line {n}", {"customer": "acme"}) for n in range(50)))
    write(data, "webapp", (5, "a \"quoted\" word of bolt"))
    instance = Instance.load(data)
    newest = logbook.lines_of(instance, newest=400)
    assert newest[-1]["message"] == 'a "quoted" word of bolt' and len(newest) < 5
    assert [line["message"] for line in logbook.lines_of(instance, {'"quoted"'})] == [
        'a "quoted" word of bolt']
    assert len(logbook.lines_of(instance, {"acme"})) == 50
