"""The first tables: accounts, sessions, API tokens, edge tickets and edge sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _proof(*more: sa.Column) -> list[sa.Column]:
    return [sa.Column("id", sa.String(64), primary_key=True),
            sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id", ondelete="CASCADE"),
                      nullable=False, index=True),
            sa.Column("expires_at", TIME, nullable=False), *more]


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(254), nullable=False, unique=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("customer", sa.String(64), index=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False))
    op.create_table("sessions", *_proof(
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False)))
    op.create_table("api_tokens", *_proof(
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("created_at", TIME, nullable=False)))
    op.create_table("edge_tickets", *_proof(
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("session_id", sa.String(64), nullable=False)))
    op.create_table("edge_sessions", *_proof(
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("session_id", sa.String(64), nullable=False, index=True)))


def downgrade() -> None:
    for table in ("edge_sessions", "edge_tickets", "api_tokens", "sessions", "accounts"):
        op.drop_table(table)
