from operator_cli import (  # noqa: F401 - add their commands
    alerts,
    billing,
    models,
    review,
    skills,
    upgrade,
)
from operator_cli.commands import iw

iw(prog_name="iw")
