"""A plan as one comment on its request, in the Markdown that every forge reads.

What people wrote (names, values, paths) stands in code, which no forge reads as anything: it
mentions nobody, links nowhere, and ends no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MARK = "<!-- instantworker:plan -->"  # how the comment is found again
MOST = 60_000  # characters: GitHub takes 65,536
_MOST_LINES, _MOST_VALUE = 400, 120
_DOES = {"create": "made", "delete": "removed", "replace": "made anew", "update": "changed"}
_SIGN = {"starts": "🟢", "stops": "🔴", "is interrupted": "🟠"}


def comment(plan: Mapping[str, Any], page: str) -> str:
    """`plan`: see `reconciler.plans`. `page`: where it is shown with its diffs."""
    parts = [MARK, f"### What this would do\n\n{summary(plan)}"]
    parts += [f"- ❌ {code(line)}" for line in plan["problems"]]
    if plan.get("cost"):
        parts.append(f"A month: {', '.join(_costs(plan['cost']))}.")
    parts += [_stack(stack) for stack in plan["stacks"]]
    if plan["documents"]:
        parts.append(_folded(f"{len(plan['documents'])} document"
                             f"{'' if len(plan['documents']) == 1 else 's'}",
                             _documents(plan["documents"])))
    end = (f"Plan {code(plan['digest'])} of {code(plan['head'][:10])}, with main at "
           f"{code(plan['main'][:10])}: [with its diffs]({page}). It is kept up to date here; "
           "nothing was changed by making it.")
    text = "\n\n".join(parts)
    if len(text) + len(end) > MOST - 200:
        text = (text[:MOST - len(end) - 200].rpartition("\n")[0]
                + "\n\n</details>\n\n**The rest is left out here**: it stands on the page below.")
    return f"{text}\n\n{end}\n"


def summary(plan: Mapping[str, Any]) -> str:
    """In one line of at most 140 characters, without what people wrote."""
    problems = len(plan["problems"]) + sum(len(s["problems"]) for s in plan["stacks"])
    if problems:
        return f"{problems} thing{'' if problems == 1 else 's'} to correct first."
    counts: dict[str, int] = {}
    for stack in plan["stacks"]:
        for change in stack["changes"]:
            counts[change["op"]] = counts.get(change["op"], 0) + 1
    told = [f"{count} {_DOES.get(op, op)}" for op, count in counts.items()]
    touched = [e["does"] for stack in plan["stacks"] for e in stack["employees"]]
    stopped = sum(does in ("stops", "is interrupted") for does in touched)
    if stopped:
        told.append(f"{stopped} employee{'' if stopped == 1 else 's'} stopped or interrupted")
    if told:
        return f"{', '.join(told)}."
    if plan["documents"]:
        return "Nothing changes in reality."
    return "It differs from main in nothing."


def code(text: object) -> str:
    """As a forge shows it letter by letter, in one line."""
    plain = re.sub(r"\s+", " ", str(text)).strip() or " "
    if len(plain) > _MOST_VALUE * 4:
        plain = plain[:_MOST_VALUE * 4] + "…"
    fence = "`" * (max(map(len, re.findall(r"`+", plain)), default=0) + 1)
    pad = " " if "`" in plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _cell(value: object) -> str:
    if value is None:
        return "—"
    text = str(value)
    short = text[:_MOST_VALUE] + "…" if len(text) > _MOST_VALUE else text
    return code(short).replace("|", "\\|")  # a table ends a cell at it, code or not


def _stack(stack: Mapping[str, Any]) -> str:
    lines = [f"#### {code(stack['stack'].removeprefix('customer/'))}"]
    lines += [f"- ❌ {code(line)}" for line in stack["problems"]]
    lines += [f"- ⚠️ {code(line)}" for line in stack["notes"]]
    lines += [f"- {_SIGN.get(e['does'], '🔵')} {code(e['employee'])} {e['does']}"
              for e in stack["employees"]]
    rows = []
    for change in stack["changes"]:
        what = f"{change['type'].split(':')[-1]} {code(change['name'])}".replace("|", "\\|")
        values = change.get("values") if change["op"] in ("update", "replace") else None
        told = "<br>".join(f"{_cell(v['field'])} {_cell(v['old'])} → {_cell(v['new'])}"
                           for v in values) if values else _cell(
                               ", ".join(change["fields"])) if change["fields"] else ""
        rows.append(f"| {_DOES.get(change['op'], change['op'])} | {what} | {told} |")
    if rows:
        head = ["| is | what | fields |", "| --- | --- | --- |"]
        table = "\n".join([*head, *_some(rows)])
        lines.append("\n" + (table if len(rows) <= 10 else _folded(
            f"{len(rows)} resources", table)))
    elif not stack["problems"] and not stack["notes"]:
        lines.append("Nothing changes in reality.")
    return "\n".join(lines)


def _documents(documents: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for document in documents:
        rows.append(f"| {document['does']} | {_cell(document['path'])} | |")
        rows += [f"| | {_cell(f['field'])} | {_cell(f['old'])} → {_cell(f['new'])} |"
                 for f in document["fields"]]
    return "\n".join(["| is | what | |", "| --- | --- | --- |", *_some(rows)])


def _some(rows: list[str]) -> list[str]:
    if len(rows) <= _MOST_LINES:
        return rows
    return [*rows[:_MOST_LINES], f"| | and {len(rows) - _MOST_LINES} more | |"]


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _costs(cost: Mapping[str, float]) -> list[str]:
    found = []
    for key, value in cost.items():
        kind, _, currency = key.partition("_")
        amount = abs(value) / (1 if kind == "models" else 100)
        for_what = "that employees may spend on models" if kind == "models" else "for seats"
        found.append(f"{'+' if value > 0 else '−'}{amount:.2f} {currency.upper()} {for_what}")
    return found
