"""Intents, orders seen, the ledger that nobody can rewrite, halts and caps."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)

_APPEND_ONLY = """
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_intents()
    _create_watches()
    _create_seen_orders()
    _create_ledger()
    op.create_table(
        "halts",
        sa.Column("scope", sa.Text, nullable=False, comment="a user's id, or * for everybody"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("scope", name="halts_pkey"),
    )
    op.create_table(
        "caps",
        sa.Column("user_id", sa.Text, nullable=False, comment="may be set before he ever signs in"),
        sa.Column("order_quantity", sa.BigInteger, comment="units"),
        sa.Column("order_value", sa.Numeric(20, 4), comment="rupees"),
        sa.Column("orders_per_day", sa.Integer),
        sa.PrimaryKeyConstraint("user_id", name="caps_pkey"),
    )


def _create_intents() -> None:
    op.create_table(
        "intents",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.LargeBinary, comment="SHA-256 of the canonical request the key was used for"),
        sa.Column("terms", JSONB, nullable=False, comment="what was asked for"),
        sa.Column(
            "likeness", sa.LargeBinary, nullable=False, comment="SHA-256 of the canonical terms: equal for equal orders"
        ),
        sa.Column("order_no", sa.Text, comment="the order that a modification or a cancel is about"),
        sa.Column("correlation", sa.Text, comment="what the broker was given to echo"),
        sa.Column("trading_day", sa.Date, nullable=False, comment="Asia/Kolkata"),
        sa.Column("created_at", _MOMENT, nullable=False, comment="committed before the first byte leaves"),
        sa.Column("send_by", _MOMENT, nullable=False, comment="no byte leaves after it"),
        sa.Column("doubtful_at", _MOMENT, nullable=False, comment="from here on its sender is not waited for"),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("resolved_at", _MOMENT),
        sa.Column("resolved_by", sa.Text, comment="broker, book or operator"),
        sa.Column("is_watched", sa.Boolean, nullable=False, comment="the reconciler still looks after it"),
        sa.Column("candidates", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("absent_since", _MOMENT, comment="the first of the clean reads that did not show it"),
        sa.Column("cancel_wanted_at", _MOMENT, comment="whatever turns up is to be cancelled"),
        sa.PrimaryKeyConstraint("id", name="intents_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="intents_user_id_fkey"),
        sa.UniqueConstraint("correlation", name="intents_correlation_key"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="intents_idempotency_key_key"),
        sa.CheckConstraint("action IN ('PLACE', 'MODIFY', 'CANCEL', 'CONVERT')", name=op.f("intents_action_check")),
        sa.CheckConstraint("state IN ('sending', 'accepted', 'refused', 'unknown')", name=op.f("intents_state_check")),
        sa.CheckConstraint(
            "(state IN ('sending', 'unknown')) = (resolved_at IS NULL)", name=op.f("intents_resolved_check")
        ),
        sa.CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name=op.f("intents_resolved_by_check")),
        sa.CheckConstraint("(idempotency_key IS NULL) = (fingerprint IS NULL)", name=op.f("intents_fingerprint_check")),
    )
    op.create_index("intents_user_id_created_at_idx", "intents", ["user_id", "created_at", "id"])
    op.create_index("intents_user_id_trading_day_idx", "intents", ["user_id", "trading_day"])
    op.create_index(
        "intents_open_idx",
        "intents",
        ["user_id", "likeness"],
        postgresql_where=sa.text("state IN ('sending', 'unknown')"),
    )
    op.create_index(
        "intents_order_no_idx", "intents", ["user_id", "order_no"], postgresql_where=sa.text("order_no IS NOT NULL")
    )
    op.create_index("intents_watched_idx", "intents", ["user_id"], postgresql_where=sa.text("is_watched"))


def _create_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("user_id", sa.Text, nullable=False, comment="whose intents need a look at the book"),
        sa.Column("next_look_at", _MOMENT, comment="none: not before the next sign-in"),
        sa.Column(
            "watched_since", _MOMENT, nullable=False, comment="the last intent or outcome that quickened the looks"
        ),
        sa.Column("lease_until", _MOMENT, comment="one replica has it until then"),
        sa.Column(
            "echo_seen_on", sa.Date, comment="the last trading day on which the broker echoed a correlation of his"
        ),
        sa.PrimaryKeyConstraint("user_id", name="watches_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="watches_user_id_fkey"),
    )
    op.create_index("watches_next_look_at_idx", "watches", ["next_look_at"])


def _create_seen_orders() -> None:
    op.create_table(
        "seen_orders",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("order_no", sa.Text, nullable=False),
        sa.Column("intent_id", sa.Uuid, comment="the placement it came from, where that is known"),
        sa.Column("trading_day", sa.Date, nullable=False),
        sa.Column("quantity", sa.BigInteger),
        sa.Column("status", sa.Text, comment="none until a book has shown it"),
        sa.Column("rejection_reason", sa.Text),
        sa.Column("correlation", sa.Text, comment="what the broker echoed, whoever wrote it"),
        sa.Column("history_read_at", _MOMENT, comment="when its history was last searched for a correlation"),
        sa.Column("first_seen_at", _MOMENT, nullable=False),
        sa.Column("last_changed_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "order_no", name="seen_orders_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="seen_orders_user_id_fkey"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="seen_orders_intent_id_fkey"),
    )
    op.create_index("seen_orders_intent_id_idx", "seen_orders", ["intent_id"])


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("chain", sa.Text, nullable=False, comment="a user's id, or system"),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False, comment="1, 2, 3 … without a gap"),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False, comment="the user himself, the service, or an operator by name"),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("facts", JSONB, nullable=False, comment="no secrets and nothing personal"),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False, comment="HMAC over this row and the mac before it"),
        sa.PrimaryKeyConstraint("chain", "number", name="ledger_pkey"),
    )
    op.create_table(
        "ledger_heads",
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False, comment="of the chain's last row"),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column(
            "seal",
            sa.LargeBinary,
            nullable=False,
            comment="HMAC over this head, so that it can't be moved back by hand",
        ),
        sa.PrimaryKeyConstraint("chain", name="ledger_heads_pkey"),
    )
    op.execute(_APPEND_ONLY)
    op.execute(
        "CREATE TRIGGER ledger_rows_stay BEFORE UPDATE OR DELETE ON ledger "
        "FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()"
    )
    op.execute(
        "CREATE TRIGGER ledger_is_never_emptied BEFORE TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("caps", "halts", "ledger_heads", "ledger", "seen_orders", "watches", "intents"):
        op.drop_table(table)
    op.execute("DROP FUNCTION ledger_is_append_only")
