"""Texts, ready for translation: `webapp/translations/` holds all of them as gettext catalogues.

English is written where it is used: as it is in a page's template (`AutoText` marks it when the
template is compiled, so that nothing can be forgotten), in `gettext()` and as a Problem's words in
Python, in `t()` in the browser's modules. What the API tells of employees is English, and looked up
where it is shown; its errors are in the language that is asked for. `make texts` collects all of
it; a new language is a folder with its `.po` file, chosen by the browser's languages. Mails are
whole texts, a file each, in `templates/mail/`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from babel.messages.mofile import read_mo
from flask import Flask, current_app, has_request_context, request
from flask_babel import Babel, get_locale, gettext
from jinja2.ext import Extension

TRANSLATIONS = Path(__file__).parent / "translations"
SOURCE = "en"

_TOKEN = re.compile(r"""
    (?P<comment>\{\#.*?\#\}|<!--.*?-->|<!doctype[^>]*>)
  | (?P<statement>\{%.*?%\})
  | (?P<value>\{\{(?:"[^"]*"|'[^']*'|\{(?:"[^"]*"|\{[^{}]*\}|[^{}"])*\}|[^{}"'])*\}\})
  | (?P<tag></?[a-zA-Z](?:\{\{.*?\}\}|\{%.*?%\}|\{\#.*?\#\}|
        "(?:\{\{.*?\}\}|\{%.*?%\}|[^"])*"|[^>"])*>)
  | (?P<text>[^{<]+|[{<])
""", re.X | re.S)
_ATTRIBUTE = re.compile(
    r'(?<=[\s"])(alt|title|placeholder|aria-label|aria-description|label|'
    r'data-(?:confirm-(?:title|text|yes)|duties|success|task))="'
    r'((?:\{\{.*?\}\}|\{%.*?%\}|[^"])*)"', re.S)
_AS_IT_IS = ("script", "style", "code", "pre", "svg")
_INLINE = re.compile(r"</?(?:strong|em|br)>")  # part of a sentence, if it begins and ends in it
_CLASSES = re.compile(r"\{%-? block \w+_class -?%\}")  # not read by people
_HOLDS = re.compile(r"[^\W\d_]{2}|\b[aAI]\b")  # what makes a text one that is read
# At the edge of a sentence these are beside it, not in it.
_BESIDE = re.compile(r"\{\{-?\s*(?:icon|avatar|badge|banner|progress|csrf_field|field|empty|steps|"
                     r"caller|hidden|line|ask|head|card)\(")


class AutoText(Extension):
    """Marks what stands between tags, and in the attributes that people read, for gettext. What is
    marked by hand (`{% trans %}`), or in `<code>`, `<pre>` and scripts, stays as it is."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return marked(source) if (name or ".html").endswith(".html") else source


def marked(source: str) -> str:
    """A template with its texts marked."""
    made: list[str] = []
    run: list[tuple[str, str]] = []
    closed: list[str] = []  # tags and blocks in which nothing is marked

    def flush() -> None:
        made.append(_sentence(run))
        run.clear()
    for found in _TOKEN.finditer(source):
        kind, text = str(found.lastgroup), found[0]
        if kind == "statement":
            word = text.strip("{%-} \n").partition(" ")[0]
            flush()
            if word in ("trans", "raw") or _CLASSES.fullmatch(text):
                closed.append(word)
            elif closed and word == f"end{closed[-1]}":
                closed.pop()
            made.append(text)
        elif kind == "tag" and (closed or not _INLINE.fullmatch(text)):
            flush()
            name = text.strip("</>").split()[0].lower()
            made.append(text if closed else _ATTRIBUTE.sub(_attribute, text))
            if name in _AS_IT_IS and not text.startswith("</") and not text.endswith("/>"):
                closed.append(name)
            elif text.startswith("</") and closed and closed[-1] == name:
                closed.pop()
        elif closed or kind == "comment":
            flush()
            made.append(text)
        else:
            run.append((kind, text))
    flush()
    return "".join(made)


def _attribute(found: re.Match[str]) -> str:
    if "{%" in found[2]:
        return found[0]
    parts = [(str(m.lastgroup), m[0]) for m in re.finditer(
        r"(?P<value>\{\{.*?\}\})|(?P<text>[^{]+|\{)", found[2], re.S)]
    return f'{found[1]}="{_sentence(parts)}"'


def _sentence(run: list[tuple[str, str]]) -> str:
    """A run of text and values as one block for translation, with what is beside it outside."""
    def beside(part: tuple[str, str]) -> bool:
        kind, text = part
        return kind != "tag" and (not text.strip() or (
            kind == "value" and bool(_BESIDE.match(text))))
    first, last = 0, len(run)
    while first < last and beside(run[first]):
        first += 1
    while last > first and beside(run[last - 1]):
        last -= 1
    tags = [text for kind, text in run[first:last] if kind == "tag"]
    if tags and (not _is_whole(tags) or run[first][0] == "tag" or run[last - 1][0] == "tag"):
        # A tag that begins or ends elsewhere, or holds all of it, is no part of a sentence.
        at = next(n for n in (first, last - 1, *range(first, last)) if run[n][0] == "tag")
        return _sentence(run[:at]) + run[at][1] + _sentence(run[at + 1:])
    inner = run[first:last]
    if not any(kind == "text" and _HOLDS.search(re.sub(r"&#?\w+;", "", text))
               for kind, text in inner):
        return "".join(text for _, text in run)
    before = "".join(text for _, text in run[:first])
    after = "".join(text for _, text in run[last:])
    values: dict[str, str] = {}
    words = []
    for kind, text in inner:
        if kind != "value":
            words.append(re.sub(r"\s+", " ", text))
            continue
        value = text.strip("{}").strip("- \n")
        name = re.sub(r"\W+", "_", value).strip("_").lower() if re.fullmatch(
            r"[\w.]+", value) else f"value{len(values) + 1}"
        values.setdefault(name, value)
        words.append(f"{{{{ {name} }}}}")
    told = "".join(words)
    before += told[:len(told) - len(told.lstrip())]
    after = told[len(told.rstrip()):] + after
    given = ", ".join(f"{name}={value}" for name, value in values.items()) + " " * bool(values)
    return f"{before}{{% trans {given}%}}{told.strip()}{{% endtrans %}}{after}"


def _is_whole(tags: list[str]) -> bool:
    """Whether each tag that begins in a sentence ends in it."""
    names = [tag for tag in tags if tag != "<br>"]
    return len(names) % 2 == 0 and all(
        end == start.replace("<", "</") for start, end in zip(names[::2], names[1::2], strict=True))


def register(app: Flask) -> None:
    app.jinja_env.add_extension(AutoText)
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(TRANSLATIONS)
    app.config["LANGUAGES"] = _languages()
    Babel(app, default_locale=SOURCE, locale_selector=_chosen)
    app.jinja_env.newstyle_gettext = True  # type: ignore[attr-defined]
    app.add_template_filter(said)
    app.context_processor(lambda: {"language": language()})


def _languages() -> tuple[str, ...]:
    """English, and what there is a catalogue of."""
    return (SOURCE, *sorted(path.parent.parent.name
                            for path in TRANSLATIONS.glob("*/LC_MESSAGES/messages.mo")))


def language() -> str:
    """What this request is answered in."""
    return str(get_locale() or SOURCE).replace("_", "-")


def _chosen() -> str:
    if not has_request_context():  # a mail that is made at night
        return SOURCE
    return request.accept_languages.best_match(current_app.config["LANGUAGES"]) or SOURCE


@lru_cache
def of_the_browser(name: str) -> str | None:
    """A language's texts for the browser's modules, as a script: what `t()` and `many()` look up.
    None: there is no such language."""
    if name == SOURCE or name not in current_app.config["LANGUAGES"]:
        return None
    with (TRANSLATIONS / name / "LC_MESSAGES" / "messages.mo").open("rb") as file:
        known = read_mo(file)
    found = {m.id if isinstance(m.id, str) else m.id[0]: m.string
             for m in known if m.id and m.string}
    return f"globalThis.iwTexts = {json.dumps(found)};\n"


def said(text: str) -> str:
    """What is marked by `N_`, in the request's language. (Nothing is the catalogue's own head.)"""
    return gettext(text) if text else ""


def N_(text: str) -> str:
    """Marks a text that is looked up where it is shown: the API speaks English, pages do not."""
    return text
