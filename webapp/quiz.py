"""A short quiz about what an employee was taught, and how its answers are judged.

Pure, and without a model: questions are made from lines that say one thing about another ("Opening
hours: 9 to 17", a table's cell, "Kraken costs 49 EUR") and from rules with one word left out. The
same texts make the same questions, so that two scores can be compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest

from webapp.education import TONES

FEWEST, MOST = 5, 8
OWN = "instructions"  # the source of what no document says
_MOST_OF_DOCUMENTS = 4
_MOST_WORDS = 60  # of an answer; what comes after is talk
_LABELLED = re.compile(r"^(?:[-*]\s+)?\**([^:*|]{2,60}?)\**:\**\s+(\S.{0,119})$")
_COSTS = re.compile(r"^(?:[-*]\s+)?(?:the\s+)?(.{2,60}?)\s+costs?\s+(.{1,40}?)\.?$", re.IGNORECASE)
# What instructions say at length, and nobody can repeat word by word.
_NOT_ASKED = ("Our customers", "Good work", "It sounds like this", "Words to avoid", "Ask before")
_RULE = re.compile(r"[ ,;:.!?]+")
_FILLERS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "of",
    "on", "or", "our", "that", "the", "this", "to", "us", "we", "with", "you", "your"))
_UNITS = {"€": " eur ", "$": " usd ", "£": " gbp ", "%": " percent "}
_SAME = {"euro": "eur", "euros": "eur", "dollar": "usd", "dollars": "usd", "pound": "gbp",
         "pounds": "gbp"}


@dataclass(frozen=True, slots=True)
class Question:
    """`source`: OWN, or the document's name. `choices`: to choose from, if any."""

    text: str
    expected: str
    source: str
    choices: tuple[str, ...] = ()


def questions(name: str, role: str, company: str, instructions: str,
              documents: Mapping[str, str]) -> list[Question]:
    """Up to MOST questions about one employee; at least FEWEST when there is enough to ask."""
    own = list(_about_instructions(instructions))
    known = _spread([list(_about_document(document, text))
                     for document, text in sorted(documents.items())])[:_MOST_OF_DOCUMENTS]
    asked = (own[:MOST - len(known)] + known)[:MOST]
    basic = [Question("What is your job here?", role, OWN),
             Question("Which company do you work for?", company, OWN),
             Question("What is your name here?", name, OWN)]
    return asked + basic[:max(0, FEWEST - len(asked))]


def paper(asked: list[Question]) -> str:
    """The quiz as it is put to the employee."""
    lines = [f"{number}. {q.text}" + (f" Choose one: {'; '.join(q.choices)}." if q.choices else "")
             for number, q in enumerate(asked, 1)]
    return ("QUIZ\n\nYour company checks what you were taught. Everything that is asked stands in "
            "your instructions or in a document in /shared/text; look there first. Answer each "
            "question in one short line that begins with its number, such as \"1. Monday\". Where "
            "you don't know, write \"I don't know\"; don't guess.\n\n" + "\n".join(lines))


def read_answers(text: str, count: int) -> list[str]:
    """What was answered to each question; "" where nothing was."""
    found = [""] * count
    current = None
    for line in text.splitlines():
        begins = re.match(r"^[\s*#>]*(\d{1,2})[.):]\**\s*(.*)$", line)
        if begins and 1 <= int(begins[1]) <= count:
            current = int(begins[1]) - 1
            found[current] = begins[2].strip()
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return [answer.strip("* ")[:500] for answer in found]


def is_right(question: Question, answer: str) -> bool:
    """Whether the answer says what was expected: every number of it, and three quarters of its
    words; or, of several choices, that one alone."""
    said = _words(answer)[:_MOST_WORDS]
    if question.choices:
        return [c for c in question.choices if _holds(said, _words(c))] == [question.expected]
    expected = _words(question.expected)
    wanted = [word for word in expected if word not in _FILLERS] or expected
    heard = sum(word in said for word in wanted)
    return bool(wanted) and heard >= 0.75 * len(wanted) and all(
        word in said for word in wanted if word[0].isdigit())


# ---- questions -------------------------------------------------------------------------------

