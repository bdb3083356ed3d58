"""YAML to documents and back. A file's errors are reported all at once, each with its line.

Reading goes through YAML's nodes, which know their lines; the schema then checks the plain
values, and each of its errors is led back to the line of the field that it names.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, datetime
from functools import cache, partial
from ipaddress import IPv4Address
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from state_repo import StateRepoError
from state_repo.documents import (
    API_VERSION,
    AlertReceiver,
    Alerts,
    Backups,
    Billing,
    Brakes,
    Customer,
    Dns,
    Document,
    Employee,
    Freeze,
    IgnoredDifference,
    Lesson,
    Limits,
    MailServer,
    Model,
    NetworkPool,
    OfferedModel,
    Plan,
    PlanLimits,
    Platform,
    Resources,
    Review,
    SeatRange,
    Sleep,
    Storage,
    Tls,
    Violation,
)
from state_repo.schema import schema_for

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}"
                        for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Lines = dict[tuple[str | int, ...], int]


class DocumentError(StateRepoError):
    """A file that is no valid document; `violations` holds every error in it."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        self.violations = violations
        super().__init__("\n".join(map(str, violations)))


def parse(text: str, path: str) -> Document:
    """Reads one document. `path` is its path in the state repo, for messages.

    Raises:
        DocumentError: with every error of the file.
    """
    values, lines, problems = _read(text, path)
    if problems:
        raise DocumentError(tuple(problems))
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in _BUILD:
        raise DocumentError((Violation(path, lines.get(("kind",), 1), "kind",
                                       f"is {kind!r}", f"write one of {', '.join(_BUILD)}"),))
    if problems := [Violation(path, lines.get(at, 1), _field(at), f"is {value}, no finite number",
                              "write a plain number") for at, value in _not_finite(values, ())]:
        raise DocumentError(tuple(problems))
    found = [_explain(error, path, lines) for error in _validator(kind).iter_errors(values)]
    found += _cross_checks(kind, values, path, lines)
    if found:
        raise DocumentError(tuple(sorted(set(found), key=lambda v: (v.line, v.field, v.message))))
    return _BUILD[kind](values)


def checked(text: str, path: str, kind: str, first_line: int = 1) -> dict[str, Any]:
    """The values of YAML that is a part of a file, from its line `first_line` on; by the schema
    of `kind`.

    Raises:
        DocumentError: with every error of it.
    """
    values, lines, problems = _read(text, path)
    if not problems:
        problems = [_explain(error, path, lines)
                    for error in _validator(kind).iter_errors(values)]
    if problems:
        raise DocumentError(tuple(replace(v, line=v.line + first_line - 1) for v in sorted(
            set(problems), key=lambda v: (v.line, v.field, v.message))))
    return dict(values)


def values_of(document: Document) -> dict[str, Any]:
    """The document as plain values, its defaults written out."""
    kind = type(document).__name__
    return {"apiVersion": API_VERSION, "kind": kind, **_PLAIN[kind](document)}


def dump(document: Document) -> str:
    """The document's one and only YAML: `parse(dump(d), d.path) == d`."""
    return yaml.dump(values_of(document), Dumper=_BlockDumper, sort_keys=False,
                     allow_unicode=True, width=100)


# ---- reading ---------------------------------------------------------------------------------

def _read(text: str, path: str) -> tuple[Any, Lines, list[Violation]]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None, {}, [Violation(path, 1, "-", "the file is larger than 256 KiB",
                                    "a document holds settings; put content in the knowledge")]
    try:
        if deep := _too_deep(text):
            return None, {}, [Violation(path, deep, "-", "is nested too deeply",
                                        f"write at most {MAX_DEPTH} levels")]
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        return None, {}, [Violation(path, mark.line + 1 if mark else 1, "-",
                                    f"is no valid YAML: {problem}", "correct it at this line")]
    if node is None:
        return None, {}, [Violation(path, 1, "-", "the file is empty",
                                    "remove it, or write its document")]
    lines: Lines = {}
    problems: list[Violation] = []
    _walk(node, (), lines, problems, path, set())
    if problems:
        return None, lines, problems
    try:
        return yaml.load(text, Loader=_Loader), lines, []
    except (yaml.YAMLError, ValueError) as error:  # what looks like a number and is none
        mark = getattr(error, "problem_mark", None)
        return None, lines, [Violation(path, mark.line + 1 if mark else 1, "-",
                                       f"holds a value that can't be read: {error}",
                                       "correct it, or put it in quotes")]


