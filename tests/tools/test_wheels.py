"""An index of one's own, told to pip once, is used."""

from __future__ import annotations

from tools import wheels

SHOWN = r"""
:env:.cert='/etc/corp.pem'
:env:.find-links='/opt/a /opt/b'
global.cert='/etc/all.pem'
global.index-url='https://index.corp.test/simple'
global.timeout='60'
download.index-url='https://elsewhere.test/simple'
install.extra-index-url='\nhttps://one.test/simple\nhttps://two.test/simple'
"""


def test_what_pip_was_told_is_told_to_uv():
    assert wheels.from_pip(SHOWN) == {
        "SSL_CERT_FILE": "/etc/corp.pem", "UV_FIND_LINKS": "/opt/a,/opt/b",
        "UV_DEFAULT_INDEX": "https://index.corp.test/simple",
        "UV_INDEX": "https://one.test/simple https://two.test/simple"}


def test_what_uv_was_told_wins(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.corp.test/simple")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    assert wheels.settings()["UV_DEFAULT_INDEX"] == "https://index.corp.test/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.corp.test/simple")
    assert wheels.settings()["UV_DEFAULT_INDEX"] == "https://uv.corp.test/simple"
