"""The documents' JSON Schema (draft 2020-12), published under docs/schema/.

`python -m state_repo.schema DIR` writes one file a kind; a test holds the published files to this
module.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from state_repo.documents import (
    API_VERSION,
    TOOLS,
    Alerts,
    Backups,
    Model,
    OfferedModel,
    Plan,
    PlanLimits,
    Platform,
    Resources,
    SeatRange,
)

ID = {"type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 40,
      "description": "DNS-safe: a-z, 0-9 and single hyphens, a letter first; never reused."}
IMAGE = {"type": "string", "pattern": "^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$",
         "description": "An image by digest: name@sha256:<64 hex>."}
NAME = {"type": "string", "minLength": 1, "maxLength": 80, "pattern": "^[^\\x00-\\x1f\\x7f]+$",
        "description": "One line of text for people."}
CIDR = {"type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$",
        "description": "An IPv4 network, such as 10.192.0.0/25."}


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required),
            "additionalProperties": False}


def _number(default: float, low: float, high: float, text: str) -> dict[str, Any]:
    kind = "integer" if isinstance(default, int) else "number"
    return {"type": kind, "minimum": low, "maximum": high, "default": default,
            "description": text}


def _resources() -> dict[str, Any]:
    given = Resources()
    return _object({
        "cpus": _number(given.cpus, 0.1, 64, "Processors."),
        "memoryMb": _number(given.memory_mb, 64, 262144, "Memory, and memory with swap, in MiB."),
        "pids": _number(given.pids, 16, 32768, "Processes and threads."),
    })


def _employee() -> dict[str, Any]:
    model = Model()
    metadata = _object({"id": ID, "customer": ID, "name": NAME, "role": NAME},
                       ("id", "customer", "name", "role"))
    spec = _object({
        "state": {"enum": ["warm", "running", "paused", "retired"], "description":
                  "warm: booted, nobody yet. paused: stopped, all kept. retired: removed; files "
                  "kept for the grace period."},
        "retiredAt": {"type": "string", "format": "date-time",
                      "description": "When it was retired (RFC 3339); only with state: retired."},
        "hiredAt": {"type": "string", "format": "date-time",
                    "description": "When it was hired (RFC 3339): the newest lose a seat first."},
        "image": IMAGE,
        "imagePinned": {"type": "boolean", "default": False, "description":
                        "true: no roll-out takes it to another image."},
        "model": _object({
            "name": NAME | {"default": model.name},
            "monthlyBudgetUsd": _number(model.monthly_budget_usd, 0, 100000, "Spend a month."),
            "requestsPerMinute": _number(model.requests_per_minute, 1, 10000, "Calls a minute."),
            "keyVersion": _number(model.key_version, 1, 1000000, "A new number makes a new key."),
        }),
        "resources": _resources(),
        "skills": {"type": "array", "items": ID, "uniqueItems": True, "maxItems": 50},
        "instructions": {"type": "string", "maxLength": 20000},
        "restarts": _number(0, 0, 1000000, "Raised by a retry; a new number replaces the "
                            "container and keeps its files."),
        "seat": {"type": "boolean", "default": True, "description":
                 "false: paused for want of a seat, and holds none; only with state: paused, or "
                 "retired."},
    }, ("state", "image"))
    return _document("Employee", spec, metadata)


def _customer() -> dict[str, Any]:
    metadata = _object({"id": ID | {"maxLength": 30}, "name": NAME}, ("id", "name"))
    spec = _object({
        "maxEmployees": {"type": "integer", "minimum": 0, "maximum": 10000,
                         "description": "Seats: employees that are not retired."},
        "suspended": {"type": "boolean", "default": False,
                      "description": "Stops every employee; nothing is lost."},
        "monthlyBudgetUsd": {"type": "number", "minimum": 0, "maximum": 10000000, "description":
                             "Model spend a month of all employees together."},
        "plan": ID | {"maxLength": 30, "description": "One of plans in platform.yaml."},
        "network": _object({"subnet": CIDR}, ("subnet",)),
        "freeze": _freeze("For this company"),
    }, ("maxEmployees", "network"))
    return _document("Customer", spec, metadata)


def _freeze(where: str) -> dict[str, Any]:
    return _object(_until("Why, for everybody who looks."), ("reason", "until")) | {
        "description": f"{where} nothing is changed or repaired until then."}


def _until(why: str) -> dict[str, Any]:
    return {"reason": NAME | {"maxLength": 200, "description": why},
            "until": {"type": "string", "format": "date-time", "description": "RFC 3339."}}


def _lesson() -> dict[str, Any]:
    metadata = _object({"id": ID, "customer": ID, "employee": ID}, ("id", "customer", "employee"))
    text = {"type": "string", "minLength": 1, "maxLength": 2000}
    spec = _object({
        "state": {"enum": ["approved", "rejected"], "description":
                  "approved: every employee of the company is told."},
        "lesson": text | {"description": "What was learned, in one or two sentences."},
        "evidence": text | {"description": "How it is known."},
        "learnedOn": {"type": "string", "format": "date", "description": "YYYY-MM-DD."},
    }, ("state", "lesson", "evidence", "learnedOn"))
    return _document("Lesson", spec, metadata)


def _offered_model() -> dict[str, Any]:
    given = OfferedModel()
    price = "USD per million tokens."
    return _object({
        "model": NAME | {"default": given.model, "description":
                         "LiteLLM's name (provider/model), or demo."},
        "secret": ID | {"maxLength": 64, "description": "The secret file with its key."},
        "apiBase": {"type": "string", "pattern": "^https?://[^\\s]+$", "maxLength": 300,
                    "description": "Of an OpenAI-compatible server."},
        "inputUsdPerMillion": _number(given.input_usd_per_million, 0, 100000, price),
        "outputUsdPerMillion": _number(given.output_usd_per_million, 0, 100000, price),
        "contextTokens": _number(given.context_tokens, 1024, 100000000, "Its context window."),
        "maxOutputTokens": _number(given.max_output_tokens, 16, 10000000, "Of one answer."),
    }, ("model",))


def _plan() -> dict[str, Any]:
    seats, limits, given = SeatRange(), PlanLimits(), Plan("", 0)
    return _object({
        "title": NAME,
        "description": {"type": "string", "maxLength": 300, "description": "For whom it is."},
        "priceId": {"type": "string", "pattern": "^price_[A-Za-z0-9_]+$", "maxLength": 80,
                    "description": "Stripe's price of one seat, such as price_1Q…"},
        "amount": {"type": "integer", "minimum": 0, "maximum": 100000000, "description":
                   "Of one seat and interval, in the currency's minor unit (cents)."},
        "currency": {"type": "string", "pattern": "^[a-z]{3}$", "default": given.currency,
                     "description": "ISO 4217, small letters."},
        "interval": {"enum": ["month", "year"], "default": given.interval},
        "trialDays": _number(given.trial_days, 0, 730, "Free days of a first subscription."),
        "seats": _object({
            "included": _number(seats.included, 1, 10000, "What a checkout begins with."),
            "min": _number(seats.min, 1, 10000, "The fewest."),
            "max": _number(seats.max, 1, 10000, "The most."),
        }),
        "limits": _object({
            "cpus": _number(limits.cpus, 0.1, 64, "At most, of one employee."),
            "memoryMb": _number(limits.memory_mb, 64, 262144, "At most, of one employee."),
        }),
        "modelBudgetUsd": _number(given.model_budget_usd, 0, 100000,
                                  "What one employee may spend on models a month."),
        "offered": {"type": "boolean", "default": True, "description":
                    "false: sold no more; who holds it keeps it."},
    }, ("title", "amount"))


def _address() -> dict[str, Any]:
    return {"type": "string", "maxLength": 254, "pattern": "^[^@\\s<>]+@[^@\\s<>]+$"}


def _alerts() -> dict[str, Any]:
    given = Alerts()
    address = _address()
    secret = ID | {"maxLength": 64}
    url = "The secret file with the URL: whoever knows it can post."
    return _object({
        "receivers": {"type": "array", "maxItems": 20, "uniqueItems": True, "items": _object({
            "email": address | {"description": "An address; wants `mail`."},
            "webhook": secret | {"description": url},
            "slack": secret | {"description": f"{url} Slack's incoming webhook, or alike."},
        }) | {"minProperties": 1, "maxProperties": 1}, "description":
            "Who is told when something breaks; one of email, webhook and slack each."},
        "mail": _object({
            "server": {"type": "string", "maxLength": 260,
                       "pattern": "^([A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\]):[0-9]{1,5}$",
                       "description": "host:port; 465 is TLS from the first byte."},
            "from": address | {"description": "The sender's address."},
            "user": NAME,
            "secret": secret | {"description": "The secret file with the user's password."},
            "tls": {"type": "boolean", "default": True, "description":
                    "false: also to a server that offers no STARTTLS."},
        }, ("server", "from")),
        "heartbeat": secret | {"description":
                               "The secret file with a URL that is called each minute while the "
                               "alerts themselves work; whoever watches it notices when not."},
        "repeatHours": _number(given.repeat_hours, 0.1, 168, "Until an alert is told again."),
    })


def _backups() -> dict[str, Any]:
    given = Backups()
    return _object({
        "repository": {"type": "string", "maxLength": 400,
                       "pattern": "^(/|(sftp|s3|rest|b2|azure|gs|swift|rclone):)[^\\s]+$",
                       "description": "A folder, or another place as restic names it."},
        "access": ID | {"maxLength": 64, "description":
                        "The secret file with what the place asks for: a line NAME=value each."},
        "everyHours": _number(given.every_hours, 0.02, 168, "From one backup to the next."),
        "drillDays": _number(given.drill_days, 0.001, 90,
                             "From one restored and compared sample to the next."),
        "keepDaily": _number(given.keep_daily, 1, 400, "The newest of so many days stay."),
        "keepWeekly": _number(given.keep_weekly, 0, 400, "The newest of so many weeks stay."),
        "keepMonthly": _number(given.keep_monthly, 0, 400, "The newest of so many months stay."),
    })


def _platform() -> dict[str, Any]:
    given = Platform(images={})
    pool, limits, brakes, dns = given.network, given.limits, given.brakes, given.dns
    sleep, storage, billing = given.sleep, given.storage, given.billing
    spec = _object({
        "images": {"type": "object", "additionalProperties": IMAGE, "required": ["employee"],
                   "description": "What parts run, by digest."},
        "network": _object({"pool": CIDR | {"default": pool.pool},
                            "prefixLength": _number(pool.prefix_length, 16, 29, "Of a subnet.")}),
        "defaults": _object({"resources": _resources()}),
        "limits": _object({
            "maxCpus": _number(limits.max_cpus, 0.1, 64, "At most, of one employee."),
            "maxMemoryMb": _number(limits.max_memory_mb, 64, 262144, "At most, of one employee."),
            "maxPids": _number(limits.max_pids, 16, 32768, "At most, of one employee."),
        }),
        "brakes": _object({
            "maxStopCount": _number(brakes.max_stop_count, 0, 100000, "Stops never held."),
            "maxStopPercent": _number(brakes.max_stop_percent, 0, 100, "Of all that run."),
        }),
        "dns": _object({
            "provider": NAME | {"default": dns.provider},
            "address": {"type": "string", "format": "ipv4", "default": dns.address},
            "ttl": _number(dns.ttl, 1, 86400, "Seconds."),
            "listen": {"type": "array", "maxItems": 8, "uniqueItems": True, "items": {
                "type": "string", "pattern": "^([0-9.]+|\\[[0-9a-fA-F:]+\\]):[0-9]{1,5}$"},
                "description": "Where our PowerDNS answers the world: address:port."},
        }),
        "tls": _object({
            "issuer": {"enum": ["internal", "acme"], "default": given.tls.issuer, "description":
                       "internal: the edge's own authority. acme: a public one."},
            "directory": {"type": "string", "maxLength": 300, "default": given.tls.directory,
                          "pattern": "^(production|staging|https://[^\\s]+)$",
                          "description": "Let's Encrypt's production or staging, or a URL."},
            "email": _address() | {"description": "Whom the authority warns."},
            "trusted": ID | {"maxLength": 64, "description": "The secret file with the certificate "
                             "of an authority of one's own."},
        }),
        "models": {"type": "object", "additionalProperties": _offered_model(), "minProperties": 1,
                   "description": "What employees may use, by the name they use."},
        "sleep": _object({
            "afterMinutes": _number(sleep.after_minutes, 0, 100000, "Of idleness; 0: never."),
            "memoryMb": _number(sleep.memory_mb, 8, 4096, "Kept in memory while asleep."),
        }),
        "storage": _object({
            "employeeMb": _number(storage.employee_mb, 16, 10000000, "Of one employee, MiB."),
            "employeeFiles": _number(storage.employee_files, 1000, 190000,
                                     "Files and folders of one employee."),
            "knowledgeMb": _number(storage.knowledge_mb, 16, 10000000, "Of one company, MiB."),
        }),
        "plans": {"type": "object", "propertyNames": ID | {"maxLength": 30},
                  "additionalProperties": _plan(),
                  "description": "What can be bought, in the order in which it is shown."},
        "billing": _object({
            "unpaidGraceDays": _number(billing.unpaid_grace_days, 0, 90,
                                       "From a failed payment to the pause of all employees."),
            "downgradeGraceDays": _number(billing.downgrade_grace_days, 0, 90,
                                          "From a down-grade below use to pausing the newest."),
            "retentionDays": _number(billing.retention_days, 0, 3650,
                                     "From a subscription's end to the end of its export."),
        }),
        "review": _object({
            "directPushes": {"type": "boolean", "default": given.review.direct_pushes,
                             "description": "true: main itself takes pushes."},
            "approvals": _number(given.review.approvals, 0, 5, "Engineers who must agree."),
        }),
        "alerts": _alerts(),
        "backups": _backups(),
        "warmPerCustomer": _number(given.warm_per_customer, 0, 10,
                                   "Blanks kept ready while seats are free."),
        "graceDays": _number(given.grace_days, 0, 3650,
                             "How long a retired employee's files are kept."),
        "ocrLanguages": {"type": "array", "maxItems": 10, "uniqueItems": True,
                         "items": {"type": "string", "pattern": "^[a-z]{3}(_[a-z]{2,8})*$"},
                         "default": list(given.ocr_languages), "description":
                         "Of what is written in pictures and scans, by Tesseract's names (eng, "
                         "deu, chi_sim); empty: it is not read."},
        "freeze": _freeze("For everybody"),
        "ignoreDifferences": {"type": "array", "maxItems": 100, "items": _object({
            "field": {"enum": ["cpus", "memory", "pids"]},
            "customer": ID | {"maxLength": 30, "description": "Its employees alone."},
            "employee": ID | {"description": "This one alone."},
            **_until("Why, for everybody who looks."),
        }, ("field", "reason", "until")), "description":
            "Limits of employees' containers that may differ, and are not set back until then."},
    }, ("images",))
    return _document("Platform", spec, None)


def _skill() -> dict[str, Any]:
    """The front matter of a SKILL.md, as https://agentskills.io/specification has it, with what
    it leaves open: `metadata`, and the names of tools."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "InstantWorker Skill", **_object({
                "name": ID | {"description": "Its folder's name: a-z, 0-9 and single hyphens."},
                "description": {"type": "string", "minLength": 1, "maxLength": 1024,
                                "pattern": "^[^\\x00-\\x1f\\x7f<>]+$", "description":
                                "One line: what it does, and when to use it; no < or >."},
                "license": NAME | {"description": "One line."},
                "allowed-tools": {
                    "type": "string", "maxLength": 300, "description":
                        f"What it works with, separated by spaces, of: {' '.join(TOOLS)}.",
                    "pattern": f"^({'|'.join(TOOLS)})( ({'|'.join(TOOLS)}))*$"},
                "metadata": _object({
                    "version": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+){0,2}$",
                                "maxLength": 20,
                                "description": "In quotes, such as \"1.0\"; a new one for each "
                                               "change."},
                    "example": {"type": "string", "minLength": 1, "maxLength": 500, "pattern":
                                "^[^\\x00-\\x1f\\x7f]+$", "description":
                                "One line: a task to try it with."},
                }, ("version", "example")),
            }, ("name", "description", "allowed-tools", "metadata"))}


def _document(kind: str, spec: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    properties: dict[str, Any] = {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}}
    if metadata is not None:
        properties["metadata"] = metadata
    properties["spec"] = spec
    return {"$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"InstantWorker {kind}", **_object(properties, tuple(properties))}


SCHEMAS = {"Platform": _platform(), "Customer": _customer(), "Employee": _employee(),
           "Lesson": _lesson(), "Skill": _skill()}


def schema_for(kind: str) -> dict[str, Any]:
    """The schema of one kind. Raises KeyError for an unknown kind."""
    return SCHEMAS[kind]


def rendered(kind: str) -> str:
    return json.dumps(SCHEMAS[kind], indent=2) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema")
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / f"{name.lower()}.json").write_text(rendered(name))
