from operator_cli.whole import iw

iw(prog_name="iw")