def _too_deep(text: str) -> int | None:
    """The line at which values nest more than MAX_DEPTH levels, if they do. (To compose such a
    text would recurse as deep.)"""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return event.start_mark.line + 1 if event.start_mark else 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _walk(node: yaml.Node, at: tuple[str | int, ...], lines: Lines, problems: list[Violation],
          path: str, seen: set[int]) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(at, line)
    if id(node) in seen:
        problems.append(Violation(path, line, _field(at), "uses a YAML alias",
                                  "write the value out: aliases hide what a change touches"))
        return
    seen.add(id(node))
    if node.tag not in _PLAIN_TAGS:
        if node.tag.endswith(":timestamp"):
            problems.append(Violation(path, line, _field(at), "is read as a YAML timestamp",
                                      "put it in quotes"))
        else:
            problems.append(Violation(path, line, _field(at), f"has the YAML tag {node.tag}",
                                      "use plain values only"))
        return
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                problems.append(Violation(path, key.start_mark.line + 1, _field(at),
                                          "has a key that is no text",
                                          "write a name, in quotes if it looks like a number"))
                continue
            name = str(key.value)
            if name in names:
                problems.append(Violation(path, key.start_mark.line + 1, _field((*at, name)),
                                          "stands here twice", "keep one of the two"))
            names.add(name)
            lines[(*at, name)] = key.start_mark.line + 1
            _walk(value, (*at, name), lines, problems, path, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*at, index), lines, problems, path, seen)


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema_for(kind), format_checker=_FORMATS)


