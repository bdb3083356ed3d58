"""PEOPLE AND MONEY: accounts, sessions, the dashboard, the public JSON API, who may pass the edge.

Law of this room: it imports `state_repo` and `policies`, flask and its extensions. It never
imports `reconciler` or `stacks`, never touches Docker or Pulumi: it writes commits, and reads the
status tables. Environment variables are read in `settings` alone. Every route declares who may
call it (`access`); every query names its tenant.
"""
