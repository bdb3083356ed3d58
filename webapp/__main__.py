"""Serves the web app on its loopback port; the edge is its only visitor."""

import logging
import sys

from waitress import serve

from state_repo.instance import InstanceError
from webapp import settings
from webapp.factory import create_app

logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
for noisy in ("alembic", "waitress.queue"):
    logging.getLogger(noisy).setLevel(logging.WARNING)
try:
    wanted = settings.load()
except InstanceError as error:
    sys.exit(str(error))
# The X-Forwarded-* headers are kept: the port is on loopback, and the edge sets them itself.
serve(create_app(wanted), host="127.0.0.1", port=wanted.instance.ports["app"],
      threads=wanted.threads, ident=None, channel_timeout=3600,
      clear_untrusted_proxy_headers=False)
