from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.locks import InstanceLock, LockedError, break_dead_pulumi_locks, process_started_at


def pulumi_lock(folder, pid, *, host=None, made=None):
    path = folder / f"{pid}.json"
    path.write_text(json.dumps({
        "pid": pid, "username": "root", "hostname": host or socket.gethostname(),
        "timestamp": (made or datetime.now(UTC)).isoformat()}))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_of_a_dead_process_is_broken(tmp_path):
    path = pulumi_lock(tmp_path, dead_pid())
    assert break_dead_pulumi_locks(tmp_path) == [path] and not path.exists()


def test_the_lock_of_a_live_process_and_of_another_host_stay(tmp_path):
    pulumi_lock(tmp_path, os.getpid())
    pulumi_lock(tmp_path, dead_pid(), host="elsewhere")
    assert break_dead_pulumi_locks(tmp_path) == []


def test_a_pid_that_was_given_away_again_proves_its_owner_dead(tmp_path):
    path = pulumi_lock(tmp_path, os.getpid(), made=datetime.now(UTC) - timedelta(days=2))
    assert break_dead_pulumi_locks(tmp_path) == [path]


def test_a_file_that_is_no_lock_is_left(tmp_path):
    (tmp_path / "x.json").write_text("{")
    assert break_dead_pulumi_locks(tmp_path) == []


def test_start_time_of_processes():
    assert process_started_at(os.getpid()) is not None
    assert process_started_at(dead_pid()) is None


def test_a_second_reconciler_is_refused_and_told_why(tmp_path):
    lock = InstanceLock(tmp_path / "lock")
    with pytest.raises(LockedError, match=f"pid {os.getpid()}"):
        InstanceLock(tmp_path / "lock")
    lock.release()
    InstanceLock(tmp_path / "lock").release()


def test_the_lock_ends_with_its_process_however_it_ended(tmp_path):
    code = ("import sys,os,signal; sys.path.insert(0,'.'); from pathlib import Path;"
            "from reconciler.locks import InstanceLock;"
            f"InstanceLock(Path({str(tmp_path / 'lock')!r})); os.kill(os.getpid(), 9)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    InstanceLock(tmp_path / "lock").release()
