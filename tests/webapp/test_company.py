"""The company's name, its export, its end; and what its people are told by mail."""

from __future__ import annotations

import http.server
import io
import json
import socketserver
import threading
import zipfile
from datetime import timedelta
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from sqlalchemy import select

from state_repo import changes
from tests.conftest import free_ports
from tests.rows import put_employee
from tests.webapp.conftest import ENGINEER, PASSWORD
from tests.webapp.test_people import Post, account, joined
from webapp import company, mail, notices
from webapp.models import Account, Closure, Letter, Notice, db, now
from webapp.quizzes import Quiz

GONE = {"name": "Acme", "password": PASSWORD}
ACME = "/api/v1/customers/acme"


@pytest.fixture
def post(house) -> Post:
    return Post(house)


def documents(house, customer: str):
    store = house.app.extensions["iw_store"]
    return store.read_customer(store.head(), customer)


# ---- its name and its end --------------------------------------------------------------------

def test_a_company_is_renamed_by_a_commit(house):
    ann = house.client("ann@acme.test")
    answer = ann.patch(ACME, json={"name": " Acme   Rockets "})
    assert answer.json["customer"]["name"] == "Acme Rockets"
    info = house.app.extensions["iw_store"].commit_info(answer.json["commit"])
    assert (info.author_email, info.subject) == ("ann@acme.test", "Rename acme to Acme Rockets")
    assert ann.patch(ACME, json={"name": "a\nb\u0007"}).status_code == 422
    form = {"csrf_token": ann.environ_base["HTTP_X_CSRF_TOKEN"], "name": ""}
    page = ann.post("/settings/name", data=form)
    assert page.status_code == 422 and "at most 80" in page.text


def test_a_deletion_stops_all_at_once_and_can_be_undone(house, post):
    ann, ben, _ = joined(house, post, "owner")
    post.deliver()
    for wrong in ({"name": "acme"}, {"password": "wrong"}):
        assert ann.post(f"{ACME}/closure", json=GONE | wrong).status_code in (403, 422)
    assert documents(house, "acme").customer.suspended is False
    assert ann.post(f"{ACME}/closure", json=GONE).status_code == 201
    assert ann.post(f"{ACME}/closure", json=GONE).status_code == 409
    assert documents(house, "acme").customer.suspended is True
    assert "is being deleted" in ben.get("/").text
    assert sorted(m["To"] for m in post.deliver()) == ["ann@acme.test", "ben@acme.test"]
    assert all("2" in m["Subject"] for m in post.sent), "the mail states the date"
    assert ben.delete(f"{ACME}/closure").status_code == 200
    assert documents(house, "acme").customer.suspended is False
    assert ben.delete(f"{ACME}/closure").status_code == 409
    assert "is being deleted" not in ann.get("/").text


def test_who_was_suspended_before_stays_so(house):
    store = house.app.extensions["iw_store"]
    changes.set_seats(store, ENGINEER, "acme", suspended=True)
    ann = house.client("ann@acme.test")
    ann.post(f"{ACME}/closure", json=GONE)
    ann.delete(f"{ACME}/closure")
    assert documents(house, "acme").customer.suspended is True


def test_after_the_grace_the_company_is_over_and_its_neighbour_is_not(house, post):
    ann, ben, _ = joined(house, post)
    ann.post(f"{ACME}/closure", json=GONE)
    company.finish_due(house.app)
    assert account(house, "ann@acme.test") is not None, "not before its day"
    with house.app.app_context():
        db.session.query(Closure).update({"due_at": now() - timedelta(seconds=1)})
        db.session.commit()
    company.finish_due(house.app)
    company.finish_due(house.app)
    state = documents(house, "acme")
    assert {e.state for e in state.employees.values()} == {"retired"}
    assert state.customer.max_employees == 0
    for client in (ann, ben):
        assert client.get("/api/v1/session").status_code == 401
    with house.app.app_context():
        assert [a.email for a in db.session.scalars(select(Account).order_by(Account.email))] == [
            "ann@bolt.test", "eng@iw.test"]
    assert {e.state for e in documents(house, "bolt").employees.values()} == {"running"}
    assert "Acme was deleted" in {m["Subject"] for m in post.deliver()}


# ---- the export ------------------------------------------------------------------------------

