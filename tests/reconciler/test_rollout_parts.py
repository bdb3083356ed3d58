"""What a roll-out does to files and asks of a chat: real files, a real HTTP server."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler import probe
from reconciler.probe import Visitor
from reconciler.rollouts import parts
from reconciler.rollouts.parts import Parts
from reconciler.storage import Disk
from stacks import StackError
from state_repo.instance import Instance

PULSE = "pulse-aaaaaa"
VISITOR = Visitor("acme", "pulse.gw.iw.localhost")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pulse's volume."""
    root = tmp_path / "volume"
    (root / "workspace" / "notes").mkdir(parents=True)
    (root / "workspace" / "report.md").write_text("by Pulse")
    (root / "workspace" / "notes" / "plan.md").write_text("call")
    (root / "workspace" / "link").symlink_to("/etc/passwd")
    (root / "state").mkdir()
    (root / "state" / "agent.db").write_bytes(b"\0" * 4096)
    monkeypatch.setattr(parts, "volume_folder", lambda _: root)
    return root


@pytest.fixture
def of(tmp_path: Path, files: Path) -> Parts:
    return Parts(Instance(id="0badcafe", data=tmp_path), None, None)  # type: ignore[arg-type]


def everything(root: Path) -> dict[str, Any]:
    return {str(p.relative_to(root)): p.readlink() if p.is_symlink() else p.read_bytes()
            for p in root.rglob("*") if not p.is_dir()}


def test_a_snapshot_brings_all_of_it_back(of, files):
    before = everything(files)
    assert not of.has_snapshot(PULSE)
    of.snapshot(PULSE)
    assert of.has_snapshot(PULSE) and of.changes(PULSE) == ([], [])
    (files / "workspace" / "report.md").unlink()
    (files / "state" / "agent.db").write_bytes(b"newer")
    (files / "workspace" / "new").mkdir()
    (files / "workspace" / "new" / "x").write_text("y")
    of.put_back(PULSE)
    assert everything(files) == before
    of.forget_snapshots()
    assert not of.has_snapshot(PULSE)


def test_what_became_of_the_files_is_told_and_no_link_is_followed(of, files, tmp_path):
    of.snapshot(PULSE)
    (files / "workspace" / "report.md").unlink()
    (files / "workspace" / "notes" / "plan.md").write_text("write")
    (files / "workspace" / "more.md").write_text("later")
    (files / "state" / "agent.db").write_bytes(b"of the agent's own")
    assert of.changes(PULSE) == (["report.md"], ["notes/plan.md"])
    secret = tmp_path / "secret"
    secret.write_text("by Pulse")
    (files / "workspace" / "report.md").symlink_to(secret)
    assert "report.md" not in of.changes(PULSE)[1]


def test_a_snapshot_leaves_the_host_its_reserve(of, monkeypatch):
    monkeypatch.setattr(parts.Disk, "of", lambda _: Disk(free=3 << 30, total=64 << 30))
    with pytest.raises(StackError, match="no room for a snapshot"):
        of.snapshot(PULSE)
    assert not of.has_snapshot(PULSE)


def test_a_blank_is_emptied(of, files):
    of.empty(PULSE)
    assert list(files.iterdir()) == [] and Path("/etc/passwd").exists()


# ---- the chat's page -------------------------------------------------------------------------

@pytest.fixture
def chat(monkeypatch):
    """Serves `chat.pages`: by path, a status and a body, with headers."""
    pages: dict[str, tuple[int, bytes, dict[str, str]]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = pages.get(self.path, (404, b"nothing", {}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(probe, "CHAT_PORT", server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield pages
    server.shutdown()
    thread.join()
    server.server_close()


_PAGE = b"""<html><link rel="icon" href="./favicon.svg"><link rel="stylesheet" crossorigin
href="./assets/index.css"><script type="module" src="./assets/index.js?v=1"></script>
<script src="https://elsewhere.test/x.js"></script></html>"""


def test_a_page_is_whole_when_all_that_it_loads_is_there(chat):
    chat.update({"/": (200, _PAGE, {}), "/assets/index.css": (200, b"a{}", {}),
                 "/assets/index.js?v=1": (200, b"go()", {})})
    assert probe.page_problem("127.0.0.1", VISITOR) is None
    chat["/assets/index.css"] = (404, b"no", {})
    assert probe.page_problem("127.0.0.1", VISITOR) == (
        "/assets/index.css of its chat is refused (404)")
    chat["/assets/index.css"] = (200, b"", {})
    assert "is empty" in (probe.page_problem("127.0.0.1", VISITOR) or "")
    chat["/"] = (200, b"<html>Welcome to nginx</html>", {})
    assert probe.page_problem("127.0.0.1", VISITOR) == "its chat's page names no script"
    chat["/"] = (403, b"no", {})
    assert "refused (403)" in (probe.page_problem("127.0.0.1", VISITOR) or "")


def test_an_employee_that_is_not_started_says_why(chat):
    chat["/v1/models"] = (503, b"", {"X-Refused": "its files were written by OpenClaw 2027.1.1"})
    assert probe.answers("127.0.0.1", VISITOR) == (
        "it does not start: its files were written by OpenClaw 2027.1.1")
    chat["/v1/models"] = (503, b"", {})
    assert probe.answers("127.0.0.1", VISITOR) == "it is not ready yet (503)"
    chat["/v1/models"] = (200, b"{}", {})
    assert probe.answers("127.0.0.1", VISITOR) is None
