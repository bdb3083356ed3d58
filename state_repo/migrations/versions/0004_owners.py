"""Whose an employee's id is, for ever."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "owners",
        sa.Column("employee", sa.String(64), primary_key=True),
        sa.Column("customer", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("INSERT INTO owners (employee, customer, at) "
               "SELECT id, customer, updated_at FROM employees")


def downgrade() -> None:
    op.drop_table("owners")
