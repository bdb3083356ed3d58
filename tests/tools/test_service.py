"""Units that systemd takes, and processes that are kept alive: real ones, that only sleep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from state_repo.instance import PORTS, Instance
from tests.e2e.house import until
from tools import processes, service, versions
from tools.steps import StepError


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    made = Instance(id="0badcafe", data=tmp_path / "data", ports=dict.fromkeys(PORTS, 2000))
    made.data.mkdir()
    made.save()
    return made


@pytest.fixture
def sleepers(instance, monkeypatch):
    """What is started only sleeps; the names of all that were."""
    began: list[str] = []

    def start(data: Path, name: str) -> int:
        process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        began.append(name)
        (data / "run").mkdir(exist_ok=True)
        (data / "run" / f"{name}.pid").write_text(
            f"{process.pid} {processes.started_at(process.pid)}\n")
        return process.pid
    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setattr(versions, "started", lambda *_: None)
    monkeypatch.setattr(service, "_SOON_S", 0.05)
    yield began
    for name in processes.NAMES:
        processes.stop(instance.data, name)


def kept(instance: Instance, *names: str):
    over, ended = threading.Event(), []
    thread = threading.Thread(target=lambda: ended.append(
        service.keep(instance.data, list(names), over)), daemon=True)
    thread.start()
    return over, ended, thread


def test_who_ends_is_started_again_and_the_other_is_left_alone(instance, sleepers):
    over, ended, thread = kept(instance, *processes.NAMES)
    until(lambda: all(processes.pid_of(instance.data, n) for n in processes.NAMES), "both run")
    web = processes.pid_of(instance.data, "webapp")
    first = processes.pid_of(instance.data, "reconciler")
    os.kill(first, signal.SIGKILL)
    until(lambda: processes.pid_of(instance.data, "reconciler") not in (None, first), "it is back")
    assert processes.pid_of(instance.data, "webapp") == web
    over.set()
    thread.join(10)
    assert ended == [0] and not any(processes.pid_of(instance.data, n) for n in processes.NAMES)
    assert sleepers == ["reconciler", "webapp", "reconciler"]


def test_one_that_ends_is_systemds_to_start_again(instance, sleepers):
    _, ended, thread = kept(instance, "reconciler")
    pid = until(lambda: processes.pid_of(instance.data, "reconciler"), "it runs")
    os.kill(pid, signal.SIGKILL)
    thread.join(10)
    assert ended == [1] and sleepers == ["reconciler"]


def test_who_ends_at_once_is_waited_for_longer_each_time(instance, sleepers, monkeypatch):
    waits: list[float] = []

    class Over:
        def is_set(self) -> bool:
            return len(waits) >= 5

        def wait(self, seconds: float) -> bool:
            if seconds != 0.5:
                waits.append(round(seconds, 2))
            for name in processes.NAMES:
                if pid := processes.pid_of(instance.data, name):
                    os.kill(pid, signal.SIGKILL)
                    until(lambda p=pid: processes.started_at(p) is None, "it ended")
            return False
    monkeypatch.setattr(service, "_LATEST_S", 0.4)
    service.keep(instance.data, list(processes.NAMES), Over())  # type: ignore[arg-type]
    assert (waits[:2] == [0.1, 0.1] and max(waits) == 0.4) or waits[0] <= waits[-1] <= 0.4


def test_without_systemd_it_says_what_another_init_is_to_run(instance, monkeypatch, tmp_path):
    monkeypatch.setattr(service, "_RUNS_SYSTEMD", tmp_path / "none")
    with pytest.raises(StepError, match="no systemd") as error:
        service.install(instance.data)
    assert "-m tools.service keep reconciler webapp" in error.value.next_try


@pytest.fixture
def fake_systemctl(tmp_path, monkeypatch):
    """A fake that only writes down what it was told."""
    told, units = tmp_path / "told", tmp_path / "units"
    units.mkdir()
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(service, "_RUNS_SYSTEMD", tmp_path)
    monkeypatch.setattr(service, "UNITS", units)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return lambda: told.read_text().splitlines() if told.exists() else []


def test_a_unit_keeps_what_it_was_told(instance):
    told = service.unit(instance, "webapp", {"IW_WEB_THREADS": "8", "IW_LOG_LEVEL": "DEBUG\nUser=x",
                                             "IW_SMTP_URL": "smtp://me:secret@mail"})
    assert 'Environment="IW_WEB_THREADS=8"\nRestart=always' in told
    assert "User=x" not in told and "secret" not in told
    assert service.unit(instance, "webapp", {}).count("Environment=") == 1


def test_units_are_written_used_and_taken_out_again(instance, fake_systemctl):
    service.install(instance.data)
    web = "instantworker-0badcafe-webapp.service"
    assert fake_systemctl() == [
        "daemon-reload", "enable --now instantworker-0badcafe-reconciler.service",
        f"enable --now {web}"]
    assert service.is_installed(instance.data, "webapp")
    service.stop(instance.data, "webapp")
    assert fake_systemctl()[-1] == f"stop {web}"
    service.remove(instance.data)
    assert not service.is_installed(instance.data, "webapp")
    assert fake_systemctl()[-2:] == [
        "disable --now instantworker-0badcafe-reconciler.service", "daemon-reload"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("process", processes.NAMES)
def test_systemd_itself_finds_nothing_wrong_with_them(instance, tmp_path, process):
    for name in processes.NAMES:
        (tmp_path / service.name_of(instance, name)).write_text(service.unit(instance, name))
    path = tmp_path / service.name_of(instance, process)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)],
                          capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "instantworker" in line]
    assert not ours, done.stderr
