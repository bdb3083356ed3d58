"""How a template's texts are marked for translation, and that the catalogue holds all there are."""

from __future__ import annotations

import pytest
from jinja2 import Environment

from tools.texts import TEMPLATE, as_text, collected
from webapp.texts import AutoText, marked


@pytest.mark.parametrize(("source", "made"), [
    ("<p>Sign in</p>", "<p>{% trans %}Sign in{% endtrans %}</p>"),
    ("<p> A \n  b </p>", "<p> {% trans %}A b{% endtrans %} </p>"),
    ("<p>{{ e.name }} is ready.</p>",
     "<p>{% trans e_name=e.name %}{{ e_name }} is ready.{% endtrans %}</p>"),
    ("<b>{{ icon('plus') }}Hire</b>", "<b>{{ icon('plus') }}{% trans %}Hire{% endtrans %}</b>"),
    ("<p>until <strong>{{ when(x) }}</strong>, then</p>",
     "<p>{% trans value1=when(x) %}until <strong>{{ value1 }}</strong>, then{% endtrans %}</p>"),
    ("<p><strong>All</strong> stop.</p>", "<p><strong>{% trans %}All{% endtrans %}</strong> "
                                          "{% trans %}stop.{% endtrans %}</p>"),
    ('<a title="Try {{ x }}" href="/a b" data-x="No">{{ x }}</a>',
     '<a title="{% trans x=x %}Try {{ x }}{% endtrans %}" href="/a b" data-x="No">{{ x }}</a>'),
    ('{{ card({"a": "b", "c": {"d": ""}}, 1) }}', '{{ card({"a": "b", "c": {"d": ""}}, 1) }}'),
    ("{% block body_class %}has nav{% endblock %}", "{% block body_class %}has nav{% endblock %}"),
    ("{% trans n %}{{ n }} day{% pluralize %}{{ n }} days{% endtrans %}",
     "{% trans n %}{{ n }} day{% pluralize %}{{ n }} days{% endtrans %}"),
    ("<p>{% if x %}Yes{% else %}No{% endif %}</p>",
     "<p>{% if x %}{% trans %}Yes{% endtrans %}{% else %}{% trans %}No{% endtrans %}"
     "{% endif %}</p>"),
])
def test_what_people_read_is_marked(source, made):
    assert marked(source) == made


@pytest.mark.parametrize("source", [
    "<code>git push</code>", "<pre>a b</pre>", "<script>let a</script>", "{# a note #}",
    "<!-- a note -->", "<p>{{ x }}</p>", "<p>· – 3 %</p>", "<p>&nbsp;</p>", "<!doctype html>",
    "{% set told = {'a': 'b c'} %}", "<svg><path d='M1 2'/></svg>"])
def test_what_is_no_text_stays(source):
    assert marked(source) == source


def test_what_is_marked_is_shown_as_before():
    page = "<p>{{ name }} has 5 % of <em>all</em> seats</p><i title='{{ name }}'>{{ name }}</i>"
    env = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    env.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    plain = env.from_string(page).render(name="<Ann>")
    env.add_extension(AutoText)
    assert env.from_string(page).render(name="<Ann>") == plain
    assert "&lt;Ann&gt; has 5 % of <em>all</em> seats" in plain


def test_the_catalogue_holds_all_texts():
    assert TEMPLATE.read_text() == as_text(collected()), "run `make texts`"


def test_english_needs_no_catalogue_and_an_unknown_language_is_english(house):
    page = house.client().get("/sign-in", headers={"Accept-Language": "tlh, de;q=0.5"})
    assert '<html lang="en">' in page.text and "/texts/" not in page.text
    assert house.client().get("/texts/de.js").status_code == 404
    assert house.client().get("/texts/en.js").status_code == 404
