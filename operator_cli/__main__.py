from operator_cli import billing, models, review, skills, upgrade  # noqa: F401 - add their commands
from operator_cli.commands import iw

iw(prog_name="iw")
