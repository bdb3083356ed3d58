"""Rows of the status tables as the reconciler would have written them, one at a time."""

from __future__ import annotations

from typing import Any

from state_repo.status import (
    EmployeeStatus,
    Receipt,
    StackStatus,
    StatusStore,
    drop_row,
    new_row,
    set_row,
)


def put_employee(status: StatusStore, id: str, **fields: Any) -> None:
    status.write([set_row(EmployeeStatus, id, fields)])


def put_stack(status: StatusStore, id: str, **fields: Any) -> None:
    status.write([set_row(StackStatus, id, fields)])


def drop_employee(status: StatusStore, id: str) -> None:
    status.write([drop_row(EmployeeStatus, id)])


def put_receipt(status: StatusStore, **fields: Any) -> None:
    status.write([new_row(Receipt, fields)])
