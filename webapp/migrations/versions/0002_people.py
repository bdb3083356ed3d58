"""Sign-up, invitations, second factors, mail, and what sessions and tokens tell of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _account() -> sa.Column:
    return sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id", ondelete="CASCADE"),
                     nullable=False, index=True)


def _proof(*more: sa.Column) -> list[sa.Column]:
    return [sa.Column("id", sa.String(64), primary_key=True), _account(),
            sa.Column("expires_at", TIME, nullable=False), *more]


def upgrade() -> None:
    with op.batch_alter_table("accounts") as table:
        table.add_column(sa.Column("verified_at", TIME))
        table.add_column(sa.Column("totp_secret", sa.String(64)))
        table.add_column(sa.Column("totp_pending", sa.String(64)))
        table.add_column(sa.Column("totp_last", sa.Integer))
        table.add_column(sa.Column("time_zone", sa.String(64), nullable=False,
                                   server_default="UTC"))
        table.add_column(sa.Column("mail_attention", sa.Boolean, nullable=False,
                                   server_default=sa.true()))
        table.add_column(sa.Column("mail_budget", sa.Boolean, nullable=False,
                                   server_default=sa.true()))
    # Whoever was there before was let in by an engineer.
    op.execute("UPDATE accounts SET verified_at = created_at")
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("last_seen_at", TIME))
        table.add_column(sa.Column("address", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("user_agent", sa.String(255), nullable=False,
                                   server_default=""))
    op.execute("UPDATE sessions SET last_seen_at = created_at")
    with op.batch_alter_table("sessions") as table:
        table.alter_column("last_seen_at", existing_type=TIME, nullable=False)
    with op.batch_alter_table("api_tokens") as table:
        table.add_column(sa.Column("scope", sa.String(8), nullable=False, server_default="write"))
        table.add_column(sa.Column("last_used_at", TIME))
    op.create_table("mail_links", *_proof(sa.Column("kind", sa.String(16), nullable=False)))
    op.create_table("second_steps", *_proof(sa.Column("failures", sa.Integer, nullable=False)))
    op.create_table("recovery_codes", sa.Column("id", sa.String(64), primary_key=True), _account())
    op.create_table(
        "sign_ups",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("secret", sa.String(64), unique=True),
        sa.Column("email", sa.String(254), nullable=False, index=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("company", sa.String(80), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("plan", sa.String(40), nullable=False),
        sa.Column("expires_at", TIME, nullable=False))
    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("secret", sa.String(64), unique=True),
        sa.Column("customer", sa.String(64), nullable=False, index=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("invited_by", sa.String(254), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.UniqueConstraint("customer", "email"))
    op.create_table(
        "letters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("to", sa.String(254), nullable=False),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_at", TIME, nullable=False, index=True),
        sa.Column("error", sa.Text, nullable=False))
    op.create_table(
        "notices",
        sa.Column("id", sa.String(160), primary_key=True),
        sa.Column("since", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("sent_at", TIME))
    op.create_table(
        "closures",
        sa.Column("customer", sa.String(64), primary_key=True),
        sa.Column("asked_by", sa.String(254), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("was_suspended", sa.Boolean, nullable=False),
        sa.Column("done_at", TIME))


def downgrade() -> None:
    for table in ("closures", "notices", "letters", "invitations", "sign_ups", "recovery_codes",
                  "second_steps", "mail_links"):
        op.drop_table(table)
    for name, columns in (("api_tokens", ("scope", "last_used_at")),
                          ("sessions", ("last_seen_at", "address", "user_agent")),
                          ("accounts", ("verified_at", "totp_secret", "totp_pending", "totp_last",
                                        "time_zone", "mail_attention", "mail_budget"))):
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.drop_column(column)
