import logging
import os

from reconciler import process, settings

code = process.run(settings.load())
# All is written and let go. Who still waits for an answer (of a blank that boots) would be waited
# for: Python joins such threads before it ends.
logging.shutdown()
os._exit(code)
