"""ENGINEERS: one command line over the state repo, the status tables and the reconciler's socket.

Law of this room: it imports `state_repo` and `policies`; it reaches the reconciler through its
unix socket alone, and Docker not at all (save `doctor`, which asks the `docker` program).
"""
