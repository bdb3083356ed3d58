"""What holds for the whole house: every route has its auth, every tenant its own."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from webapp.openapi import description

LEVELS = {"public", "account", "engineer", "edge"}
PUBLIC = {"/sign-in", "/sign-in/code", "/sign-up", "/sign-up/confirm", "/verify", "/forgot",
          "/reset", "/join", "/api/v1/passwords/judge", "/healthz", "/api/v1/openapi.json",
          "/api/v1/session", "/static/<path:filename>", "/", "/privacy", "/terms", "/sitemap.xml",
          "/robots.txt", "/site.webmanifest", "/favicon.ico", "/api/docs",
          "/webhooks/stripe", "/webhooks/forge", "/texts/<name>.js", "/status",
          "/.well-known/security.txt"}


def routes(house):
    for rule in house.app.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield rule, method, house.app.view_functions[rule.endpoint]


def path(rule, customer: str, employee: str) -> str:
    values = {"customer": customer, "employee": employee, "kind": "chat", "token": "0" * 16,
              "session": "0" * 16, "member": "1", "invitation": "1", "how": "revoke",
              "what": "remove", "lesson": "lesson-1", "filename": "app.css", "name": "more"}
    return re.sub(r"<(?:[^:<>]+(?:\([^)]*\))?:)?(\w+)>", lambda m: values[m[1]], str(rule))


def test_every_route_declares_its_auth(house):
    for rule, _, view in routes(house):
        assert getattr(view, "access", None) in LEVELS, rule
        if view.access == "public":
            assert str(rule) in PUBLIC, rule


def test_a_stranger_gets_nothing(house):
    client = house.client()
    for rule, method, view in routes(house):
        if view.access in ("account", "engineer"):
            answer = client.open(path(rule, "acme", house.pulse), method=method, json={})
            assert answer.status_code in (401, 302), rule
            if answer.status_code == 302:
                assert urlsplit(answer.location).path == "/sign-in"


def test_no_route_shows_or_changes_another_tenant_s_things(house):
    client = house.client("ann@acme.test")
    head = house.app.extensions["iw_store"].head()
    for rule, method, view in routes(house):
        if view.access not in ("account", "engineer") or str(rule) in ("/", "/sign-out"):
            continue
        for customer, employee in (("bolt", house.bolt), ("acme", house.bolt)):
            if not {"customer", "employee"} & rule.arguments or (
                    customer == "acme" and "employee" not in rule.arguments):
                continue
            answer = client.open(path(rule, customer, employee), method=method,
                                 json={"name": "X", "role": "Y"})
            assert answer.status_code == 404, (rule, customer)
            assert b"Bolt" not in answer.data
    assert house.app.extensions["iw_store"].head() == head


def test_every_api_route_is_described_and_nothing_else(house):
    described = {(p, m.upper()) for p, ms in description("http://x")["paths"].items() for m in ms}
    served = {(re.sub(r"<(\w+)>", r"{\1}", str(rule)), method) for rule, method, _ in routes(house)
              if str(rule).startswith("/api/v1/") and str(rule) != "/api/v1/openapi.json"}
    assert described == served


def test_every_change_by_cookie_needs_its_csrf_token(house):
    client = house.client("ann@acme.test")
    client.environ_base.pop("HTTP_X_CSRF_TOKEN")
    for rule, method, view in routes(house):
        if view.access == "account" and method != "GET":
            answer = client.open(path(rule, "acme", house.pulse), method=method, json={})
            assert answer.status_code == 403, rule


def test_a_foreign_origin_changes_nothing(house):
    client = house.client("ann@acme.test")
    answer = client.post("/api/v1/customers/acme/employees", json={"name": "X", "role": "Y"},
                         headers={"Origin": "http://pulse.gw.iw.localhost:2000"})
    assert answer.status_code == 403


def test_the_first_address_shows_a_stranger_no_team(house):
    assert b"Acme" in house.client("ann@acme.test").get("/").data
    answer = house.client().get("/")
    assert answer.status_code == 200 and b"Acme" not in answer.data and b"csrf" not in answer.data


@pytest.mark.parametrize("page", ["/sign-in", "/"])
def test_pages_allow_no_inline_script_and_no_frame(house, page):
    answer = house.client("ann@acme.test" if page == "/" else None).get(page)
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(rb"<script(?![^>]*src=)|\son\w+=|style=", answer.data)
