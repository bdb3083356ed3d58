"""`iw` with all of its commands: a module adds its own when it is imported."""

from operator_cli import (  # noqa: F401 - add their commands
    alerts,
    backups,
    billing,
    journal,
    models,
    review,
    skills,
    tls,
    upgrade,
)
from operator_cli.commands import iw

__all__ = ["iw"]
