from operator_cli.commands import iw

iw(prog_name="iw")