# Of the library's own checks some are there only when packages of others are.
_FORMATS = FormatChecker()
_TIME = re.compile(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    """RFC 3339, in a year that can be reckoned with: a zone is there, so that times compare."""
    if not isinstance(value, str):
        return True
    return bool(_TIME.fullmatch(value)) and datetime.fromisoformat(value).year < 2900


@_FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@_FORMATS.checks("ipv4", raises=ValueError)
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or bool(IPv4Address(value))


def _explain(error: ValidationError, path: str, lines: Lines) -> Violation:
    """One schema error in words that say what is right."""
    at = tuple(error.absolute_path)
    wanted, schema = error.validator_value, error.schema
    hint = schema.get("description", "") if isinstance(schema, dict) else ""
    if error.validator == "additionalProperties":
        known = sorted(schema["properties"])
        unknown = sorted(set(error.instance) - set(known))
        at = (*at, unknown[0])
        return Violation(path, lines.get(at, 1), _field(at), "is not known",
                         f"use one of {', '.join(known)}, or remove it" + (
                             f" (also unknown: {', '.join(unknown[1:])})" if unknown[1:] else ""))
    if error.validator == "required":
        missing = error.message.split("'")[1]
        return Violation(path, lines.get(at, 1), _field((*at, missing)), "is missing",
                         "add it. " + schema["properties"][missing].get("description", "")
                         if missing in schema.get("properties", {}) else "add it")
    fix = {
        "type": f"write a value of type {wanted}", "const": f"write {wanted!r}",
        "enum": f"write one of {', '.join(map(str, wanted)) if isinstance(wanted, list) else ''}",
        "minimum": f"write {wanted} or more", "maximum": f"write {wanted} or less",
        "maxLength": f"write at most {wanted} characters", "minLength": "write some text",
        "uniqueItems": "name each one once", "maxItems": f"write at most {wanted}",
        "format": "write a time with its zone, such as 2026-12-01T08:00:00Z"
                  if wanted == "date-time" else f"write a valid {wanted}",
    }.get(str(error.validator), "correct it")
    shown = repr(error.instance)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return Violation(path, lines.get(at, 1), _field(at), f"is {shown}",
                     f"{fix}. {hint}".rstrip(". ") if hint else fix)


def _not_finite(value: Any, at: tuple[str | int, ...]
                ) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """NaN and the infinities pass every comparison that a schema makes, and bind no budget."""
    if isinstance(value, float) and not math.isfinite(value):
        yield at, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_finite(inner, (*at, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, (*at, index))


# Characters that turn the text around them (Unicode's bidirectional controls): a name that holds
# them can look like another one.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def _texts(values: dict[str, Any], path: str, lines: Lines) -> Iterator[Violation]:
    """What people see must be what is written: names can be seen, and nothing steers a screen."""
    metadata, spec = values.get("metadata"), values.get("spec")
    for name in ("name", "role"):
        text = metadata.get(name) if isinstance(metadata, dict) else None
        if not isinstance(text, str):
            continue
        at = lines.get(("metadata", name), 1)
        if _TURNING.search(text) or any(unicodedata.category(c) == "Cc" for c in text):
            yield Violation(path, at, f"metadata.{name}", "holds characters that steer the text "
                            "around them", "write it without control characters")
        elif text and not any(unicodedata.category(c)[0] in "LNSP" for c in text):
            yield Violation(path, at, f"metadata.{name}", "holds nothing that can be seen",
                            "write a name")
    for name in ("instructions", "lesson", "evidence"):
        text = spec.get(name) if isinstance(spec, dict) else None
        if isinstance(text, str) and any(unicodedata.category(c) == "Cc" and c not in "\n\t\r"
                                         for c in text):
            yield Violation(path, lines.get(("spec", name), 1), f"spec.{name}",
                            "holds a control character", "write plain text")


def _cross_checks(kind: str, values: dict[str, Any], path: str, lines: Lines) -> list[Violation]:
    if found := list(_texts(values, path, lines)):
        return found
    spec = values.get("spec")
    if kind != "Employee" or not isinstance(spec, dict):
        return []
    if spec.get("seat") is False and spec.get("state") in ("running", "warm"):
        return [Violation(path, lines.get(("spec", "seat"), 1), "spec.seat",
                          f"is false at one who is {spec['state']}",
                          "remove it, or write state: paused")]
    retired, at = spec.get("state") == "retired", spec.get("retiredAt")
    if retired and at is None:
        return [Violation(path, lines.get(("spec", "state"), 1), "spec.retiredAt", "is missing",
                          "say when it was retired: its grace period starts then")]
    if not retired and at is not None:
        return [Violation(path, lines.get(("spec", "retiredAt"), 1), "spec.retiredAt",
                          "stands at an employee that is not retired", "remove it")]
    return []


def _field(at: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
    return text.lstrip(".") or "-"


# ---- values to documents and back ------------------------------------------------------------

def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _build(kind: type[Any], values: dict[str, Any] | None) -> Any:
    """A part, with the defaults of its own class for what is not given."""
    given = {_snake(name): value for name, value in (values or {}).items()}
    for field in fields(kind):  # an integer is a valid number: keep one Python type for it
        if str(field.type).startswith("float") and given.get(field.name) is not None:
            given[field.name] = float(given[field.name])
    return kind(**given)


def _values(part: Any) -> dict[str, Any]:
    return {_camel(field.name): getattr(part, field.name) for field in fields(part)}


def _employee(values: dict[str, Any]) -> Employee:
    spec, metadata = dict(values["spec"]), values["metadata"]
    model, resources = spec.pop("model", None), spec.pop("resources", None)
    spec["skills"] = tuple(spec.get("skills", ()))
    return Employee(**metadata, model=_build(Model, model), resources=_build(Resources, resources),
                    **{_snake(name): value for name, value in spec.items()})


def _plain_employee(e: Employee) -> dict[str, Any]:
    spec: dict[str, Any] = {"state": e.state}
    if e.retired_at is not None:
        spec["retiredAt"] = e.retired_at
    spec |= {"image": e.image, "model": _values(e.model), "resources": _values(e.resources),
             "skills": list(e.skills), "restarts": e.restarts, "instructions": e.instructions}
    if not e.seat:
        spec["seat"] = False
    if e.hired_at is not None:
        spec["hiredAt"] = e.hired_at
    if e.image_pinned:
        spec["imagePinned"] = True
    metadata = {"id": e.id, "customer": e.customer, "name": e.name, "role": e.role}
    return {"metadata": metadata, "spec": spec}


def _customer(values: dict[str, Any]) -> Customer:
    spec = dict(values["spec"])
    subnet = spec.pop("network")["subnet"]
    return _build(Customer, values["metadata"] | {"subnet": subnet} | spec | _freeze(spec))


def _plain_customer(c: Customer) -> dict[str, Any]:
    budget = {} if c.monthly_budget_usd is None else {"monthlyBudgetUsd": c.monthly_budget_usd}
    plan = {} if c.plan is None else {"plan": c.plan}
    return {"metadata": {"id": c.id, "name": c.name},
            "spec": {**plan, "maxEmployees": c.max_employees, "suspended": c.suspended, **budget,
                     "network": {"subnet": c.subnet}, **_plain_freeze(c.freeze)}}


def _freeze(spec: dict[str, Any]) -> dict[str, Any]:
    return {"freeze": _build(Freeze, spec["freeze"])} if "freeze" in spec else {}


def _plain_freeze(freeze: Freeze | None) -> dict[str, Any]:
    return {} if freeze is None else {"freeze": _values(freeze)}


def _lesson(values: dict[str, Any]) -> Lesson:
    spec = {_snake(name): value for name, value in values["spec"].items()}
    return Lesson(**values["metadata"], **spec)


def _plain_lesson(x: Lesson) -> dict[str, Any]:
    return {"metadata": {"id": x.id, "customer": x.customer, "employee": x.employee},
            "spec": {"state": x.state, "learnedOn": x.learned_on, "lesson": x.lesson,
                     "evidence": x.evidence}}


def _plan(values: dict[str, Any]) -> Plan:
    parts = {"seats": _build(SeatRange, values.get("seats")),
             "limits": _build(PlanLimits, values.get("limits"))}
    return _build(Plan, values | parts)


def _plain_plan(plan: Plan) -> dict[str, Any]:
    values = {name: value for name, value in _values(plan).items() if value not in (None, "")}
    return values | {"seats": _values(plan.seats), "limits": _values(plan.limits)}


_PARTS: dict[str, type[Any]] = {
    "network": NetworkPool, "limits": Limits, "brakes": Brakes, "dns": Dns, "sleep": Sleep,
    "storage": Storage, "billing": Billing, "review": Review, "backups": Backups,
    "tls": Tls}


def _alerts(values: dict[str, Any]) -> Alerts:
    given = dict(values)
    if "mail" in given:
        mail = dict(given["mail"])
        given["mail"] = _build(MailServer, mail | {"sender": mail.pop("from")})
    return _build(Alerts, given | {"receivers": tuple(
        _build(AlertReceiver, one) for one in given.get("receivers", ()))})


def _plain_alerts(alerts: Alerts) -> dict[str, Any]:
    def given(x: AlertReceiver | MailServer) -> dict[str, Any]:
        return {name: value for name, value in _values(x).items() if value is not None}
    found: dict[str, Any] = {"repeatHours": alerts.repeat_hours}
    if alerts.receivers:
        found["receivers"] = [given(one) for one in alerts.receivers]
    if alerts.mail:
        mail = given(alerts.mail)
        found["mail"] = {"server": mail.pop("server"), "from": mail.pop("sender"), **mail}
    return found | ({"heartbeat": alerts.heartbeat} if alerts.heartbeat else {})


def _platform(values: dict[str, Any]) -> Platform:
    spec = dict(values["spec"])
    parts: dict[str, Any] = {"images": dict(spec["images"]), "defaults": _build(
        Resources, spec.get("defaults", {}).get("resources"))}
    for name, kind in _PARTS.items():
        parts[name] = _build(kind, spec.get(name))
    for name, build in (("models", partial(_build, OfferedModel)), ("plans", _plan)):
        if name in spec:
            parts[name] = {key: build(given) for key, given in spec[name].items()}
    parts["dns"] = replace(parts["dns"], listen=tuple(parts["dns"].listen))
    parts["alerts"] = _alerts(spec.get("alerts", {}))
    parts["ignore_differences"] = tuple(
        _build(IgnoredDifference, given) for given in spec.pop("ignoreDifferences", ()))
    if "ocrLanguages" in spec:
        parts["ocr_languages"] = tuple(spec.pop("ocrLanguages"))
    return _build(Platform, spec | parts | _freeze(spec))


def _plain_platform(p: Platform) -> dict[str, Any]:
    return {"spec": {
        "images": dict(sorted(p.images.items())), "network": _values(p.network),
        "defaults": {"resources": _values(p.defaults)}, "limits": _values(p.limits),
        "brakes": _values(p.brakes),
        "dns": _values(p.dns) | {"listen": list(p.dns.listen)},
        "tls": {k: v for k, v in _values(p.tls).items() if v is not None},
        "models": {name: {k: v for k, v in _values(model).items() if v is not None}
                   for name, model in sorted(p.models.items())},
        "sleep": _values(p.sleep), "storage": _values(p.storage),
        "plans": {name: _plain_plan(plan) for name, plan in p.plans.items()},
        "billing": _values(p.billing), "review": _values(p.review),
        "alerts": _plain_alerts(p.alerts),
        "backups": {k: v for k, v in _values(p.backups).items() if v is not None},
        "warmPerCustomer": p.warm_per_customer, "graceDays": p.grace_days,
        "ocrLanguages": list(p.ocr_languages),
        **_plain_freeze(p.freeze), **_plain_ignored(p.ignore_differences)}}


def _plain_ignored(ignored: tuple[IgnoredDifference, ...]) -> dict[str, Any]:
    return {} if not ignored else {"ignoreDifferences": [
        {name: value for name, value in _values(one).items() if value is not None}
        for one in ignored]}


_BUILD: dict[str, Any] = {"Platform": _platform, "Customer": _customer, "Employee": _employee,
                          "Lesson": _lesson}
_PLAIN: dict[str, Any] = {"Employee": _plain_employee, "Customer": _plain_customer,
                          "Platform": _plain_platform, "Lesson": _plain_lesson}


class _BlockDumper(_Dumper):  # type: ignore[misc, valid-type]
    """Several lines of text become a literal block, which reviews line by line."""


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value,
                                   style="|" if "\n" in value else None)


_BlockDumper.add_representer(str, _text)
