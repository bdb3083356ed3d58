"""The application factory."""

from __future__ import annotations

from collections import Counter

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from state_repo.database import PATIENCE_S, engine_for, tune
from state_repo.status import StatusStore
from webapp import (
    accounts,
    assets,
    billing_mail,
    company,
    content,
    errors,
    export,
    knowledge,
    mail,
    metrics,
    onboarding,
    quizzes,
    shell,
    team,
    texts,
    tokens,
    tracing,
    workspace,
)
from webapp.api import api
from webapp.api_docs import api_docs
from webapp.billing_hook import hook
from webapp.billing_pages import billing_pages
from webapp.billing_setup import billing_of
from webapp.edge import edge
from webapp.forge_hook import forge_hook
from webapp.landing import landing
from webapp.models import db
from webapp.operations import operations
from webapp.own_settings import own_settings
from webapp.pages import pages
from webapp.people import people
from webapp.recovery import recovery
from webapp.review_pages import review_pages
from webapp.second_factor import second_factor
from webapp.settings import Settings
from webapp.settings_pages import settings_pages
from webapp.sign_up import sign_up_pages
from webapp.team_pages import team_pages
from webapp.throttle import Book, Throttles

# Their routes are the API's: importing them adds them.
API = (company, content, export, knowledge, onboarding, quizzes, tokens, workspace)
BLUEPRINTS = (api, api_docs, billing_pages, edge, forge_hook, hook, landing, operations,
              own_settings, pages, people, recovery, review_pages, second_factor, settings_pages,
              sign_up_pages, team_pages)


def create_app(settings: Settings) -> Flask:
    """The web app of one instance. The tables are migrated first."""
    app, instance = Flask(__name__), settings.instance
    accounts.prepare(instance)
    status = StatusStore(instance.database_url)
    status.migrate()
    app.config.update(
        INSTANCE=instance, SECURE=settings.secure, APP_URL=instance.app_url, LOCAL=settings.local,
        SQLALCHEMY_DATABASE_URI=engine_for(instance.database_url).url,
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 10, "max_overflow": 20} | (
            {"connect_args": {"timeout": PATIENCE_S}} if instance.database_url.startswith("sqlite")
            else {"pool_pre_ping": True}),
        MAX_CONTENT_LENGTH=1024 * 1024)
    db.init_app(app)
    with app.app_context():
        tune(db.engine)
        app.extensions["iw_throttles"] = Throttles(Book(db.engine))
    app.extensions["iw_status"] = status
    app.extensions["iw_store"] = team.open_store(instance)
    app.extensions["iw_billing"] = billing_of(settings, app.extensions["iw_store"], status,
                                              tell=billing_mail.teller(app))
    app.extensions["iw_ended"] = Counter()
    app.extensions["iw_mail"] = mail.Server(
        settings.smtp_url, settings.mail_from or mail.default_sender(instance.domain))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    assets.register(app)
    texts.register(app)
    metrics.register(app)
    tracing.register(app)
    shell.register(app)
    errors.register(app)

    frames = " ".join(instance.url(f"*.{kind}.{instance.domain}") for kind in ("gw", "vnc"))
    policy = ("default-src 'none'; script-src 'self'; style-src 'self'; "
              "img-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; "
              f"form-action 'self' {frames}; base-uri 'none'; frame-ancestors 'none'; "
              f"frame-src {frames}")

    @app.after_request
    def secure(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", policy)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if settings.secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if response.mimetype in ("text/html", "application/json"):
            headers.setdefault("Cache-Control", "no-store")
        return response

    # Only the edge can reach this port (it is on loopback), and it sets these itself.
    app.wsgi_app = ProxyFix(tracing.traced(app.wsgi_app), x_for=1,  # type: ignore[method-assign]
                            x_proto=1)
    return app
