"""Removes the conversation that warmed a blank up, and whoever had it, from OpenClaw's own
databases (schema of the version that package.json pins). Run once, before anybody is hired into
the blank: whoever comes finds an employee that has never spoken."""

import sqlite3
import sys

AGENT = "/data/state/agents/main/agent/openclaw-agent.sqlite"
SHARED = "/data/state/state/openclaw.sqlite"
SESSIONS = "session_id IN (SELECT session_id FROM session_windows WHERE session_key LIKE ?)"
BY_SESSION = (
    "transcript_events", "transcript_rewrite_watermarks", "trajectory_runtime_events",
    "transcript_event_identities", "session_transcript_index_state",
    "session_transcript_active_events", "session_transcript_fts", "session_transcript_fts_rows")


def main() -> None:
    pattern = sys.argv[1]
    agent = sqlite3.connect(AGENT, timeout=10, isolation_level=None)
    agent.execute("BEGIN IMMEDIATE")
    for table in BY_SESSION:
        agent.execute(f"DELETE FROM {table} WHERE {SESSIONS}", (pattern,))
    for table in ("session_windows", "session_nodes"):
        agent.execute(f"DELETE FROM {table} WHERE session_key LIKE ?", (pattern,))
    agent.execute("COMMIT")
    left = agent.execute("SELECT count(*) FROM transcript_events").fetchone()[0]
    shared = sqlite3.connect(SHARED, timeout=10, isolation_level=None)
    shared.execute("BEGIN IMMEDIATE")
    shared.execute("DELETE FROM worker_session_placements WHERE session_key LIKE ?", (pattern,))
    for table in ("audit_events", "user_profile_emails", "user_profiles"):
        shared.execute(f"DELETE FROM {table}")
    shared.execute("COMMIT")
    if left:
        sys.exit(f"{left} events of other conversations are there")


main()
