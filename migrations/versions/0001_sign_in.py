"""Users, their sessions here and at the broker, and the auth codes already spent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "users",
        sa.Column("id", sa.Text, nullable=False, comment="the broker's client id in capitals"),
        sa.Column("account_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("exchanges", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("products", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("signed_in_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of what the cookie holds"),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False, comment="however busy it is"),
        sa.Column("ended_at", _MOMENT),
        sa.Column("ended_reason", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("address_prefix", sa.Text),
        sa.PrimaryKeyConstraint("id", name="sessions_pkey"),
        sa.UniqueConstraint("token_hash", name="sessions_token_hash_key"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="sessions_user_id_fkey"),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name=op.f("sessions_ended_check")),
    )
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"])
    op.create_table(
        "broker_sessions",
        sa.Column("user_id", sa.Text, nullable=False, comment="one per user, shared by his devices"),
        sa.Column("id", sa.Uuid, nullable=False, comment="a new one with every sign-in"),
        sa.Column("token_sealed", sa.LargeBinary, comment="erased when the session ends"),
        sa.Column("token_key_id", sa.Text),
        sa.Column("connected_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.Column("ended_reason", sa.Text),
        sa.PrimaryKeyConstraint("user_id", name="broker_sessions_pkey"),
        sa.UniqueConstraint("id", name="broker_sessions_id_key"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="broker_sessions_user_id_fkey"),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name=op.f("broker_sessions_ended_check")),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (token_sealed IS NOT NULL)", name=op.f("broker_sessions_token_while_alive_check")
        ),
        sa.CheckConstraint(
            "(token_sealed IS NULL) = (token_key_id IS NULL)", name=op.f("broker_sessions_sealed_under_a_key_check")
        ),
    )
    op.create_table(
        "spent_auth_codes",
        sa.Column("code_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the broker's auth code"),
        sa.Column("attempt_hash", sa.LargeBinary, nullable=False, comment="one code for one attempt"),
        sa.Column("spent_at", _MOMENT, nullable=False, comment="before the exchange goes out"),
        sa.Column("finished_at", _MOMENT),
        sa.Column("outcome", sa.Text, comment="signed-in, or the slug of the problem it ended with"),
        sa.Column("outcome_detail", sa.Text),
        sa.PrimaryKeyConstraint("code_hash", name="spent_auth_codes_pkey"),
        sa.UniqueConstraint("attempt_hash", name="spent_auth_codes_attempt_hash_key"),
        sa.CheckConstraint("(finished_at IS NULL) = (outcome IS NULL)", name=op.f("spent_auth_codes_finished_check")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("spent_auth_codes", "broker_sessions", "sessions", "users"):
        op.drop_table(table)
