"""The platform itself is upgraded by `make run` of newer code, and taken back by `make back`, while
an employee goes on working. The code is a copy of this one, in a git of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from policies.documents import check_customer
from state_repo import changes
from state_repo.database import revision_of
from state_repo.instance import Instance
from state_repo.store import Store
from tests.conftest import ROOT, docker
from tests.e2e.house import ENGINEER, until
from webapp.models import VERSION_TABLE

pytestmark = [pytest.mark.e2e, pytest.mark.long]
NEWER = '''
import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("newer", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("newer")
'''


class Platform:
    """A copy of the code, and the instance that it runs."""

    def __init__(self, folder: Path) -> None:
        self.code, self.data = folder / "code", folder / "data"
        self.prefix = f"u{os.getpid() % 100000}"
        files = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True,
                               capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, files):
            (self.code / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, self.code / name)
        for shared in (".venv", ".build"):
            (self.code / shared).symlink_to(ROOT / shared)
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", "-C", str(self.code), "-c", "user.name=x", "-c",
                               "user.email=x@x", *arguments], check=True, capture_output=True,
                              text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "code")
        return self.git("rev-parse", "HEAD")

    def setup(self, *verb: str, check: bool = True, **more: str) -> str:
        done = subprocess.run([sys.executable, "-m", "tools.setup", *verb], cwd=self.code,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, env={
                                  **os.environ, "IW_DATA": str(self.data), "IW_PORT": "0",
                                  "IW_PREFIX": self.prefix, **more}, timeout=400, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def instance(self) -> Instance:
        return Instance.load(self.data)

    def iw(self, *arguments: str) -> dict:
        done = subprocess.run([str(self.code / "iw"), "--data", str(self.data), *arguments,
                               "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def page(self) -> str:
        """The first page, as the edge shows it; "" while it does not."""
        instance = self.instance
        try:
            answer = requests.get(
                f"http://{instance.edge_address}:{instance.ports['edge']}/", timeout=5,
                headers={"Host": f"{instance.app_host}:{instance.ports['edge']}"})
        except requests.RequestException:
            return ""
        return answer.text if answer.ok else ""

    def revision(self) -> str | None:
        return revision_of(self.instance.database_url, VERSION_TABLE)


@pytest.fixture
def platform(tmp_path: Path, pulumi: str) -> Iterator[Platform]:
    tmp_path.chmod(0o755)
    made = Platform(tmp_path)
    try:
        yield made
    finally:
        if (made.data / "instance.json").exists():
            made.setup("purge", check=False, IW_PURGE=made.instance.id)


def test_from_one_version_to_the_next_and_back(platform, images):
    first = platform.git("rev-parse", "HEAD")
    platform.setup("run")
    before = platform.revision()
    store = Store.open_or_create(platform.instance, check_customer)
    changes.set_platform(store, ENGINEER, "Light ones", lambda p: replace(
        p, images={**p.images, "employee": images["light"]}, warm_per_customer=0))
    pulse = platform.iw("hire", "--customer", "acme", "--name", "Pulse", "--role", "T")["employee"]
    container = platform.instance.container_name(pulse)

    def identity() -> list[str]:
        return docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", container)
    made, away = identity(), Watch(platform)

    versions = platform.code / "webapp" / "migrations" / "versions"
    (versions / "9001_newer.py").write_text(NEWER.format(before=before))
    landing = platform.code / "webapp" / "templates" / "landing.html"
    landing.write_text(landing.read_text().replace("</h1>", " (the newer one)</h1>", 1))
    platform.commit()
    said = platform.setup("run")
    assert "keep a copy" in said and "employees go on working" in said
    assert platform.revision() == "9001" and "the newer one" in platform.page()
    assert identity() == made, "the employee was not touched"
    longest = away.end()
    print(f"the dashboard was away for {longest:.1f} s at most")
    assert "keep a copy" not in platform.setup("run"), "nothing is newer"

    said = platform.setup("back")
    assert platform.revision() == before
    (named,) = re.findall(r"git checkout (\S+)", said)
    assert first.startswith(named)
    platform.git("checkout", "--quiet", named)
    platform.setup("run")
    assert "the newer one" not in platform.page() and platform.page()
    assert identity() == made
    until(lambda: all(s["sync_status"] == "Synced" for s in platform.iw("status")["stacks"]),
          "all is applied", 60)
    again = platform.setup("back", check=False)
    assert "no upgrade yet" in again or "code of before already" in again


class Watch:
    """How long the dashboard was away, at most."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._over, self._longest = platform, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(0.1):
            if self._platform.page():
                self._longest = max(self._longest, time.monotonic() - seen)
                seen = time.monotonic()

    def end(self) -> float:
        self._over.set()
        self._thread.join()
        return self._longest
