"""iw without a running platform: what it commits, what it says, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from operator_cli.output import brief, plain, word
from operator_cli.whole import iw
from state_repo import changes
from state_repo.documents import AlertReceiver, Alerts, Backups, MailServer, Platform
from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Author, Store
from tests.conftest import free_ports
from tests.rows import put_stack

IMAGE = f"instantworker/employee@sha256:{'a' * 64}"
HIRE = ("hire", "--customer", "acme", "--name", "Pulse", "--role", "Tester", "--no-wait")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    instance = Instance(id="0badcafe", data=tmp_path, ports=free_ports())
    instance.save()
    StatusStore(instance.database_url).migrate()
    store, setup = Store.open_or_create(instance), Author("S", "s@iw.test")
    changes.set_platform(store, setup, "P", lambda _: Platform(images={"employee": IMAGE}))
    changes.create_customer(store, setup, "acme", "Acme", 1)
    return tmp_path


def run(data: Path, *arguments: str, text: str | None = None):
    return CliRunner().invoke(iw, ["--data", str(data), *arguments], input=text)


def test_without_an_instance_it_says_what_to_do(tmp_path):
    done = run(tmp_path, "status")
    assert done.exit_code == 3 and "make run" in done.stderr


def test_a_hire_is_a_commit_and_the_seat_limit_an_error_in_words(data):
    done = run(data, *HIRE, "--json")
    assert done.exit_code == 0
    hired = json.loads(done.stdout)
    assert hired["chat_url"].startswith(f"http://{hired['employee']}.gw.iw.localhost:")
    again = run(data, *HIRE)
    assert again.exit_code == 1 and "2 employees would hold a seat" in again.stderr


def test_retire_wants_its_id_typed(data):
    employee = json.loads(run(data, *HIRE, "--json").stdout)["employee"]
    refused = run(data, "retire", employee, "--no-wait", text="yes\n")
    assert refused.exit_code == 1 and "nothing was changed" in refused.stderr
    assert "kept for 14 days" in refused.stdout
    assert run(data, "retire", employee, "--no-wait", text=f"{employee}\n").exit_code == 0


def test_status_of_an_empty_house_shows_the_next_step(data):
    assert "./iw hire" in run(data, "status").stdout
    assert json.loads(run(data, "status", "--json").stdout)["employees"] == []


@pytest.mark.parametrize("command", [("plan",), ("drift",), ("logs", "x"), ("confirm", "abc"),
                                     ("upgrade", "--image", IMAGE), ("upgrade", "--status")])
def test_what_needs_the_reconciler_says_so(data, command):
    done = run(data, *command)
    assert done.exit_code == 1 and "the reconciler does not answer" in done.stderr


def test_doctor_names_what_is_wrong_and_what_to_do(data):
    done = run(data, "doctor", "--json")
    found = {f["name"]: f for f in json.loads(done.stdout)}
    assert done.exit_code == 1
    assert found["reconciler"]["result"] == found["DNS"]["result"] == "fail"
    assert found["documents"]["result"] == "ok"
    assert all(f["fix"] for f in found.values() if f["result"] == "fail")


def test_info_as_json(data):
    found = json.loads(run(data, "info", "--json").stdout)
    assert found["data"] == str(data) and found["domain"] == "iw.localhost"


def test_long_texts_are_shortened_for_tables():
    assert brief("one\ntwo") == "one"
    assert brief("x" * 200).endswith("…") and len(brief("x" * 200)) == 90


def test_text_from_outside_neither_styles_nor_steers_the_terminal():
    assert plain("[/red] \x1b[2J\x07 ok") == "\\[/red] \ufffd[2J\ufffd ok"
    assert word("[bold]x").endswith("x") and "\\[bold]" in word("[bold]x")


def test_without_a_reconciler_nothing_is_called_synced(data):
    store = StatusStore(Instance.load(data).database_url)
    put_stack(store, "platform", sync_status="Synced", health_status="Healthy")
    found = json.loads(run(data, "status", "--json").output)
    assert found["observed"] is False
    assert [s["sync_status"] for s in found["stacks"]] == ["Unknown"]
    assert "does not answer" in run(data, "status").output


@pytest.mark.long  # three processes; what they say: tests/webapp/test_billing_doctor.py
def test_billing_says_what_is_so_without_the_web_app(data):
    done = run(data, "billing", "doctor", "--json")
    found = {f["name"]: f for f in json.loads(done.output)}
    assert done.exit_code == 0 and "nothing is charged" in found["mode"]["found"]
    done = run(data, "billing", "reconcile")
    assert done.exit_code == 0 and "0 subscriptions compared" in done.output
    assert run(data, "billing", "list", "--json").output.strip() == "[]"


def test_who_is_told_of_alerts_is_a_commit_and_where_to_post_a_secret(data):
    def told():
        return Store(Instance.load(data).state_repo_path).platform().alerts
    assert "Nobody is told when something breaks" in run(data, "status").output
    done = run(data, "alert", "add", "email", "night@iw.test")
    assert done.exit_code == 1 and "iw alert mail" in done.output and told() == Alerts()
    done = run(data, "alert", "mail", "mail.iw.test:587", "--from", "alerts@iw.test", "--user",
               "iw", text="pass word\n")
    assert done.exit_code == 0, done.output
    assert run(data, "alert", "add", "email", "night@iw.test").exit_code == 0
    done = run(data, "alert", "add", "slack", "https://hooks.iw.test/T0/B0")
    assert done.exit_code == 2 and "a shell's history keeps it" in done.output.replace("\n", " ")
    done = run(data, "alert", "add", "slack", text="hooks.iw.test\n")
    assert done.exit_code == 1 and "begins with https://" in done.output
    for url in ("https://hooks.iw.test/T0/B0", "https://hooks.iw.test/T1/B1"):
        assert run(data, "alert", "add", "slack", text=f"{url}\n").exit_code == 0
    assert run(data, "alert", "heartbeat", text="https://beat.iw.test/1\n").exit_code == 0
    assert told() == Alerts(
        (AlertReceiver(email="night@iw.test"), AlertReceiver(slack="alert-slack"),
         AlertReceiver(slack="alert-slack-2")),
        MailServer("mail.iw.test:587", "alerts@iw.test", "iw", "alert-mail"), "alert-heartbeat")
    kept = {path.name: path.read_text() for path in (data / "secrets").glob("alert-*")}
    assert kept == {"alert-mail": "pass word", "alert-slack": "https://hooks.iw.test/T0/B0",
                    "alert-slack-2": "https://hooks.iw.test/T1/B1",
                    "alert-heartbeat": "https://beat.iw.test/1"}
    assert not any("hooks" in path.read_text() for path in data.rglob("platform.yaml"))
    assert "Nobody is told" not in run(data, "status").output
    (found,) = (f for f in json.loads(run(data, "doctor", "--json").output)
                if f["name"] == "alerts")
    assert found["result"] == "ok" and found["found"] == "3 are told"
    (data / "secrets" / "alert-slack-2").unlink()
    (found,) = (f for f in json.loads(run(data, "doctor", "--json").output)
                if f["name"] == "alerts")
    assert found["result"] == "fail" and "alert-slack-2" in found["found"]
    assert "nobody is told at x" in run(data, "alert", "remove", "x").output
    assert run(data, "alert", "remove", "alert-slack-2").exit_code == 0
    assert run(data, "alert", "heartbeat", "--off").exit_code == 0
    assert len(told().receivers) == 2 and told().heartbeat is None


def test_where_backups_go_is_a_commit_and_its_keys_a_secret(data):
    def settings():
        return Store(Instance.load(data).state_repo_path).platform().backups
    assert "Nothing is backed up" in run(data, "status").output
    (found,) = (f for f in json.loads(run(data, "doctor", "--json").output)
                if f["name"] == "backups")
    assert found["result"] == "warn" and "iw backup set" in found["fix"]
    done = run(data, "backup", "set", "not a place")
    assert done.exit_code == 1 and "spec.backups.repository" in done.output, done.output
    done = run(data, "backup", "set", "rest:https://me:secret@rest.iw.test/")
    assert done.exit_code == 1 and "holds a password" in done.output
    assert run(data, "backup", "set", "/mnt/backups", "--every-hours", "2").exit_code == 0
    password = run(data, "backup", "key").output.strip()
    assert len(password) > 30, "it can be written down at once"
    assert settings() == Backups("/mnt/backups", None, 2.0)
    done = run(data, "backup", "set", "s3:https://s3.iw.test/bucket",
               text="AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")
    assert done.exit_code == 0 and "Write the password down" in done.output.replace("\n", " ")
    assert settings() == Backups("s3:https://s3.iw.test/bucket", "backup-access", 2.0)
    assert (data / "secrets" / "backup-access").read_text() == (
        "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")
    assert run(data, "backup", "key").output.strip() == password
    assert "Nothing is backed up" not in run(data, "status").output
    assert run(data, "backup", "restore").exit_code == 2
    done = run(data, "backup", "restore", "--knowledge", "acme", text="n\n")
    assert "replaces the files of the knowledge of acme" in done.output and done.exit_code == 1
    assert run(data, "backup", "off").exit_code == 0 and settings().repository is None


def test_a_freeze_is_a_commit_with_a_reason_and_an_end(data):
    done = run(data, "freeze", "--customer", "acme", "--reason", "we move its disk", "--until",
               "2h")
    assert done.exit_code == 0 and "frozen until" in done.stdout and "iw thaw" in done.stdout
    made = Store.open_or_create(Instance.load(data)).snapshot().customers["acme"].customer
    assert made.freeze.reason == "we move its disk"
    assert run(data, "thaw", "--customer", "acme").exit_code == 0
    made = Store.open_or_create(Instance.load(data)).snapshot().customers["acme"].customer
    assert made.freeze is None
    refused = run(data, "freeze", "--reason", "x", "--until", "soon")
    assert refused.exit_code == 2 and "30m, 2h or 3d" in refused.stderr
    nobody = run(data, "freeze", "--customer", "nobody", "--reason", "x", "--until", "2h")
    assert nobody.exit_code == 1 and "there is no customer nobody" in nobody.stderr


def test_how_changes_are_reviewed_is_set_by_a_commit(data):
    assert json.loads(run(data, "review", "--json").stdout) == {
        "directPushes": False, "approvals": 1}
    done = run(data, "review", "--direct-pushes", "on", "--approvals", "0")
    assert done.exit_code == 0 and "main takes pushes" in done.stdout
    assert Store.open_or_create(Instance.load(data)).platform().review.approvals == 0


def test_a_commit_is_taken_back_by_a_change(data):
    employee = json.loads(run(data, *HIRE, "--json").stdout)["employee"]
    run(data, "pause", employee, "--no-wait")
    store = Store.open_or_create(Instance.load(data))
    done = run(data, "rollback", store.head()[:10])
    assert done.exit_code == 0 and "iw plan --change roll-back-" in done.stdout
    (change,) = json.loads(run(data, "changes", "--json").stdout)
    assert change["commits"][0]["subject"].startswith('Roll back "Pause')
    assert "roll-back-" in run(data, "changes").stdout
    assert f"back, the change {change['change']}" in run(data, "events", "--json").stdout
    assert run(data, "rollback", "0000000").exit_code == 1


def test_an_engineer_gets_a_login(data):
    made = json.loads(run(data, "engineer", "eve@iw.test", "--json").stdout)
    assert made["email"] == "eve@iw.test" and len(made["password"]) >= 12
    assert run(data, "engineer", "eve@iw.test").exit_code == 1
