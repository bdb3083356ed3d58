"""The first tables: employees, stacks, receipts, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "employees",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("customer", sa.String(64), nullable=False, index=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("role", sa.String(80), nullable=False),
        sa.Column("desired_state", sa.String(16), nullable=False),
        sa.Column("sync_status", sa.String(16), nullable=False),
        sa.Column("health_status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("deadline", TIME),
        sa.Column("revision", sa.String(40)),
        sa.Column("address", sa.String(64)),
        sa.Column("container_id", sa.String(64)),
        sa.Column("image", sa.String(255)),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_table(
        "stacks",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("sync_status", sa.String(16), nullable=False),
        sa.Column("health_status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("deadline", TIME),
        sa.Column("revision", sa.String(40)),
        sa.Column("digest", sa.String(64)),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", TIME),
        sa.Column("waiting_for", sa.String(32)),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stack", sa.String(80), nullable=False),
        sa.Column("revision", sa.String(40), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("author", sa.String(160), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        *(sa.Column(f"{stage}_s", sa.Float, nullable=False)
          for stage in ("detect", "queue", "plan", "apply", "verify", "total")),
        sa.Column("changes", sa.JSON, nullable=False),
    )
    op.create_index("ix_receipts_stack_id", "receipts", ["stack", "id"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("customer", sa.String(64)),
        sa.Column("employee", sa.String(64)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("ix_events_customer_id", "events", ["customer", "id"])


def downgrade() -> None:
    for table in ("events", "receipts", "stacks", "employees"):
        op.drop_table(table)
