"""THE RULES: what may be wanted, and what may be planned. Pure functions.

Law of this room: it imports `state_repo` and nothing else of the house; `pulumi_policy` in `pack`
alone. The same rules run at commit, on a pushed branch (`check_push`), and in every run of the
engine (`pack`).
"""