def _about_instructions(text: str) -> Iterator[Question]:
    """The voice, whom to ask, one rule; then the facts, then the other rules."""
    section = ""
    first: list[Question] = []
    facts: list[Question] = []
    rules: dict[str, list[Question]] = {"Never": [], "Always": []}
    for line in map(str.strip, text.splitlines()):
        if re.fullmatch(r"\*\*[^*:]+\*\*", line) or line.startswith("#"):
            section = line.strip("*# ")
        elif line.startswith("**Tone**: "):
            tone = next((t for t in TONES if line.startswith(f"**Tone**: {t}")), None)
            if tone:
                first.append(Question("Which tone should you use?", tone, OWN, tuple(TONES)))
        elif line.startswith("**When unsure, ask**: "):
            who = re.split(r"[,(;]| at | by | on ", line.partition(": ")[2])[0].strip()
            first.append(Question("Whom do you ask when you are unsure?", who, OWN))
        elif section in rules and line.startswith("- "):
            rules[section] += _left_out(section, line[2:])
        elif (said := _labelled(line)) and said[0] not in _NOT_ASKED and len(said[1]) <= 80:
            facts.append(Question(f"What do your instructions say about “{said[0]}”?", said[1],
                                  OWN))
    others = _spread([*rules.values()])
    yield from [*first, *others[:1], *facts, *others[1:]]


def _left_out(kind: str, rule: str) -> Iterator[Question]:
    """A rule with its longest word left out."""
    rule = rule.rstrip(".!")
    words = [word for word in _RULE.split(rule) if word.isalpha() and len(word) >= 4]
    once = [word for word in words if len(re.findall(rf"\b{word}\b", rule)) == 1]
    if once and len(rule.split()) >= 3:
        word = max(reversed(once), key=len)
        blank = re.sub(rf"\b{word}\b", "____", rule)
        yield Question(f"Which word is missing in this rule of yours? {kind}: “{blank}”", word,
                       OWN)


def _about_document(name: str, text: str) -> Iterator[Question]:
    """Those with a figure first: they can be right or wrong, and nothing between."""
    found: dict[str, Question] = {}
    twice: set[str] = set()
    for label, value, question in chain(_cells(text), _sentences(text)):
        made = Question(f"{question}, according to {name}?", value, name)
        key = label.casefold()
        if key in found and found[key].expected != value:
            twice.add(key)
        found.setdefault(key, made)
    clear = [made for key, made in found.items() if key not in twice]
    yield from sorted(clear, key=lambda q: (not re.search(r"\d", q.expected),
                                            len(q.expected) > 40))


def _sentences(text: str) -> Iterator[tuple[str, str, str]]:
    for line in text.splitlines():
        line = line.strip()
        if len(line) > 200 or line.startswith("|"):
            continue
        costs = _COSTS.match(line)
        if costs and re.search(r"\d", costs[2]):
            yield costs[1], costs[2], f"What does {costs[1]} cost"
        elif said := _labelled(line):
            yield *said, f"What is said about “{said[0]}”"


def _cells(text: str) -> Iterator[tuple[str, str, str]]:
    """A Markdown table's cells, by their column's and their row's name."""
    header: list[str] = []
    before: list[str] = []
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")] if (
            line.strip().startswith("|")) else []
        if cells and all(re.fullmatch(r":?-{3,}:?", c) for c in cells):
            header = before
        elif cells and header and len(cells) == len(header):
            for column, value in zip(header[1:], cells[1:], strict=True):
                if column and cells[0] and value and len(value) <= 80:
                    yield (f"{column} of {cells[0]}", value,
                           f"What is the “{column}” of “{cells[0]}”")
        elif not cells:
            header = []
        before = cells


def _labelled(line: str) -> tuple[str, str] | None:
    """A line's label and value, if it has both."""
    found = _LABELLED.match(line)
    if found is None:
        return None
    label, value = found[1].strip(), found[2].strip().strip("*").rstrip(".").strip()
    if not re.search(r"[^\W\d]", label) or len(label.split()) > 8 or not re.search(r"\w", value):
        return None
    return label, value


def _spread(each: list[list[Question]]) -> list[Question]:
    """One of each document in turn."""
    return [q for row in zip_longest(*each) for q in row if q is not None]


# ---- words -----------------------------------------------------------------------------------

def _words(text: str) -> list[str]:
    """Words and numbers, however they are written: "€ 1,200.00" is "1200 eur"."""
    text = unicodedata.normalize("NFKC", text).casefold()
    for sign, word in _UNITS.items():
        text = text.replace(sign, word)
    text = re.sub(r"(?<=\d)[,.’'\u202f\u00a0](?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", text)
    found = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", text)
    return [f"{float(w):g}" if "." in w else w.lstrip("0") or "0" if w[0].isdigit()
            else _SAME.get(w, w) for w in found]


def _holds(said: list[str], wanted: list[str]) -> bool:
    return any(said[i:i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))
