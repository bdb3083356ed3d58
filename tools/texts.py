"""`make texts`: collects every text of the web app, and of the skills that come with it, into
`webapp/translations/messages.pot`, and brings each language's catalogue
(`<language>/LC_MESSAGES/messages.po`) up to it.

A new language: `.venv/bin/pybabel init -i webapp/translations/messages.pot -d webapp/translations
-l de`, have the file translated, and `make texts` again.
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from state_repo.documents import skill_path
from state_repo.skills import parse_skill
from tools import catalogue
from tools.machine import ROOT
from webapp.texts import TRANSLATIONS

TEMPLATE = TRANSLATIONS / "messages.pot"
_METHODS = [("templates/*.html", "jinja2"), ("static/vendor/**", "ignore"),
            ("static/*.js", "javascript"), ("*.py", "python")]
_OPTIONS = {"templates/*.html": {"extensions": "webapp.texts.AutoText", "silent": "false",
                                 "newstyle_gettext": "true"},
            "static/*.js": {"template_string": "false"}}
_KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "lazy_gettext": None, "N_": None,
             "Problem": (3,), "t": None, "many": (2, 3)}


def collected() -> Catalog:
    """All texts, with the file that each is first found in."""
    found = Catalog(project="InstantWorker", copyright_holder="", msgid_bugs_address="",
                    charset="utf-8", fuzzy=False)
    for path, _, message, _, _ in sorted(extract_from_dir(
            ROOT / "webapp", _METHODS, _OPTIONS, _KEYWORDS), key=lambda one: (one[0], one[1])):
        if message and message not in found:
            found.add(message, locations=[(path, 0)])
    # What people read of the first catalogue of skills; what companies write into theirs is theirs.
    for name, text in catalogue.shipped().items():
        skill = parse_skill(text, skill_path(name))
        for said in (skill.title, skill.description, skill.example):
            if said not in found:
                found.add(said, locations=[(f"../{catalogue.FOLDER.relative_to(ROOT)}/{name}", 0)])
    return found


def as_text(catalogue: Catalog) -> str:
    """As a file; without what differs from day to day."""
    out = io.BytesIO()
    write_po(out, catalogue, width=100, omit_header=False, include_lineno=False)
    return "".join(line for line in out.getvalue().decode().splitlines(keepends=True)
                   if not line.startswith(('"POT-Creation-Date', '"Generated-By', '"PO-Revision',
                                           "# Copyright", "# FIRST AUTHOR", "#\n")))


def write() -> None:
    """Raises OSError: a file can't be written."""
    known = collected()
    TRANSLATIONS.mkdir(exist_ok=True)
    TEMPLATE.write_text(as_text(known))
    print(f"  {len(known)} texts in {TEMPLATE.relative_to(ROOT)}")
    for path in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/messages.po")):
        update(path, known)


def update(path: Path, known: Catalog) -> None:
    """One language's: what is new is empty, what changed is marked fuzzy; then what runs."""
    with path.open("rb") as file:
        language = read_po(file)
    language.update(known)
    with path.open("wb") as file:
        write_po(file, language, width=100, include_lineno=False)
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, language)
    left = sum(1 for message in language if message.id and (not message.string or message.fuzzy))
    print(f"  {path.parent.parent.name}: {left} left to translate")


if __name__ == "__main__":
    write()
