"""The application factory."""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from state_repo.status import StatusStore, engine_for
from webapp import accounts, errors, team
from webapp.api import api
from webapp.content import model_usage as _routes_of_content  # noqa: F401 - adds its routes
from webapp.edge import edge
from webapp.models import db
from webapp.pages import pages
from webapp.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The web app of one instance. The tables are migrated first."""
    app, instance = Flask(__name__), settings.instance
    accounts.prepare(instance)
    status = StatusStore(instance.database_url)
    status.migrate()
    app.config.update(
        INSTANCE=instance, SECURE=settings.secure, APP_URL=instance.app_url,
        SQLALCHEMY_DATABASE_URI=engine_for(instance.database_url).url,
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 15}}
        if instance.database_url.startswith("sqlite") else {"pool_pre_ping": True},
        MAX_CONTENT_LENGTH=1024 * 1024)
    db.init_app(app)
    app.extensions["iw_status"] = status
    app.extensions["iw_store"] = team.open_store(instance)
    app.extensions["iw_throttle"] = accounts.Throttle()
    for blueprint in (api, edge, pages):
        app.register_blueprint(blueprint)
    setattr(app.view_functions["static"], "access", "public")  # noqa: B010 - a declaration
    errors.register(app)

    frames = " ".join(instance.url(f"*.{kind}.{instance.domain}") for kind in ("gw", "vnc"))
    policy = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
              "connect-src 'self'; form-action 'self' " + frames + "; base-uri 'none'; "
              "frame-ancestors 'none'; frame-src " + frames)

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
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]
    return app
