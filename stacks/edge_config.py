"""Caddy's whole configuration, as a pure function of the instance.

Two wildcard hosts serve every employee: the web app's authorisation answer names the upstream,
which is kept in a variable and dialled. To hire or to fire therefore changes nothing here, and no
reload ever closes a WebSocket. Measured beside it: a route an employee costs 115 ms each at 1,000
routes, and each reload closes every socket.
"""

from __future__ import annotations

from typing import Any

from stacks.identity import SCOPES
from state_repo.documents import Tls
from state_repo.instance import Instance

ADMIN_IN_CONTAINER = "unix//run/edge/admin.sock"
_FORGEABLE = ["X-User", "X-Upstream", "X-Forwarded-User", "X-Customer", "X-Desk-Access",
              "X-OpenClaw-Scopes"]
# What an employee is told of where its visitor is: nothing (RFC 5737). OpenClaw refuses a visitor
# on loopback, which is where a browser on this very machine comes from.
_VISITOR = "192.0.2.1"
# A socket is asked again after this long whether it may still be open.
_SOCKET_LIFETIME = "1h"
# How long an employee, and the web app's word about a visitor, are waited for. Once an answer has
# begun it may take as long as it takes. A part of a page that is there already (its scripts, its
# calls) is waited for longer, and tried again while nobody listens: one that failed would leave the
# page empty, and nothing on it would say why.
_EMPLOYEE_S, _APP_S, _PART_S, _DIAL_AGAIN_S = 8, 5, 45, 8
_PARTS = ["cors", "no-cors", "same-origin"]
_PAGE = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" '
         'content="{again}"><meta name="color-scheme" content="light dark"><title>{title}</title>'
         '<main role="status"><h1>{title}</h1><p>{text}</p></main></html>')
Config = dict[str, Any]
# Where the edge reads the certificate that a public authority signed.
CERTIFICATE, KEY = "/data/tls/certificate.pem", "/data/tls/key.pem"
_INTERNAL = Tls()


def bootstrap() -> Config:
    """What Caddy starts with: its admin socket and nothing served."""
    return {"admin": {"listen": ADMIN_IN_CONTAINER}}


def certificate_names(instance: Instance) -> list[str]:
    """What a browser may ask the edge for."""
    return [instance.app_host, f"*.gw.{instance.domain}", f"*.vnc.{instance.domain}"]


def is_signed_outside(instance: Instance, tls: Tls) -> bool:
    """Whether a public authority signs the certificate, and not the edge's own."""
    return tls.issuer == "acme" and not instance.domain.endswith(".localhost")


