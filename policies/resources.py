"""Rules over planned resources: what may be made, whatever a program says.

A rule takes the properties that the engine was given (Pulumi's camelCase names, plain values) and
whose stack it is, and yields what is wrong, in words that say what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
STACK_TYPES = ("pulumi:pulumi:Stack", "pulumi:providers:docker", "pulumi:providers:instantworker")
PLATFORM_TYPES = ("instantworker:dns:Zone", "instantworker:edge:Config",
                  "instantworker:edge:Certificate", "instantworker:host:Firewall",
                  "instantworker:host:ConfigFile", "instantworker:host:Folder",
                  "instantworker:host:LowPorts")
FILES, KEY = "instantworker:employee:Files", "instantworker:model:Key"
Props = Mapping[str, Any]

# Whatever is not here is refused: a property that nobody thought of can't open a hole.
EMPLOYEE_PROPERTIES = frozenset({
    "name", "image", "hostname", "user", "init", "readOnly", "capabilities", "securityOpts",
    "memory", "memorySwap", "cpus", "pidsLimit", "ulimits", "restart", "maxRetryCount",
    "networksAdvanced", "mounts", "tmpfs", "labels", "envs", "healthcheck", "logDriver", "logOpts",
    "mustRun", "start", "stopTimeout", "shmSize"})
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_ENVS = ("IW_EMPLOYEE_ID=", "IW_RESTARTS=")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose stack it is, and the only things it may name. `customer` is None for the platform's
    own stack; `data` is the folder below which platform containers may mount."""

    customer: str | None
    instance: str
    network: str = ""
    volumes: Callable[[str], bool] = frozenset[str]().__contains__
    data: str = "/nonexistent"
    subnet: str = ""


Rule = Callable[[Props, Tenant], Iterator[str]]


def _drops_capabilities(p: Props, t: Tenant) -> Iterator[str]:
    given = p.get("capabilities") or {}
    if list(given.get("drops") or ()) != ["ALL"]:
        yield 'capabilities.drops must be exactly ["ALL"]'
    if extra := list(given.get("adds") or ()):
        yield f"capabilities.adds must not hold {', '.join(extra)}"


def _gains_no_privileges(p: Props, t: Tenant) -> Iterator[str]:
    if "no-new-privileges:true" not in (p.get("securityOpts") or ()):
        yield 'securityOpts must hold "no-new-privileges:true"'
    if p.get("privileged"):
        yield "privileged must not be set"


def _confines_syscalls(p: Props, t: Tenant) -> Iterator[str]:
    found = [o for o in p.get("securityOpts") or () if o.startswith("seccomp")]
    if t.customer is not None and found != ["seccomp=employee"]:
        yield 'securityOpts must hold "seccomp=employee" and no other seccomp profile'
    if any(o == "seccomp=unconfined" or o.startswith("apparmor=unconfined")
           for o in p.get("securityOpts") or ()):
        yield "securityOpts must not unconfine anything"


def _limits_pids(p: Props, t: Tenant) -> Iterator[str]:
    if not 0 < (p.get("pidsLimit") or 0) <= 32768:
        yield "pidsLimit must be set: a container may not use up the host's processes"


def _limits_memory(p: Props, t: Tenant) -> Iterator[str]:
    memory = p.get("memory") or 0
    if memory <= 0 or p.get("memorySwap") != memory:
        yield "memory must be set and memorySwap must equal it (in MiB)"


def _limits_cpus(p: Props, t: Tenant) -> Iterator[str]:
    try:
        cpus = float(p.get("cpus") or 0)
    except (TypeError, ValueError):
        cpus = 0
    if cpus <= 0:
        yield 'cpus must be set, such as "1.0"'


def _limits_files(p: Props, t: Tenant) -> Iterator[str]:
    if not any(u.get("name") == "nofile" and 0 < u.get("hard", 0) <= 65536
               for u in p.get("ulimits") or ()):
        yield "ulimits must hold nofile with a hard limit of at most 65536"


def _reads_only(p: Props, t: Tenant) -> Iterator[str]:
    if p.get("readOnly") is not True:
        yield "readOnly must be true: what may be written lies in volumes and tmpfs"


def _mounts_safe_tmpfs(p: Props, t: Tenant) -> Iterator[str]:
    for path, options in (p.get("tmpfs") or {}).items():
        if missing := {"noexec", "nosuid"} - set(str(options).split(",")):
            yield f"tmpfs {path} must be {' and '.join(sorted(missing))}"
    if t.customer is not None and "/tmp" not in (p.get("tmpfs") or {}):
        yield "tmpfs must hold /tmp: the root is read-only"


def _is_not_root(p: Props, t: Tenant) -> Iterator[str]:
    user = str(p.get("user") or "")
    if not user or user.partition(":")[0] in ("0", "root"):
        yield "user must be set, and not root"


def _reaps_children(p: Props, t: Tenant) -> Iterator[str]:
    if p.get("init") is not True:
        yield "init must be true"


def _checks_health(p: Props, t: Tenant) -> Iterator[str]:
    if not (p.get("healthcheck") or {}).get("tests"):
        yield "healthcheck.tests must be set"


