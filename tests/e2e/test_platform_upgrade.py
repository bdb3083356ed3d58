"""The platform itself is upgraded by `make run` of newer code, and taken back by `make back`, while
an employee goes on working. The code is a copy of this one, in a git of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import docker
from tests.e2e.beside import Away
from tests.e2e.house import until
from tests.e2e.own_copy import OwnCopy

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


@pytest.fixture
def platform(tmp_path: Path, pulumi: str) -> Iterator[OwnCopy]:
    tmp_path.chmod(0o755)
    made = OwnCopy(tmp_path)
    try:
        yield made
    finally:
        made.purge()


def test_from_one_version_to_the_next_and_back(platform, images):
    first = platform.git("rev-parse", "HEAD")
    platform.setup("run")
    before = platform.revision()
    platform.hires_light_ones(images)
    container = platform.instance.container_name(platform.hire())

    def identity() -> list[str]:
        return docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", container)
    made, away = identity(), Away(platform.page, 0.1)

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