def edge_config(instance: Instance, tls: Tls = _INTERNAL) -> Config:
    app = f"127.0.0.1:{instance.ports['app']}"
    plain = instance.domain.endswith(".localhost")
    server: Config = {
        "listen": [f"{instance.bind}:{instance.ports['edge']}"],
        "automatic_https": {"disable": True} if plain else {"disable_redirects": True},
        # Who sends its headers letter by letter holds a place for so long and no longer.
        "read_header_timeout": "10s", "idle_timeout": "5m", "max_header_bytes": 64 << 10,
        "routes": [
            {"match": [{"host": [instance.app_host], "path": ["/metrics"]}], "terminal": True,
             "handle": [{"handler": "static_response", "status_code": 404}]},
            _host([instance.app_host], [_compress(), {
                "handler": "reverse_proxy", "upstreams": [{"dial": app}], "flush_interval": -1,
                "headers": {"request": {"delete": list(_FORGEABLE)}}}]),
            _chat_files(instance),
            _host([f"*.gw.{instance.domain}"], _employee(app, instance.app_url, _gateway())),
            _viewer(instance),
            _host([f"*.vnc.{instance.domain}"], _employee(app, instance.app_url, _desk())),
            {"handle": [{"handler": "static_response", "status_code": 404,
                         "body": "There is nothing at this address.\n"}]},
        ],
    }
    server["errors"] = {"routes": [*_not_reached(instance)]}
    config: Config = {
        **bootstrap(),
        "logging": {"logs": {"default": {"level": "WARN"}}},
        # Counted by route and answer, never by host: an employee's name is in none of it.
        "apps": {"http": {"servers": {"edge": server}, "metrics": {}}},
    }
    if is_signed_outside(instance, tls):
        server["automatic_https"] = {"disable": True}
        server["tls_connection_policies"] = [{}]
        config["apps"]["tls"] = {"certificates": {"load_files": [
            {"certificate": CERTIFICATE, "key": KEY}]}}
    elif not plain:
        names = certificate_names(instance)
        config["apps"]["tls"] = {"automation": {"policies": [
            {"subjects": names, "issuers": [{"module": "internal"}]}]}}
        config["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    return config


def _not_reached(instance: Instance) -> list[Config]:
    """An employee that a visitor was let in to and that does not answer: it hangs, or it started
    this moment, or it is gone and the web app doesn't know yet. The page says who, and asks again
    by itself, as the web app's own would."""
    # Labels of a host are counted from its end: the employee's id stands before `gw.<domain>`.
    who = f"{{http.request.host.labels.{instance.domain.count('.') + 2}}}"
    hangs = _PAGE.format(again=10, title=f"{who} does not answer", text=(
        f"It was waited for {_EMPLOYEE_S} seconds: it is busy, or it hangs. This page asks again "
        "by itself. If it stays so, retry it from its page in the dashboard; its files are kept."))
    starts = _PAGE.format(again=2, title="Getting ready…", text=(
        f"{who} does not answer yet. This page loads by itself."))
    hosts = {"host": [f"*.gw.{instance.domain}", f"*.vnc.{instance.domain}"]}

    def route(match: Config, again: int, status: int, page: str) -> Config:
        return {"match": [hosts | match], "terminal": True, "handle": [
            {"handler": "headers", "response": {"set": {
                "Content-Type": ["text/html; charset=utf-8"],
                "Content-Security-Policy": [
                    f"default-src 'none'; frame-ancestors {instance.app_url}"],
                "Cache-Control": ["no-store"], "Retry-After": [str(again)]}}},
            {"handler": "static_response", "status_code": status, "body": page}]}
    return [route({"expression": "{http.error.status_code} == 504"}, 10, 504, hangs),
            route({}, 2, 503, starts)]


def _in_time(seconds: int) -> Config:
    """Whoever is asked answers within this time, or the visitor is told."""
    return {"protocol": "http", "dial_timeout": "3s", "response_header_timeout": f"{seconds}s"}


def _host(hosts: list[str], handle: list[Config]) -> Config:
    return {"match": [{"host": hosts}], "terminal": True,
            "handle": [{"handler": "subroute", "routes": [{"handle": [step]} for step in handle]}]}


def _compress() -> Config:
    """Static files alone. An event stream must not wait for a block to fill, and a page that is
    compressed tells by its length what it holds (BREACH): a CSRF token stands in each."""
    return {"handler": "encode", "encodings": {"gzip": {"level": 6}, "zstd": {}},
            "prefer": ["zstd", "gzip"], "minimum_length": 512,
            "match": {"headers": {"Content-Type": [
                "text/css*", "text/javascript*", "application/javascript*", "image/svg+xml*"]}}}


def _authorise(app: str, seconds: int) -> Config:
    """Asks the web app; 2xx names the upstream, anything else is the visitor's answer."""
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": app}],
        "transport": _in_time(seconds),
        "rewrite": {"method": "GET", "uri": "/edge/authorize"},
        "headers": {"request": {
            "set": {"X-Forwarded-Method": ["{http.request.method}"],
                    "X-Forwarded-Uri": ["{http.request.uri}"],
                    "X-Forwarded-Upgrade": ["{http.request.header.Upgrade}"],
                    "X-Forwarded-Mode": ["{http.request.header.Sec-Fetch-Mode}"]},
            "delete": ["Connection", "Upgrade", *_FORGEABLE]}},
        "handle_response": [{
            "match": {"status_code": [2]},
            "routes": [{"handle": [
                {"handler": "vars", "upstream": "{http.reverse_proxy.header.X-Upstream}",
                 "user": "{http.reverse_proxy.header.X-User}",
                 "customer": "{http.reverse_proxy.header.X-Customer}",
                 "access": "{http.reverse_proxy.header.X-Desk-Access}"}]}],
        }],
    }


