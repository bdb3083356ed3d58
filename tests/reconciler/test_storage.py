"""A volume that fills up is told of once, before it is full."""

from __future__ import annotations

from reconciler import storage
from reconciler.storage import StorageWatch
from state_repo.documents import Storage


def test_who_fills_up_is_told_of_once_and_again_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "volume_folder", lambda name: tmp_path / name)
    told = []

    class Names:
        @staticmethod
        def employee_volume(employee: str) -> str:
            return employee
    watch = StorageWatch(Names, lambda *said: told.append(said))
    rows = {"pulse": {"customer": "acme", "name": "Pulse"},
            "quill": {"customer": "bolt", "name": "Quill"}}
    for employee in rows:
        (tmp_path / employee).mkdir()
    watch.look(rows, Storage(employee_mb=1))
    assert told == [] and watch.used()["pulse"] == 0

    (tmp_path / "pulse" / "big").write_bytes(b"x" * 900_000)
    for _ in range(2):
        watch.look(rows, Storage(employee_mb=1))
    ((employee, customer, message),) = told
    assert (employee, customer) == ("pulse", "acme") and "of 1 MiB" in message

    (tmp_path / "pulse" / "big").unlink()
    watch.look(rows, Storage(employee_mb=1))
    assert len(told) == 2 and "room again" in told[1][2]
    watch.look({}, Storage())
    assert watch.used() == {}
