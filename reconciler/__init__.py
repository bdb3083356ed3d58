"""WHEN, AND WHETHER IT WORKED: the loop that makes reality equal the state repo.

    notice ─▶ decide ─▶ queue ─▶ converge ─▶ verify
                ▲                                │
                └───────────── observe ◀─────────┘

Law of this room: it may import `state_repo`, `policies` and `stacks`. `pulumi` is imported in
`engine` alone, `apscheduler` in `process` alone, environment variables are read in `settings`
alone. It never imports `webapp`; people reach it through the state repo, the status tables and
the internal API (`api`).
"""


class ReconcilerError(Exception):
    """Base of this room's errors. The message says what to do."""