def _gateway() -> dict[str, list[str]]:
    """OpenClaw trusts the edge to say who comes (its trusted-proxy mode), and may give a visitor
    no more than these scopes."""
    return {"X-Forwarded-User": ["{http.vars.customer}"], "X-Forwarded-For": [_VISITOR],
            "X-OpenClaw-Scopes": [",".join(SCOPES)]}


def _desk() -> dict[str, list[str]]:
    return {"X-Desk-Access": ["{http.vars.access}"], "X-Forwarded-For": [_VISITOR]}


def _viewer(instance: Instance) -> Config:
    """noVNC's files: the same for everybody, without a question to the web app for each of the
    fifty that a page loads."""
    return _files({"host": [f"*.vnc.{instance.domain}"], "path": ["/novnc/*"]},
                  "public, max-age=86400", {"root": "/srv"})


def _chat_files(instance: Instance) -> Config:
    """The chat's scripts and styles, many files: the same for everybody, named by what they
    hold. An employee of another version has others, and is asked for those."""
    there = {"root": "/srv/chat", "try_files": ["{http.request.uri.path}"]}
    return _files({"host": [f"*.gw.{instance.domain}"], "path": ["/assets/*"], "file": there},
                  "public, max-age=31536000, immutable",
                  {"root": "/srv/chat", "precompressed": {"br": {}, "gzip": {}},
                   "precompressed_order": ["br", "gzip"]})


def _files(match: Config, cache: str, server: Config) -> Config:
    """Files of the edge's own image, for whoever asks."""
    return {"match": [match], "terminal": True, "handle": [
        {"handler": "headers", "response": {"set": {
            "Cache-Control": [cache], "X-Content-Type-Options": ["nosniff"]}}},
        {"handler": "file_server", **server}]}


def _employee(app: str, origin: str, headers: dict[str, list[str]]) -> list[Config]:
    """Asks the web app and dials the employee: for a part of a page with patience, for a page
    itself without."""
    patient = _dial(origin, headers, _PART_S) | {
        "load_balancing": {"try_duration": f"{_DIAL_AGAIN_S}s", "try_interval": "250ms"}}
    return [{"handler": "subroute", "routes": [
        {"match": [{"header": {"Sec-Fetch-Mode": _PARTS}}], "terminal": True,
         "handle": [_authorise(app, _PART_S), patient]},
        {"handle": [_authorise(app, _APP_S), _dial(origin, headers, _EMPLOYEE_S)]}]}]


def _dial(origin: str, headers: dict[str, list[str]], seconds: int) -> Config:
    """The employee gets neither the visitor's session nor a header that a visitor could
    forge, and it may be framed by the dashboard's exact origin alone."""
    ancestors = f"frame-ancestors {origin}"
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": "{http.vars.upstream}"}],
        "transport": _in_time(seconds),
        "flush_interval": -1,
        "stream_close_delay": "12h",
        "stream_timeout": _SOCKET_LIFETIME,
        "headers": {
            "request": {"set": {"X-User": ["{http.vars.user}"], **headers},
                        "delete": ["Cookie", "Authorization", *(
                            name for name in _FORGEABLE if name not in {"X-User", *headers})]},
            "response": {
                "delete": ["X-Frame-Options"],
                "replace": {
                    "Content-Security-Policy": [
                        {"search_regexp": "frame-ancestors [^;]*", "replace": ancestors}],
                    # A cookie for the whole domain would come to the dashboard too.
                    "Set-Cookie": [{"search_regexp": "(?i);\\s*domain=[^;]*", "replace": ""}]},
                "add": {"Content-Security-Policy": [ancestors]},
                **({"set": {"Strict-Transport-Security": ["max-age=31536000"]}}
                   if origin.startswith("https:") else {})},
        },
    }