class Reconciler(http.server.BaseHTTPRequestHandler):
    """As much of the internal API as an export and the notices ask."""

    spent: ClassVar[dict] = {}
    broken = False

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        self._answer(b"{}")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/files/archive"):
            return self._answer(b"PK" + b"x" * 300_000, lie=self.broken)
        if path.endswith("/knowledge"):
            return self._answer(json.dumps({"documents": [
                {"name": "../../etc/price list.txt"}, {"name": "gone.txt"}]}).encode())
        if path.endswith("/knowledge/content") and "gone" in self.path:
            return self._answer(b'{"error": "it was removed", "code": "not_found"}', 404)
        if path.endswith("/knowledge/content"):
            return self._answer(b"eggs 3")
        return self._answer(json.dumps(self.spent).encode())

    def _answer(self, body: bytes, status: int = 200, lie: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (1000 if lie else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def reconciler(house):
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    class Handler(Reconciler):
        pass
    path = house.app.config["INSTANCE"].socket
    path.parent.mkdir(parents=True, exist_ok=True)
    server = Server(str(path), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Handler
    server.shutdown()
    server.server_close()


def exported(client) -> tuple[zipfile.ZipFile, dict]:
    answer = client.get(f"{ACME}/export")
    assert answer.status_code == 200 and answer.mimetype == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert client.get(f"{ACME}/export").status_code == 409, "one at a time"
    answer.close()
    assert archive.testzip() is None
    return archive, json.loads(archive.read("MANIFEST.json"))


def test_the_export_holds_everything_and_names_what_is_missing(house, reconciler):
    with house.app.app_context():
        db.session.add_all(Quiz(customer=c, employee=e, by=f"ann@{c}.test", state="taken", score=s)
                           for c, e, s in (("acme", house.pulse, 4), ("bolt", "echo-bolt", 1)))
        db.session.commit()
    archive, manifest = exported(house.client("ann@acme.test"))
    names = archive.namelist()
    assert f"employees/{house.pulse}/files.zip" in names
    assert archive.read("knowledge/price list.txt") == b"eggs 3"
    assert not [n for n in names if n.startswith(("/", "..")) or "/../" in n]
    assert "kind: Employee" in archive.read(f"employees/{house.pulse}/employee.yaml").decode()
    assert json.loads(archive.read("members.json"))[0]["email"] == "ann@acme.test"
    assert [q["score"] for q in json.loads(archive.read("quizzes.json"))] == [4]
    assert manifest["missing"] == [{"what": "knowledge/gone.txt", "why": "it was removed"}]
    assert "it was removed" in archive.read("README.txt").decode()
    told = {c["name"]: c["bytes"] for c in manifest["contents"]}
    assert told[f"employees/{house.pulse}/files.zip"] == 300_002
    whole = b"".join(archive.read(n) for n in names)
    assert b"bolt" not in whole and b"argon2" not in whole


def test_what_breaks_off_is_named_and_the_archive_is_whole(house, reconciler):
    reconciler.broken = True
    _, manifest = exported(house.client("ann@acme.test"))
    assert f"employees/{house.pulse}/files.zip" in {m["what"] for m in manifest["missing"]}


def test_without_the_reconciler_the_rest_is_exported(house):
    client = house.client("ann@acme.test")
    for _ in range(2):  # and the export before is over
        archive, manifest = exported(client)
        assert {m["what"] for m in manifest["missing"]} == {
            f"employees/{house.pulse}/files.zip", "knowledge/"}
        assert "company.yaml" in archive.namelist()


# ---- mails about employees -------------------------------------------------------------------

def degraded(house, health: str = "Degraded") -> None:
    put_employee(house.status, house.pulse, health_status=health, reason="its disk is full")


def later(house, **ago) -> None:
    with house.app.app_context():
        for notice in db.session.scalars(select(Notice)):
            notice.since -= timedelta(**ago)
            notice.seen_at -= timedelta(**ago)
        db.session.commit()


def test_who_needs_attention_is_told_once(house, post):
    joined(house, post, "viewer")
    with house.app.app_context():
        db.session.query(Account).filter_by(email="ben@acme.test").update(
            {"mail_attention": False})
        db.session.commit()
    watcher = notices.Watcher(house.app)
    degraded(house)
    watcher.look()
    assert post.deliver() == [], "it may come back by itself"
    later(house, minutes=3)
    for _ in range(3):
        watcher.look()
    [message] = post.deliver()
    assert (message["To"], message["Subject"]) == ("ann@acme.test", "Pulse needs attention")
    assert "its disk is full" in message.get_content()
    degraded(house, "Healthy")
    watcher.look()
    degraded(house)
    watcher.look()
    assert post.deliver() == [], "it only went and came"
    degraded(house, "Healthy")
    later(house, hours=2)
    watcher.look()
    degraded(house)
    watcher.look()
    later(house, minutes=3)
    watcher.look()
    assert len(post.deliver()) == 1


def test_who_came_back_before_the_mail_went_is_not_told(house, post):
    watcher = notices.Watcher(house.app)
    degraded(house)
    watcher.look()
    later(house, minutes=3)
    watcher.look()
    degraded(house, "Healthy")
    assert post.deliver() == []


def test_a_budget_that_is_nearly_spent_is_told_once_a_month(house, post, reconciler):
    nothing = {"settled_usd": 1.0}
    reconciler.spent = {"month": "2026-01", "customer": nothing,
                        "employees": {house.pulse: {"settled_usd": 16.5}}}
    watcher = notices.Watcher(house.app)
    watcher.look()
    told = post.deliver()
    assert [(m["To"], m["Subject"]) for m in told] == [
        ("ann@acme.test", "Pulse has used 82 % of this month's budget")]
    notices.Watcher(house.app).look()
    assert post.deliver() == []
    reconciler.spent = reconciler.spent | {"month": "2026-02", "customer": {"settled_usd": 19.0}}
    notices.Watcher(house.app).look()
    # The stand-in says the same of every company.
    [message] = [m for m in post.deliver() if m["To"] == "ann@acme.test"]
    assert message["Subject"] == "2 budgets are nearly spent"
    assert "Acme: 19.00 of 20.00 USD (95 %)" in message.get_content()


# ---- the post itself -------------------------------------------------------------------------

class Sink:
    """A real mail server that keeps what it gets; refuses for ever what is to refused@…."""

    def __init__(self) -> None:
        self.got: list = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode(),
                         session.auth_data))
        return "250 OK"


def authenticator(server, session, envelope, mechanism, data) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"iw", b"p@ss"), auth_data=data.login)


