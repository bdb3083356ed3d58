"""docker:index/container:Container over Docker's API.

What a container was created with can't drift: a container that differs there has another id, and
reading the old id says "gone". What can be changed under the same id (limits, networks, whether
it runs) is read back and compared. Whether it runs is also a matter of sleep, which is not the
engine's: who sleeps counts as running, and is left asleep.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from stacks import StackError, UnreachableError
from stacks.providers.docker_api import APIError, NotFound, client, is_ours, labels_of, speaking
from stacks.providers.handover import Handover
from stacks.providers.servicer import Inputs, Kind
from state_repo.instance import LABEL_CUSTOMER, LABEL_EMPLOYEE, LABEL_SPEC

SECCOMP = Path(__file__).resolve().parent.parent.parent / "images" / "seccomp"
MIB = 1024 * 1024
_STATE = ("mustRun", "start")
# The documents' names of limits that may be left to differ.
_OF_FIELD = {"cpus": ("cpus",), "memory": ("memory", "memorySwap"), "pids": ("pidsLimit",)}
_LIMITS = ("memory", "memorySwap", "cpus", "pidsLimit", "restart", "maxRetryCount")


def spec_of(inputs: Inputs) -> str:
    """16 hex digits over everything that only a new container can change."""
    fixed = {name: value for name, value in inputs.items()
             if name not in (*_STATE, *_LIMITS) and not name.startswith("__")}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def seccomp_digest(name: str) -> str:
    """8 hex digits of a profile: a label of who runs under it, so that a changed profile makes
    new containers."""
    return hashlib.sha256(_seccomp(name).encode()).hexdigest()[:8]


@cache
def _seccomp(name: str) -> str:
    path = SECCOMP / f"{name}.json"
    if not path.exists():
        raise StackError(f"securityOpts: there is no seccomp profile {path.name}; profiles are in "
                         "images/seccomp")
    return json.dumps(json.loads(path.read_text()), separators=(",", ":"))


def image_id(reference: str) -> str:
    """The id of an image named by digest: the registry's digest, or, for an image that was built
    here and never pushed, the image's own id."""
    name, _, digest = reference.partition("@")
    for candidate in (reference, digest or name):
        try:
            return client().inspect_image(candidate)["Id"]
        except NotFound:
            continue
        except APIError as error:
            if error.status_code != 400:  # a name that can't be a reference
                raise
    raise StackError(f"image {reference} is not on this machine; `make image` builds it, "
                     "`docker pull` fetches it")


_HOST_S = 60.0
_host_seen: list[tuple[float, int, int]] = []
_images_here: dict[str, float] = {}


