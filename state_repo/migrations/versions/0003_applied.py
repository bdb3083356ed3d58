"""What was applied, apart from what is shown; the commits of a receipt."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "applied",
        sa.Column("stack", sa.String(80), primary_key=True),
        sa.Column("revision", sa.String(40), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kept", sa.JSON, nullable=False),
        sa.Column("lost", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("INSERT INTO applied (stack, revision, digest, kept, lost, at) "
               "SELECT id, revision, COALESCE(digest, ''), '[]', '[]', updated_at FROM stacks "
               "WHERE revision IS NOT NULL AND (digest IS NOT NULL OR id = 'loop')")
    op.add_column("receipts", sa.Column("commits", sa.JSON, nullable=False,
                                        server_default="[]"))


def downgrade() -> None:
    op.drop_column("receipts", "commits")
    op.drop_table("applied")
