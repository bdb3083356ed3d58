"""Who an employee is, as files: OpenClaw's configuration and the workspace's texts.

Pure: documents in, texts out. `stacks.employee_files` writes them into the employee's volume. Of
each file it is said how it lives with what the employee writes itself:

    managed   our block stands between two markers; all around it is the employee's own and stays
    replaced  ours alone
    once      ours at the beginning, the employee's from then on
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stacks.secret_files import reference
from state_repo.documents import TOOLS, Customer, Employee, Lesson, OfferedModel, Skill
from state_repo.instance import Instance

BEGIN, END = "<!-- instantworker: begin -->", "<!-- instantworker: end -->"
WARM_MODEL = "warm-up"
CHAT_PAGE = "/opt/openclaw/node_modules/openclaw/dist/control-ui"
PROXY_USER_HEADER = "x-forwarded-user"
# What a customer's browser may ask of the gateway. Not operator.admin: that one changes the
# configuration, and with it who may come in.
SCOPES = ("operator.read", "operator.write", "operator.approvals", "operator.questions")

_templates = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"),
                         undefined=StrictUndefined, autoescape=False, trim_blocks=True,
                         lstrip_blocks=True, keep_trailing_newline=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Paths are relative to the workspace; `config` is openclaw.json, with references to secrets
    (`secret_files.reference`) in their places. `skills`: by name, each one's SKILL.md."""

    config: str
    managed: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    once: Mapping[str, str] = field(default_factory=dict)
    skills: Mapping[str, str] = field(default_factory=dict)


def key_name(employee: str, version: int) -> str:
    """The secret that holds an employee's key for the model proxy."""
    return f"model-key-{employee}-{version}"


def password_name(employee: str) -> str:
    """The gateway's local password: OpenClaw wants one, and nobody outside ever uses it."""
    return f"gateway-password-{employee}"


def identity(instance: Instance, customer: Customer, employee: Employee,
             lessons: Mapping[str, Lesson], model: OfferedModel,
             skills: Mapping[str, Skill]) -> Identity:
    """Everything an employee is. A blank (`state: warm`) has a configuration that nobody may
    talk to, and texts that name nobody. `skills`: the catalogue; what it does not hold any more
    nobody has."""
    known = {"employee": employee, "customer": customer, "lessons": sorted(
        (x for x in lessons.values() if x.state == "approved"),
        key=lambda x: (x.learned_on, x.id))}

    def text(name: str) -> str:
        return _templates.get_template(f"{name}.j2").render(known)
    config = json.dumps(_config(instance, customer, employee, model, skills), indent=1)
    if employee.state == "warm":
        return Identity(config, managed={"AGENTS.md": "Nobody has hired you yet. Wait.\n"})
    return Identity(
        config,
        managed={name: text(name) for name in ("AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md")},
        replaced={"LEARNING-PROTOCOL.md": text("LEARNING-PROTOCOL.md")},
        once={"MEMORY.md": text("MEMORY.md")},
        skills={name: skills[name].text for name in employee.skills if name in skills})


def visitor_name(customer: str, employee: Employee) -> str:
    """The one user that the employee's gateway lets in."""
    return _BLANKS_USER if employee.state == "warm" else customer


def gateway_address(subnet: str) -> str:
    """The host's address on a customer's bridge: Docker gives it the first one."""
    return str(ipaddress.ip_network(subnet)[1])


def _config(instance: Instance, customer: Customer, employee: Employee,
            model: OfferedModel, skills: Mapping[str, Skill]) -> dict[str, Any]:
    host = gateway_address(customer.subnet)
    name = employee.model.name
    return {
        "gateway": {
            "mode": "local", "port": 18789, "bind": "lan", "trustedProxies": [host],
            "auth": {
                "mode": "trusted-proxy",
                "password": reference(password_name(employee.id)),
                "trustedProxy": {
                    "userHeader": PROXY_USER_HEADER,
                    "requiredHeaders": ["x-forwarded-proto", "x-forwarded-host"],
                    "allowUsers": [visitor_name(customer.id, employee)],
                    "allowLoopback": False,
                    "deviceAutoApprove": {"enabled": True, "scopes": list(SCOPES)}}},
            # With a root of its own named, OpenClaw does not copy the page's 20 MB into each
            # volume at its first start, which would slow the first turn.
            "controlUi": {"enabled": True, "root": CHAT_PAGE, "communityInvite": False,
                          "allowedOrigins": [instance.url(instance.chat_host(employee.id))]},
            "terminal": {"enabled": False},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}}},
        "models": {
            "mode": "replace", "catalogRefresh": {"enabled": False},
            "providers": {"litellm": {
                "baseUrl": f"http://{host}:{instance.ports['model_proxy']}/v1",
                "apiKey": reference(key_name(employee.id, employee.model.key_version)),
                "api": "openai-completions",
                "models": [{"id": name, "name": name, "input": ["text"],
                            "contextWindow": model.context_tokens,
                            "maxTokens": model.max_output_tokens}]}}},
        "agents": {"defaults": {
            "workspace": "/data/workspace", "model": {"primary": f"litellm/{name}"},
            "heartbeat": {"every": "0m"}, "skipBootstrap": True,
            # Whichever of them lies in its state folder, it has: the configuration does not
            # change with them, which would fail a turn that is just beginning.
            "skills": sorted(skills)}},
        # Few tools, and all of them in the prompt: the browser is found without a search.
        "tools": {"toolSearch": False, "allow": list(TOOLS),
                  # Commands run behind walls of their own (`hands`); these run in the gateway.
                  "fs": {"workspaceOnly": True}, "elevated": {"enabled": False},
                  "exec": {"host": "gateway", "applyPatch": {"workspaceOnly": True}}},
        "hooks": {"internal": {"enabled": False}},  # the gateway runs no code of the workspace
        "plugins": {"allow": ["litellm", "memory-core", "browser"]},
        "browser": {"enabled": True, "attachOnly": True, "defaultProfile": "visible",
                    # Its own files (desk.py); every other private address stays closed.
                    "ssrfPolicy": {"allowedHostnames": ["localhost"]}, "profiles": {
            "visible": {"cdpUrl": "http://127.0.0.1:9222", "attachOnly": True}}},
        # The housekeeping of enforced limits starts three workers at a first turn, each of which
        # loads half of OpenClaw; the volume is watched from outside anyway.
        "session": {"maintenance": {"mode": "warn"}},
        "update": {"checkOnStart": False},
        "telemetry": {"enabled": False},
        "logging": {"file": "/data/state/logs/openclaw.log"},
    }


# No customer's id holds a dot: nobody can be this user.
_BLANKS_USER = "nobody.warming-up"
