"""The tables of money: subscriptions, taken events, reconciliations, metered usage, local mode."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("customer", sa.String(64), primary_key=True),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("payer", sa.String(80), unique=True),
        sa.Column("id", sa.String(80), index=True),
        sa.Column("plan", sa.String(64)),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("seats", sa.Integer, nullable=False),
        sa.Column("item", sa.String(80), nullable=False),
        sa.Column("price", sa.String(80)),
        *(sa.Column(name, TIME) for name in ("created", "period_end", "trial_end", "ends_at",
                                             "ended_at", "unpaid_since", "over_until",
                                             "synced_at")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("applied", sa.Integer, nullable=False),
        sa.Column("checkout", sa.String(120)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("chosen", sa.JSON, nullable=False),
        sa.Column("told", sa.String(80), nullable=False),
        sa.Column("undone", sa.JSON, nullable=False),
        sa.Column("stops", sa.Boolean, nullable=False),
        sa.Column("closing", sa.Boolean, nullable=False),
        sa.Column("problem", sa.Text, nullable=False))
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("type", sa.String(80), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False, index=True),
        sa.Column("customer", sa.String(64), index=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("effect", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False))
    op.create_table(
        "billing_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("subscriptions", sa.Integer, nullable=False),
        sa.Column("lost_events", sa.Integer, nullable=False),
        sa.Column("found", sa.JSON, nullable=False))
    op.create_table(
        "usage_reports",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("customer", sa.String(64), nullable=False, index=True),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("upto_cents", sa.Integer, nullable=False),
        sa.Column("cents", sa.Integer, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("sent", sa.Boolean, nullable=False))
    op.create_table(
        "local_subscriptions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("customer", sa.String(64), nullable=False, index=True),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("seats", sa.Integer, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("ended_at", TIME))


def downgrade() -> None:
    for table in ("local_subscriptions", "usage_reports", "billing_runs", "stripe_events",
                  "subscriptions"):
        op.drop_table(table)
