from operator_cli import billing  # noqa: F401 - adds its commands
from operator_cli.commands import iw

iw(prog_name="iw")
