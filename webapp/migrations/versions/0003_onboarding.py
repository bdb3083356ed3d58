"""Answers of newcomers, until their employee is hired; and the quizzes that employees took."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "onboarding",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id", ondelete="CASCADE"),
                  primary_key=True),
        sa.Column("customer", sa.String(64), primary_key=True),
        sa.Column("answers", sa.JSON, nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("employee", sa.String(64)),
        sa.Column("hired_at", TIME),
        sa.Column("updated_at", TIME, nullable=False))
    op.create_table(
        "quizzes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("customer", sa.String(64), nullable=False),
        sa.Column("employee", sa.String(64), nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("by", sa.String(254), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("of", sa.Integer, nullable=False),
        sa.Column("items", sa.JSON, nullable=False))
    op.create_index("ix_quizzes_customer_employee", "quizzes", ["customer", "employee", "id"])


def downgrade() -> None:
    op.drop_table("quizzes")
    op.drop_table("onboarding")
