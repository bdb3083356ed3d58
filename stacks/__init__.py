"""WHAT EXISTS: the Pulumi programs, and the providers that the engine attaches to.

Law of this room: it imports `state_repo`'s model, pulumi and provider libraries. It never decides
when something runs (that is `reconciler`), nor whether it may (that is `policies`).

    customer, platform      the programs: pure functions from documents to registered resources
    providers/              complete CRUD for the resource types, in one long-running process
    observed                what reality shows, without the engine
    fingerprint             what it should show, from the same documents
"""


class StackError(Exception):
    """Base of this room's errors. The message says what to do."""


class UnreachableError(StackError):
    """A part (Docker, PowerDNS, Caddy, …) does not answer: nothing can be said of it."""
