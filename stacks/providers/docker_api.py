"""One client of Docker's API for the process, and how its errors read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout

from stacks import StackError, UnreachableError
from state_repo.instance import LABEL_CUSTOMER, LABEL_INSTANCE, LABEL_PLATFORM


@cache
def client(timeout_s: int = 60) -> docker.APIClient:
    """Docker at DOCKER_HOST or its usual socket. The version is fixed: asking costs a call."""
    return docker.APIClient(version="1.41", timeout=timeout_s, num_pools=64)


@contextmanager
def speaking() -> Iterator[None]:
    """Turns what Docker's client raises into errors that say who must act.

    Raises:
        UnreachableError: Docker does not answer.
        StackError: Docker refuses, with its own words.
    """
    try:
        yield
    except APIError as error:
        raise StackError(f"Docker refuses: {error.explanation or error}") from error
    except (RequestsConnectionError, ReadTimeout, DockerException) as error:
        raise UnreachableError("Docker does not answer; start it (`make run` does), or see its "
                               "log") from error


def labels_of(inputs: dict[str, Any]) -> dict[str, str]:
    """pulumi_docker's list of {label, value} as Docker's mapping."""
    return {item["label"]: item["value"] for item in inputs.get("labels") or ()}


def is_ours(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether an existing thing was made by this instance for the same owner: then it is adopted
    instead of made twice."""
    keys = (LABEL_INSTANCE, LABEL_CUSTOMER, LABEL_PLATFORM)
    return bool(wanted.get(LABEL_INSTANCE)) and all(
        (labels or {}).get(key) == wanted.get(key) for key in keys)


__all__ = ["APIError", "NotFound", "client", "is_ours", "labels_of", "speaking"]
