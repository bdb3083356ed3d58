"""What of refused documents is brought into force all the same."""

from __future__ import annotations

from dataclasses import replace

from reconciler.allowed import allowed, corruption, stops_only, waiting
from state_repo.documents import Customer, Employee, Violation, employee_path
from state_repo.snapshot import CustomerState

IMAGE = f"x@sha256:{'a' * 64}"


def acme(**states: str) -> CustomerState:
    return CustomerState("acme", "d", Customer("acme", "Acme", 9, "10.9.0.0/28"), {
        id: Employee(id, "acme", id, "Tester", IMAGE, state=state) for id, state in states.items()})


def against(employee: str) -> Violation:
    return Violation(employee_path("acme", employee), 3, "spec", "is bad", "write a good one")


def is_fine(_: CustomerState) -> bool:
    return False


def is_worse(_: CustomerState) -> bool:
    return True


def test_a_document_that_nothing_is_wrong_with_is_brought_into_force():
    ran, wanted = acme(a="running", b="running"), acme(a="running", b="paused", c="running")
    wanted = replace(wanted, employees={
        **wanted.employees, "a": replace(wanted.employees["a"], role="Other")})
    found = allowed(ran, wanted, [against("a")], is_fine)
    assert found is not None
    assert found.employees == {**wanted.employees, "a": ran.employees["a"]}
    assert waiting(found, wanted) == {"a"}


def test_who_is_new_and_refused_is_left_out_and_who_is_stopped_is_stopped():
    ran, wanted = acme(a="running"), acme(a="paused", b="running")
    found = allowed(ran, wanted, [against("a"), against("b")], is_fine)
    assert found is not None and found.employees.keys() == {"a"}
    assert found.employees["a"].state == "paused"


def test_where_the_documents_dont_go_together_only_stops_count():
    ran, wanted = acme(a="running", b="running"), acme(a="paused", b="running", c="running")
    found = allowed(ran, wanted, [], is_worse)
    assert found is not None
    assert {e.id: e.state for e in found.employees.values()} == {"a": "paused", "b": "running"}
    assert allowed(ran, acme(a="running", b="running", c="running"), [], is_worse) is None


def test_a_suspended_company_is_suspended_however_wrong_the_rest():
    ran = acme(a="running")
    assert ran.customer is not None
    path, wanted = ran.customer.path, replace(
        ran, customer=replace(ran.customer, suspended=True, max_employees=0))
    found = allowed(ran, wanted, [Violation(path, 1, "spec", "is bad", "write")], is_fine)
    assert found is not None and found.customer is not None
    assert (found.customer.suspended, found.customer.max_employees) == (True, 9)


def test_who_is_retired_stays_so():
    ran, wanted = acme(a="retired"), acme(a="paused")
    assert stops_only(ran, wanted) is None


def test_a_new_customer_gets_what_nothing_is_wrong_with():
    wanted = acme(a="running", b="running")
    found = allowed(None, wanted, [against("a")], is_fine)
    assert found is not None and found.employees.keys() == {"b"}
    assert allowed(None, wanted, [], is_worse) is None
    assert wanted.customer is not None
    assert allowed(None, wanted, [Violation(wanted.customer.path, 1, "s", "bad", "w")],
                   is_fine) is None


def test_of_a_customer_that_cant_be_read_whole_only_stops_count():
    ran, wanted = acme(a="running", b="running"), replace(
        acme(b="paused", c="running"), violations=(against("a"),))
    found = allowed(ran, wanted, wanted.violations, is_fine)
    assert found is not None and {e.id: e.state for e in found.employees.values()} == {
        "a": "running", "b": "paused"}
    missing = replace(acme(a="running"), customer=None)
    assert "customer.yaml file: is missing" in str(corruption(missing)[0])
    assert allowed(acme(a="running"), missing, [], is_fine) is None
