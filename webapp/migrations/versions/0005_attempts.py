"""When each key was tried: brakes outlast a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("times", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False, index=True))


def downgrade() -> None:
    op.drop_table("attempts")
