from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import light_platform, new_instance
from tests.e2e.house import House, standing
from tests.fake_provider import FakeProvider


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str
          ) -> Iterator[House]:
    """One platform a module, with the customers acme and bolt."""
    data: Path = tmp_path_factory.mktemp("house")
    data.chmod(0o755)
    instance = new_instance(data)
    made = House(instance, light_platform(images, instance))
    made.customer("acme", 8)
    made.customer("bolt", 8)
    with standing(made):
        yield made


@pytest.fixture(scope="session")
def provider() -> Iterator[FakeProvider]:
    made = FakeProvider()
    yield made
    made.close()
