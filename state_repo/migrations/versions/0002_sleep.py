"""Since when an employee sleeps."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("employees", sa.Column("asleep_since", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("employees", "asleep_since")
