"""One JSON object a line, with what the line is about; and a trace that goes from process to
process, and into the commit."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from state_repo import changes, journal
from state_repo.documents import Platform
from state_repo.instance import Instance
from state_repo.store import Author, Store

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
EVE = Author("Eve", "eve@iw.test")


def test_a_line_says_when_who_and_what_it_is_about(log_lines):
    log = logging.getLogger("webapp.test")
    with journal.about(trace=TRACE, customer="acme"):
        with journal.about(customer=None, employee="pulse-1"):
            log.info("hired\n%s", "Pülse")
        try:
            raise ValueError("of its own")
        except ValueError:
            log.exception("bad", extra={"customer": "bolt"})
    log.info("of nobody")
    hired, bad, nobody = log_lines()
    assert hired.pop("time").endswith("+00:00")
    assert hired == {"level": "INFO", "logger": "webapp.test", "message": "hired\nPülse",
                     "process": "webapp", "trace": TRACE, "customer": "acme",
                     "employee": "pulse-1"}
    assert bad["customer"] == "bolt" and bad["exception"].endswith("ValueError: of its own")
    assert "trace" not in nobody and "customer" not in nobody and "exception" not in nobody


def test_a_header_carries_the_trace_and_nothing_else_is_taken_for_one():
    assert journal.headers() == {}
    with journal.about(trace=TRACE):
        made = journal.headers()["traceparent"]
    assert journal.trace_of(made) == TRACE
    assert journal.trace_of(f"00-{TRACE}-00f067aa0ba902b7-01") == TRACE
    for wrong in (None, "", TRACE, f"00-{TRACE[:-1]}-00f067aa0ba902b7-01", f"00-{'0' * 32}-1-01",
                  f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-01\r\nX: y"):
        assert journal.trace_of(wrong) is None


def test_another_thread_borrows_what_work_is_about_while_it_lasts():
    seen = []

    def part() -> None:
        with journal.borrowed("customers-acme"):
            seen.append(journal.trace())
    with journal.about(trace=TRACE), journal.lent("customers-acme"):
        thread = threading.Thread(target=part)
        thread.start()
        thread.join()
    part()
    assert seen == [TRACE, None]


def test_a_commit_keeps_its_trace_and_its_subject(tmp_path: Path):
    store = Store.open_or_create(Instance(id="0badcafe", data=tmp_path))
    with journal.about(trace=TRACE):
        sha = changes.set_platform(store, EVE, "Begin", lambda _: Platform(
            images={"employee": IMAGE}))
    later = changes.create_customer(store, EVE, "acme", "Acme", 1)[1]
    info = store.commit_info(sha)
    assert (info.subject, info.trace) == ("Begin", TRACE)
    assert store.commit_info(later).trace is None
    told = store.commits_between(sha, later, 9) + store.commits_touching(
        "platform.yaml", None, later)
    assert [(c.trace, c.paths) for c in told] == [
        (None, ("customers/acme/customer.yaml",)), (TRACE, ("platform.yaml",))]


def test_a_draft_is_the_same_commit_in_whatever_trace(tmp_path: Path):
    store = Store.open_or_create(Instance(id="0badcafe", data=tmp_path))
    head = changes.set_platform(store, EVE, "Begin", lambda _: Platform(images={"employee": IMAGE}))
    tree, made = store.objects.tree_of(head), set()
    for trace in (TRACE, None):
        with journal.about(trace=trace):
            made.add(store.draft(tree, head))
    assert len(made) == 1