def _host() -> tuple[int, int]:
    """Processors and MiB of memory of Docker's host; asked once a minute."""
    if not _host_seen or time.monotonic() - _host_seen[0][0] > _HOST_S:
        info = client().info()
        _host_seen[:] = [(time.monotonic(), int(info["NCPU"]), int(info["MemTotal"]) // MIB)]
    return _host_seen[0][1:]


def _check_image(reference: str) -> None:
    """Raises StackError unless the image is on this machine; asked once a minute."""
    if time.monotonic() - _images_here.get(reference, -1e9) > _HOST_S:
        image_id(reference)
        _images_here[reference] = time.monotonic()


def api_config(inputs: Inputs) -> dict[str, Any]:
    """Docker's own create body for the inputs."""
    capabilities = inputs.get("capabilities") or {}
    health = inputs.get("healthcheck")
    security = [f"seccomp={_seccomp(o.partition('=')[2])}"
                if o.startswith("seccomp=") and o != "seccomp=unconfined" else o
                for o in inputs.get("securityOpts") or ()]
    networks = [n["name"] for n in inputs.get("networksAdvanced") or ()]
    mode = inputs.get("networkMode") or (networks[0] if networks else "none")
    return {
        "Image": inputs["image"].partition("@")[2] or inputs["image"],
        "Hostname": inputs.get("hostname", ""), "User": inputs.get("user", ""),
        "Cmd": inputs.get("command"), "Entrypoint": inputs.get("entrypoints"),
        "Env": inputs.get("envs") or [], "StopTimeout": _int(inputs.get("stopTimeout")),
        "Labels": labels_of(inputs) | {LABEL_SPEC: spec_of(inputs)},
        "Healthcheck": None if not health else {
            "Test": health["tests"], "Interval": _nanoseconds(health.get("interval")),
            "Timeout": _nanoseconds(health.get("timeout")),
            "StartPeriod": _nanoseconds(health.get("startPeriod")),
            "Retries": int(health.get("retries") or 0)},
        "HostConfig": {
            "Init": inputs.get("init", False), "ReadonlyRootfs": inputs.get("readOnly", False),
            "CapDrop": capabilities.get("drops") or [], "CapAdd": capabilities.get("adds") or [],
            "SecurityOpt": security, "ShmSize": (_int(inputs.get("shmSize")) or 64) * MIB,
            "Ulimits": [{"Name": u["name"], "Soft": int(u["soft"]), "Hard": int(u["hard"])}
                        for u in inputs.get("ulimits") or ()],
            "Mounts": [{"Type": m["type"], "Source": m.get("source"), "Target": m["target"],
                        "ReadOnly": bool(m.get("readOnly"))} for m in inputs.get("mounts") or ()],
            "Tmpfs": inputs.get("tmpfs") or {}, "NetworkMode": mode,
            "LogConfig": {"Type": inputs.get("logDriver", "json-file"),
                          "Config": inputs.get("logOpts") or {}},
            **_limits(inputs)},
    }


def _limits(inputs: Inputs) -> dict[str, Any]:
    return {"Memory": int(inputs.get("memory") or 0) * MIB,
            "MemorySwap": int(inputs.get("memorySwap") or 0) * MIB,
            "NanoCpus": int(float(inputs.get("cpus") or 0) * 1e9),
            "PidsLimit": int(inputs.get("pidsLimit") or 0),
            "RestartPolicy": {"Name": inputs.get("restart") or "no",
                              "MaximumRetryCount": int(inputs.get("maxRetryCount") or 0)}}


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _nanoseconds(text: str | None) -> int:
    """"15s" or "500ms" in nanoseconds."""
    if not text:
        return 0
    for unit, scale in (("ms", 1e6), ("s", 1e9), ("m", 60e9)):
        if text.endswith(unit):
            return int(float(text[:-len(unit)]) * scale)
    raise StackError(f'{text!r} is no duration; write it like "15s" or "500ms"')


# How each property that can change under one id is read back; None: as it was wanted.
_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "memory": lambda c: c["HostConfig"]["Memory"] / MIB,
    "memorySwap": lambda c: c["HostConfig"]["MemorySwap"] / MIB,
    "cpus": lambda c: c["HostConfig"]["NanoCpus"] / 1e9,
    "pidsLimit": lambda c: c["HostConfig"]["PidsLimit"] or 0,
    "restart": lambda c: c["HostConfig"]["RestartPolicy"]["Name"],
    "maxRetryCount": lambda c: c["HostConfig"]["RestartPolicy"]["MaximumRetryCount"],
    "networksAdvanced": lambda c: sorted(c["NetworkSettings"]["Networks"]),
    "mustRun": lambda c: c["State"]["Running"] and not c["State"]["Paused"],
    "name": lambda c: c["Name"].lstrip("/"),
}


def _comparable(name: str, value: Any) -> Any:
    if name == "networksAdvanced":
        return sorted(n["name"] for n in value)
    return float(value) if name == "cpus" else value


class Container(Kind):
    token = "docker:index/container:Container"
    properties = frozenset({
        "name", "image", "hostname", "user", "init", "readOnly", "capabilities", "securityOpts",
        "memory", "memorySwap", "cpus", "pidsLimit", "ulimits", "restart", "maxRetryCount",
        "networksAdvanced", "networkMode", "mounts", "tmpfs", "labels", "envs", "healthcheck",
        "logDriver", "logOpts", "mustRun", "start", "stopTimeout", "shmSize", "command",
        "entrypoints"})
    in_place = frozenset({*_LIMITS, *_STATE, "networksAdvanced"})
    _removing: ClassVar[threading.Semaphore] = threading.Semaphore(8)

    def __init__(self, guard: Callable[[], None] = lambda: None,
                 asleep: Callable[[], Collection[str]] = frozenset,
                 make_room: Callable[[str], None] = lambda _: None,
                 ignored: Callable[[str, str], Collection[str]] = lambda *_: (),
                 finish: Callable[[str, str], None] = lambda *_: None,
                 handover: Handover | None = None) -> None:
        """`guard` raises unless an employee may start (the host's rules are in force). `asleep`:
        names of the containers that sleep. `make_room(volume)`: called before its employee
        starts. `ignored(customer, employee)`: limits that may differ (cpus, memory, pids).
        `finish(employee, name)`: lets an employee end what it is at, before it is stopped.
        `handover`: how a part of the platform is replaced."""
        self._handover = handover or Handover()
        self._guard, self._asleep, self._make_room = guard, asleep, make_room
        self._ignored, self._finish = ignored, finish

    def check(self, inputs: Inputs) -> dict[str, str]:
        """What this host can't give, before anything that runs is taken down for it."""
        wrong: dict[str, str] = {}
        try:
            with speaking():
                cpus, memory = _host()
                size = float(inputs.get("cpus") or 0)
                if size > cpus:
                    wrong["cpus"] = f"are {size:g}, and this host has {cpus}; lower them"
                if float(inputs.get("memory") or 0) > memory:
                    wrong["memory"] = (f"is {inputs['memory']:g} MiB, and this host has {memory}; "
                                       "lower it")
                if not wrong:
                    _check_image(inputs["image"])
        except UnreachableError:
            pass  # the next step says so
        except StackError as error:
            wrong["image"] = str(error)
        except (TypeError, ValueError):
            pass  # a value that is not known in a preview
        return wrong

    def replaces_first(self, inputs: Inputs) -> bool:
        return self._handover.is_for(inputs)

    def create(self, inputs: Inputs) -> str:
        self._may_start(inputs)
        with speaking():
            self._check_volumes(inputs)
            if self._handover.is_for(inputs):
                return self._handover.make(inputs, spec_of(inputs), lambda: self._make(inputs))
            return self._make(inputs)

    def _make(self, inputs: Inputs) -> str:
        config = api_config(inputs)
        try:
            made = client().create_container_from_config(config, inputs["name"])["Id"]
        except NotFound:
            config["Image"] = image_id(inputs["image"])
            made = client().create_container_from_config(config, inputs["name"])["Id"]
        except APIError as error:
            if error.status_code != 409:
                raise
            made = self._adopt_or_remake(inputs, config)
        self._connect_others(made, inputs)
        if inputs.get("mustRun", True):
            client().start(made)
        return made

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        with speaking():
            try:
                real = client().inspect_container(id)
            except NotFound:
                return None
        seen, may_differ = dict(inputs), self._may_differ(inputs)
        for name, reader in _READERS.items():
            if name in may_differ:
                continue
            if name == "mustRun":
                wanted = inputs.get(name, True)
                if reader(real) != wanted and not (wanted and self._sleeps(inputs)):
                    seen[name] = reader(real)
            elif name in inputs and reader(real) != _comparable(name, inputs[name]):
                value = reader(real)
                seen[name] = ([{"name": n} for n in value] if name == "networksAdvanced"
                              else str(value) if name == "cpus" else value)
        return seen

    def update(self, id: str, old: Inputs, new: Inputs) -> None:
        with speaking():
            if any(old.get(name) != new.get(name) for name in _LIMITS):
                client()._result(client()._post_json(
                    client()._url("/containers/{0}/update", id), data=_limits(new)), True)
            if old.get("networksAdvanced") != new.get("networksAdvanced"):
                self._reconnect(id, new)
            state = client().inspect_container(id)["State"]
            if new.get("mustRun", True):
                if self._sleeps(new) or (state["Running"] and not state["Paused"]):
                    return
                self._may_start(new)
                if state["Paused"]:
                    client().unpause(id)
                else:
                    client().start(id)
            elif state["Running"]:
                self._let_finish(new)
                client().stop(id, timeout=_int(new.get("stopTimeout")) or 10)

    def delete(self, id: str, inputs: Inputs) -> None:
        self._let_finish(inputs)
        with speaking(), self._removing:
            try:
                # No stop of ours first: the process saves as it goes, and a stop that hangs would
                # hold the customer's whole plan.
                client().remove_container(id, force=True)
            except NotFound:
                return

    def _may_differ(self, inputs: Inputs) -> frozenset[str]:
        labels = labels_of(inputs)
        if LABEL_EMPLOYEE not in labels:
            return frozenset()
        return frozenset(name for field in self._ignored(
            labels[LABEL_CUSTOMER], labels[LABEL_EMPLOYEE]) for name in _OF_FIELD[field])

    def _let_finish(self, inputs: Inputs) -> None:
        if employee := labels_of(inputs).get(LABEL_EMPLOYEE):
            self._finish(employee, inputs["name"])

    def _sleeps(self, inputs: Inputs) -> bool:
        return inputs["name"] in self._asleep()

    def _may_start(self, inputs: Inputs) -> None:
        if LABEL_EMPLOYEE in labels_of(inputs) and inputs.get("mustRun", True):
            self._guard()
            for mount in inputs.get("mounts") or ():
                if mount["type"] == "volume":
                    self._make_room(mount["source"])

    def _check_volumes(self, inputs: Inputs) -> None:
        """Docker makes a volume that is not there, empty and in silence."""
        for mount in inputs.get("mounts") or ():
            if mount["type"] == "volume":
                try:
                    client().inspect_volume(mount["source"])
                except NotFound:
                    raise StackError(f"the volume {mount['source']} is gone; {inputs['name']} is "
                                     "not started without it") from None

    def _adopt_or_remake(self, inputs: Inputs, config: dict[str, Any]) -> str:
        """A container of that name exists: what a run that was cut off left, or a stranger's."""
        real = client().inspect_container(inputs["name"])
        if not is_ours(real["Config"]["Labels"], labels_of(inputs)):
            raise StackError(f"a container {inputs['name']} exists that this instance did not make "
                             "for this customer; rename or remove it (docker rm), it is not "
                             "touched")
        if real["Config"]["Labels"].get(LABEL_SPEC) == spec_of(inputs):
            self.update(real["Id"], {}, inputs)
            return real["Id"]
        client().remove_container(real["Id"], force=True)
        return client().create_container_from_config(config, inputs["name"])["Id"]

    def _connect_others(self, id: str, inputs: Inputs) -> None:
        for network in (inputs.get("networksAdvanced") or ())[1:]:
            client().connect_container_to_network(id, network["name"])

    def _reconnect(self, id: str, inputs: Inputs) -> None:
        has = set(client().inspect_container(id)["NetworkSettings"]["Networks"])
        wanted = {n["name"] for n in inputs.get("networksAdvanced") or ()}
        for name in has - wanted:
            client().disconnect_container_from_network(id, name, force=True)
        for name in wanted - has:
            client().connect_container_to_network(id, name)
