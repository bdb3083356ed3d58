from operator_cli import (  # noqa: F401 - add their commands
    alerts,
    backups,
    billing,
    models,
    review,
    skills,
    tls,
    upgrade,
)
from operator_cli.commands import iw

iw(prog_name="iw")
