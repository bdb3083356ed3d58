import sys

from reconciler import process, settings

sys.exit(process.run(settings.load()))
