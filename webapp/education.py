"""What a newcomer told us about its employee, made into a name, a role and instructions.

Pure: answers in, Markdown out. The instructions are the employee's own (`spec.instructions`), in
the state repo, to be read and changed like any others; `quiz` asks about what stands in them. So
the first task is part of them too: it arrives with the hire, in one commit, and needs no second
delivery that could fail or come before the employee does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webapp.texts import N_

STEPS = ("company", "job", "voice", "rules", "knowledge", "task", "review")
# What each answer may hold, in characters; together, a list of the shortest lines too, they fit
# the instructions' 20,000.
MOST = {"about": 1500, "customers": 500, "name": 80, "role": 80, "duties": 1600, "success": 500,
        "tone": 40, "sample": 400, "avoid": 400, "always": 1400, "never": 1400, "approval": 600,
        "unsure": 300, "facts": 1600, "task": 2000}
NEEDED = {"name": "job", "role": "job"}  # and the step that asks for it
TONES = {
    N_("Warm and friendly"): N_("Write as to a good colleague. First names, no jargon."),
    N_("Brief and clear"): N_("Lead with the answer. Short sentences, no small talk."),
    N_("Formal and precise"): N_("Full sentences and titles, exact figures, no exclamation marks."),
    N_("Lively and playful"): N_("A light touch is welcome. Never at somebody's expense."),
}
TASK_DONE = "first-task-done.md"
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
# No answer begins a section of its own, or ends the block that the instructions stand in.
_HEADING = re.compile(r"^\s*#+\s*", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|<!--|-->")

Answers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Education:
    name: str
    role: str
    instructions: str


def missing(answers: Answers) -> dict[str, str]:
    """The answers that a hire needs and that are not there, with the step that asks for each."""
    return {name: step for name, step in NEEDED.items() if not _line(answers.get(name, ""))}


def educate(answers: Answers, company: str) -> Education:
    """Whom the answers describe. What was not answered is left out."""
    def text(name: str) -> str:
        return _text(answers.get(name, ""))

    def line(name: str) -> str:
        return _line(answers.get(name, ""))
    tone = line("tone")
    sections = {
        company: [text("about"), _labelled("Our customers", line("customers"))],
        "Your job": [_listed("What you do", text("duties")),
                     _labelled("Good work", line("success"))],
        "How you sound": [
            _labelled("Tone", tone) + (f". {TONES[tone]}" if tone in TONES else ""),
            _labelled("It sounds like this", line("sample")),
            _labelled("Words to avoid", line("avoid"))],
        "Rules": [_listed("Always", text("always")), _listed("Never", text("never")),
                  _labelled("Ask before", line("approval")),
                  _labelled("When unsure, ask", line("unsure"))],
        "Know by heart": [_bullets(text("facts"))],
        "Your first task": [_task(text("task"))],
    }
    written = []
    for title, parts in sections.items():
        body = "\n\n".join(part for part in parts if part)
        if body:
            written.append(f"### {title}\n\n{body}")
    return Education(line("name"), line("role"),
                     "\n\n".join(written) + ("\n" if written else ""))


def _task(task: str) -> str:
    if not task:
        return ""
    return (f"{task}\n\nOffer to begin with it when somebody greets you. When it is done, note the "
            f"date and the result in `{TASK_DONE}`. Once that file is there, this task is over.")


def _labelled(label: str, value: str) -> str:
    return f"**{label}**: {value}" if value else ""


def _listed(label: str, text: str) -> str:
    return f"**{label}**\n\n{_bullets(text)}" if text else ""


def _bullets(text: str) -> str:
    lines = (_BULLET.sub("", line).strip() for line in text.split("\n"))
    return "\n".join(f"- {line}" for line in lines if line)


def _text(answer: str) -> str:
    plain = _CONTROL.sub("", answer.replace("\r\n", "\n").replace("\r", "\n"))
    return _HEADING.sub("", "\n".join(line.rstrip() for line in plain.split("\n"))).strip()


def _line(answer: str) -> str:
    return " ".join(_text(answer).split())
