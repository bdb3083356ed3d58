"""Serves the web app on its loopback port; the edge is its only visitor."""

import logging
import resource
import sys
import threading

from state_repo import journal
from state_repo.instance import InstanceError
from webapp import background, settings
from webapp.factory import create_app
from webapp.server import server
from webapp.team import warm

journal.write_to(sys.stderr, "webapp")
logging.getLogger("alembic").setLevel(logging.WARNING)
try:
    wanted = settings.load()
except InstanceError as error:
    sys.exit(str(error))
# Each open page holds a socket; many systems start processes with 1,024 files.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
app = create_app(wanted)
background.start(app)
threading.Thread(target=warm, args=(app,), daemon=True).start()
server(app, wanted.instance.ports["app"], wanted.threads).run()
