"""The page of the company's knowledge. What it shows and does goes through the public API
(`content`)."""

from __future__ import annotations

from typing import Any

from flask import render_template, request

from webapp.access import access, holds, me
from webapp.errors import Problem
from webapp.pages import pages


@pages.get("/knowledge")
@access("account", page=True)
def knowledge_page() -> Any:
    if me().customer is None and "customer" not in request.args:
        raise Problem(404, "not_found", "Name the company: /knowledge?customer=…")
    return render_template("knowledge.html", may_change=holds(me(), "manager"))