def letters(house) -> list:
    with house.app.app_context():
        return [(x.to, x.attempts) for x in db.session.scalars(select(Letter))]


def write(house, to: str) -> None:
    with house.app.app_context():
        mail.send("closed", to, name="Zoë", company="Größe & Söhne")
        db.session.commit()


def test_mail_reaches_a_real_server_after_it_was_away(house):
    port, sink = free_ports()["app"], Sink()
    house.app.extensions["iw_mail"] = mail.Server(
        f"smtp://iw:p%40ss@127.0.0.1:{port}", "InstantWorker <no-reply@iw.test>")
    write(house, "zoe@acme.test")
    assert mail.deliver_due(house.app) == 0
    assert letters(house) == [("zoe@acme.test", 1)]
    assert mail.deliver_due(house.app) == 0, "not at once again"
    server = Controller(sink, hostname="127.0.0.1", port=port, authenticator=authenticator,
                        auth_required=True, auth_require_tls=False)
    server.start()
    try:
        with house.app.app_context():
            db.session.query(Letter).update({"next_at": now()})
            db.session.commit()
        write(house, "refused@acme.test")
        write(house, "yan@acme.test")
        assert mail.deliver_due(house.app) == 2
    finally:
        server.stop()
    assert letters(house) == [], "what is refused for ever is not tried for ever"
    assert [to for _, to, _, _ in sink.got] == [["zoe@acme.test"], ["yan@acme.test"]]
    sender, _, text, login = sink.got[0]
    assert (sender, login) == ("no-reply@iw.test", b"iw")
    assert "Auto-Submitted: auto-generated" in text


def test_a_password_is_not_sent_in_the_clear(house):
    port, sink = free_ports()["app"], Sink()
    server = Controller(sink, hostname="127.0.0.1", port=port)
    server.start()
    try:
        # A name that is not loopback by name, with a password, and no STARTTLS there.
        where = mail.Server(f"smtp://iw:secret@127.1:{port}", "a@b.test")
        with pytest.raises(Exception, match="STARTTLS"):
            where.send(mail.EmailMessage())
    finally:
        server.stop()
    assert sink.got == []


def test_one_letter_that_can_not_be_written_holds_up_no_other(house, post):
    with house.app.app_context():
        db.session.add(Letter(kind="nonsense", to="a@b.test", about={}))
        db.session.commit()
    write(house, "zoe@acme.test")
    assert len(post.deliver()) == 1
    assert letters(house) == [("a@b.test", 1)]


def test_without_a_server_mails_are_in_the_log_and_keep_no_secret(house, caplog):
    caplog.set_level("INFO", "webapp.mail")
    house.client().post("/forgot", data={"email": "ann@acme.test"})
    with house.app.app_context():
        assert "key=" not in str([x.about for x in db.session.scalars(select(Letter))])
    mail.deliver_due(house.app)
    assert "/reset?key=" in caplog.text
    assert letters(house) == []


def test_the_time_in_a_mail_is_the_reader_s(house):
    ann = Account(time_zone="Asia/Tokyo")
    noon = now().replace(year=2026, month=5, day=3, hour=12, minute=0)
    assert mail.local_time(ann, noon) == "3 May 2026, 21:00 (Asia/Tokyo)"
    ann.time_zone = "Nowhere/Nothing"
    assert mail.local_time(ann, noon).endswith("(UTC)")


def test_notifications_are_one_s_own(house):
    ann = house.client("ann@acme.test")
    form = {"csrf_token": ann.environ_base["HTTP_X_CSRF_TOKEN"], "budget": "on",
            "time_zone": "Europe/Berlin"}
    assert ann.post("/settings/notifications", data=form).status_code == 303
    mine, other = account(house, "ann@acme.test"), account(house, "ann@bolt.test")
    assert (mine.mail_attention, mine.mail_budget, mine.time_zone) == (False, True, "Europe/Berlin")
    assert (other.mail_attention, other.mail_budget, other.time_zone) == (True, True, "UTC")