def _restarts_within_bounds(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is not None and (p.get("restart") != "on-failure"
                                   or p.get("maxRetryCount") != 5):
        yield 'restart must be "on-failure" with maxRetryCount 5'


def _publishes_nothing(p: Props, t: Tenant) -> Iterator[str]:
    if p.get("ports") or p.get("publishAllPorts"):
        yield "ports must not be published: the edge dials the container's address"


def _has_no_device(p: Props, t: Tenant) -> Iterator[str]:
    for name in ("devices", "gpus", "deviceRequests", "deviceCgroupRules"):
        if p.get(name):
            yield f"{name} must not be set"


def _joins_its_network_only(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None:
        return
    if p.get("networkMode"):
        yield "networkMode must not be set: name the customer's network in networksAdvanced"
    names = [n.get("name") for n in p.get("networksAdvanced") or ()]
    if names != [t.network]:
        yield f"networksAdvanced must name {t.network} and nothing else, it names {names}"


def _mounts_its_volumes_only(p: Props, t: Tenant) -> Iterator[str]:
    if p.get("volumes"):
        yield "volumes must not be set: use mounts, which say their type"
    for mount in p.get("mounts") or ():
        kind, source = mount.get("type"), str(mount.get("source"))
        if "docker.sock" in source:
            yield "mounts must not hold Docker's socket"
        elif t.customer is None:
            if kind == "bind" and not source.startswith(t.data.rstrip("/") + "/"):
                yield f"mounts: {source} lies outside the data folder"
        elif kind != "volume":
            yield f"mounts: {source} is a {kind}; only volumes may be mounted"
        elif not t.volumes(source):
            yield f"mounts: volume {source} is not this customer's"


def _pins_its_image(p: Props, t: Tenant) -> Iterator[str]:
    if not _DIGEST.search(str(p.get("image"))):
        yield "image must be by digest: name@sha256:…"


def _carries_labels(p: Props, t: Tenant) -> Iterator[str]:
    labels = {str(item.get("label")): item.get("value") for item in p.get("labels") or ()}
    if labels.get("instantworker.instance") != t.instance:
        yield f"labels must hold instantworker.instance={t.instance}"
    if t.customer is not None and labels.get("instantworker.customer") != t.customer:
        yield f"labels must hold instantworker.customer={t.customer}"


def _holds_no_secret(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None:
        return
    for env in p.get("envs") or ():
        if not str(env).startswith(_ENVS):
            yield (f"envs must not hold {str(env).partition('=')[0]}: an agent reads its "
                   "environment; secrets come as files")


def _has_known_properties_only(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None:
        return
    empty: tuple[Any, ...] = (None, False, [], {}, "")
    for name in sorted(set(p) - EMPLOYEE_PROPERTIES):
        if not name.startswith("__") and p[name] not in empty:
            yield f"{name} must not be set"


CONTAINER_RULES: dict[str, tuple[Rule, str]] = {
    "capabilities": (_drops_capabilities, "Every capability is dropped."),
    "privileges": (_gains_no_privileges, "No new privileges."),
    "seccomp": (_confines_syscalls, "A seccomp profile of ours, never unconfined."),
    "pids": (_limits_pids, "A limit of processes."),
    "memory": (_limits_memory, "Memory equals memory with swap."),
    "cpu": (_limits_cpus, "A limit of processors."),
    "files": (_limits_files, "A limit of open files."),
    "read-only": (_reads_only, "A read-only root."),
    "tmpfs": (_mounts_safe_tmpfs, "Scratch space where nothing runs."),
    "user": (_is_not_root, "A user that is not root."),
    "init": (_reaps_children, "An init that reaps children."),
    "health": (_checks_health, "A health check."),
    "restart": (_restarts_within_bounds, "Restarts that end."),
    "ports": (_publishes_nothing, "No published port."),
    "devices": (_has_no_device, "No device."),
    "network": (_joins_its_network_only, "The customer's own network only."),
    "mounts": (_mounts_its_volumes_only, "The customer's own volumes only; no host path."),
    "image": (_pins_its_image, "An image by digest."),
    "labels": (_carries_labels, "The labels that everything of ours carries."),
    "environment": (_holds_no_secret, "No secret in the environment."),
    "allow-list": (_has_known_properties_only, "No property that is not known to be safe."),
}


def check_network(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None:
        yield "the platform has no networks of its own"
        return
    if p.get("name") != t.network:
        yield f"name must be {t.network}"
    if (p.get("options") or {}).get("com.docker.network.bridge.enable_icc") != "false":
        yield "options must turn inter-container traffic off (enable_icc = false)"
    if p.get("driver") not in (None, "bridge") or p.get("attachable") or p.get("ingress"):
        yield "driver must be bridge, neither attachable nor ingress"
    yield from _carries_labels(p, t)


def check_volume(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None or not t.volumes(str(p.get("name"))):
        yield f"volume {p.get('name')} is not this stack's"
    if p.get("driver") not in (None, "local") or p.get("driverOpts"):
        yield "driver must be local without driverOpts: options can mount host paths"
    yield from _carries_labels(p, t)


def check_files(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None or not t.volumes(str(p.get("volume"))):
        yield f"volume {p.get('volume')} is not this stack's"


def check_key(p: Props, t: Tenant) -> Iterator[str]:
    if t.customer is None or p.get("customer") != t.customer:
        yield f"customer is {p.get('customer')}, and this stack is {t.customer}'s"
    if t.subnet and p.get("subnet") != t.subnet:
        yield f"subnet must be {t.subnet}: a key opens the proxy from its own network alone"


def check_resource(type_token: str, props: Props, tenant: Tenant) -> list[tuple[str, str]]:
    """Every violation as (rule, message)."""
    if type_token == CONTAINER:
        return [(name, message) for name, (rule, _) in CONTAINER_RULES.items()
                for message in rule(props, tenant)]
    if type_token == NETWORK:
        return [("network", message) for message in check_network(props, tenant)]
    if type_token == VOLUME:
        return [("volume", message) for message in check_volume(props, tenant)]
    if type_token == FILES:
        return [("files", message) for message in check_files(props, tenant)]
    if type_token == KEY:
        return [("key", message) for message in check_key(props, tenant)]
    if type_token in STACK_TYPES or (tenant.customer is None and type_token in PLATFORM_TYPES):
        return []
    return [("type", f"{type_token} must not be in this stack")]
