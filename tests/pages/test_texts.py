"""Every text can be translated: with a catalogue that puts ⟦ and ⟧ around each, nothing that people
read on a page stands outside of them but what they wrote themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from playwright.sync_api import expect

from tests.pages.conftest import PASSWORD
from tests.webapp.test_reviews import fake_plan, propose
from tools.texts import collected
from webapp import accounts, texts

# What people wrote, names, and what the browser writes in its own language.
OWN = re.compile(r"""\S+@\S+|https?:\S+|\b[\w-]+-[a-z0-9]{6}\b|customers/\S+|spec\.\S+|
    InstantWorker|Marketing\ assistant|(?<![a-zA-Z])(?:(?:Acme|acme|Pulse|Nova|Ann|Eve|More|
    Engineer|main|Echo|Quill|Sage|Juno)(?![a-z]))+|
    Chrome|Linux|[\d.,]+\s*(?:Sek\.|Min\.|GB|MB|kB|Byte|US\$|USD)|vor\s\d+\s\w+""", re.X)
SEEN = """() => {
  const words = [document.title];
  for (const node of document.querySelectorAll(
      ':is([aria-label], [title], [placeholder], img[alt]):not(time)')) {
    if (node.checkVisibility()) for (const name of ['aria-label', 'title', 'placeholder', 'alt']) {
      if (node.getAttribute(name)) words.push(node.getAttribute(name));
    }
  }
  const copy = document.body.cloneNode(true);
  for (const gone of copy.querySelectorAll('code, pre, script, style, svg, time, noscript, '
    + 'iframe, select[name=time_zone], select[name=month], datalist, .mono, .history, [hidden]')) {
    gone.remove();
  }
  words.push(copy.textContent);
  return words.join('\\n');
}"""


def left_bare(text: str) -> list[str]:
    """The words outside of every pair of brackets."""
    while (less := re.sub(r"⟦[^⟦⟧]*⟧", " ", text)) != text:
        text = less
    return list(re.findall(r"[^\W\d_]{2,}", OWN.sub(" ", text)))


@pytest.fixture(scope="session")
def brackets(tmp_path_factory) -> Path:
    """German, as far as the app knows: every text in brackets."""
    made = Catalog(locale="de")
    for message in collected():
        if not message.id:
            continue
        forms = message.id if isinstance(message.id, (tuple, list)) else (message.id,)
        put = tuple(f"⟦{form}⟧" for form in forms)
        made.add(message.id, put if len(put) > 1 else put[0], flags=message.flags)
    folder = tmp_path_factory.mktemp("translations")
    path = folder / "de" / "LC_MESSAGES" / "messages.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, made)
    return folder


@pytest.fixture(autouse=True)
def pseudo(brackets: Path, monkeypatch):
    monkeypatch.setattr(texts, "TRANSLATIONS", brackets)
    texts.of_the_browser.cache_clear()
    yield
    texts.of_the_browser.cache_clear()


def signed_in(visit, email: str):
    """By the fields' names: their texts are not the usual ones here."""
    made = visit(locale="de")
    made.go("/sign-in")
    made.page.locator("[name=email]").fill(email)
    made.page.locator("[name=password]").fill(PASSWORD)
    made.page.locator("form button.primary").click()
    made.page.wait_for_url(lambda url: "/sign-in" not in url)
    return made


def bare(visitor, path: str, shows: str | None = None) -> list[str]:
    visitor.go(path)
    if shows:
        expect(visitor.page.locator(shows).first).to_be_visible()
    visitor.page.wait_for_timeout(300)  # what the modules write
    assert visitor.page.locator("html").get_attribute("lang") == "de"
    return left_bare(visitor.page.evaluate(SEEN))


def paths(quick: tuple[str, ...], *more: str):
    """Those that `make test` reads, and those that `make test-long` reads too."""
    return pytest.mark.parametrize("path", [
        *quick, *(pytest.param(path, marks=pytest.mark.long) for path in more)])


@paths(("/",), "/sign-up", "/sign-in", "/forgot", "/privacy", "/terms", "/nowhere")
def test_what_strangers_read(visit, path):
    stranger = visit(locale="de")
    assert " ".join(bare(stranger, path)) == ""


@paths(("/", "/settings/security"), "/onboarding", "/billing", "/hire", "/knowledge", "/settings",
       "/settings/people", "/settings/notifications", "/settings/tokens", "/settings/data")
def test_what_customers_read(site, visit, reconciler, path):
    site.customer("acme")
    site.employee("acme", "Pulse")
    site.employee("acme", "Nova", health_status="Progressing", address=None,
                  reason="its container is being made")
    assert " ".join(bare(signed_in(visit, "ann@acme.test"), path)) == ""


def test_what_stands_in_a_workspace(site, visit, reconciler):
    site.customer("acme")
    pulse = site.employee("acme", "Pulse")
    ann = signed_in(visit, "ann@acme.test")
    assert " ".join(bare(ann, f"/employees/{pulse}")) == ""
    for part in ("files", "memory", "lessons", "activity", "usage", "settings"):
        ann.page.locator(f"#tab-{part}").click()
        ann.page.wait_for_timeout(200)
        assert " ".join(left_bare(ann.page.evaluate(SEEN))) == "", part


def test_what_engineers_read(site, visit, reconciler):
    site.customer("acme")
    site.employee("acme", "Pulse")
    accounts.ensure(site.instance, "eve@iw.test", PASSWORD, customer=None, role="engineer")
    reconciler.plan = lambda name: fake_plan(site.store, name)
    propose(site.store, "more")
    eve = signed_in(visit, "eve@iw.test")
    assert " ".join(bare(eve, "/changes")) == ""
    assert " ".join(bare(eve, "/changes/more", "#merge-title")) == ""
