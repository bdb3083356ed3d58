from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import docker, light_platform, new_instance
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


@pytest.fixture(scope="module")
def layered() -> Iterator[Callable[..., str]]:
    """Builds an image of another one by its digest and more lines of a Dockerfile."""
    made: list[str] = []

    def build(image: str, *lines: str) -> str:
        name, _, digest = image.partition("@")
        made.append(subprocess.run(
            ["docker", "build", "--quiet", "-"], input="\n".join([f"FROM {digest}", *lines]),
            text=True, check=True, capture_output=True, env=os.environ | {"DOCKER_BUILDKIT": "0"}
            ).stdout.strip())
        return f"{name}@{made[-1]}"
    yield build
    for id in made:
        docker("rmi", "--force", id)
