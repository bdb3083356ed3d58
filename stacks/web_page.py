"""Pages of the web, fetched for a company as one of its employees would: from a container in its
network, behind the same rules, with nothing of anybody's in it. It is removed at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from stacks import StackError
from stacks.customer import USER
from stacks.providers.docker_api import NotFound, client, speaking
from stacks.providers.docker_container import api_config, image_id
from stacks.readers import kinds
from state_repo.instance import LABEL_INSTANCE, Instance

MOST_BYTES, SECONDS = 20 << 20, 20.0
_SCRIPT = Path(__file__).with_name("fetch_inside.py")
_TYPES = {"text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf",
          "text/plain": "txt", "text/markdown": "md", "text/csv": "csv", "application/json": "json",
          "application/xml": "xml", "text/xml": "xml"}
_MOST_NAME = 100


class PageError(StackError):
    """There is no page to be had at the address; says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """`name`: what it is called as a document. `address`: where it is fetched again."""

    name: str
    address: str
    data: bytes


def checked(address: str) -> str:
    """An address of the web, as people write it. Raises PageError."""
    address = address.strip()
    if "://" not in address:
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or len(address) > 2_000 or re.search(r"[\x00-\x20\x7f]", address):
        raise PageError("That is no address of a web page; write it like "
                        "https://example.com/prices.")
    if parts.username is not None:
        raise PageError("The address holds a name or password; leave it away.")
    return address


def fetch(instance: Instance, customer: str, image: str, address: str,
          guard: Callable[[], None] = lambda: None) -> Page:
    """The page at an address (see `checked`). `guard` raises unless the host's rules are in force.

    Raises:
        PageError: it can't be had.
    """
    address = checked(address)
    guard()
    config: dict[str, object] = api_config({
        "image": image, "user": USER, "init": True, "readOnly": True,
        "capabilities": {"drops": ["ALL"]},
        "securityOpts": ["no-new-privileges:true", "seccomp=employee"],
        "memory": 256, "memorySwap": 256, "cpus": "0.5", "pidsLimit": 32, "restart": "no",
        "networkMode": instance.network_name(customer), "logDriver": "json-file",
        "logOpts": {"max-size": "1m"}, "labels": [{"label": LABEL_INSTANCE, "value": instance.id}],
        "command": ["python3", "-I", "-c", _SCRIPT.read_text(), address, str(MOST_BYTES),
                    f"{SECONDS:g}"]})
    raw = _run(f"{instance.prefix}-fetch-{secrets.token_hex(4)}", config)
    line, _, data = raw.partition(b"\n")
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise PageError(f"{address} could not be fetched; try again in a moment.")
    if "error" in said:
        raise PageError(f"{address} is not there for us: {said['error']}.")
    return Page(name_of(address, str(said.get("type", ""))), address, data)


def name_of(address: str, content_type: str) -> str:
    """What a page is called as a document: its host and path, and the ending of what it is.

    Raises:
        PageError: what is there can't be read.
    """
    parts = urlsplit(address)
    path = unquote(parts.path, errors="replace").strip("/")
    ending = path.rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""
    kind = _TYPES.get(content_type) or (ending if ending in kinds.ENDINGS else "")
    if not kind:
        raise PageError(f"{address} is {content_type or 'of an unknown type'}, which can't be "
                        "read.")
    if kinds.ENDINGS.get(ending) == kinds.ENDINGS[kind]:
        path = path[:-len(ending) - 1]
    words = re.sub(r"[^\w.]+", "-", f"{parts.hostname}-{path}").strip("-")[:_MOST_NAME].strip("-.")
    mark = hashlib.sha256(parts.query.encode()).hexdigest()[:6] if parts.query else ""
    return f"{words}{'-' if mark else ''}{mark}.{kind}"


def _run(name: str, config: dict[str, object]) -> bytes:
    """What the container writes. Attached before it starts: a log would cut and copy it."""
    with speaking():
        docker = client()
        made = docker.create_container_from_config(
            config | {"Image": image_id(str(config["Image"]))}, name)["Id"]
        try:
            stream = docker.attach(made, stdout=True, stderr=False, stream=True)
            docker.start(made)
            pieces, size = [], 0
            for piece in stream:  # until it ends, which it does by itself after 2 * SECONDS
                size += len(piece)
                if size > MOST_BYTES + 4_096:
                    break
                pieces.append(piece)
            return b"".join(pieces)
        except NotFound as error:
            raise PageError("The company's network is not there yet; try again in a minute."
                            ) from error
        except (ReadTimeout, NoConnection) as error:
            raise PageError("The page did not come within a minute.") from error
        finally:
            docker.remove_container(made, force=True)
