"""Order events: what the book has shown, told once and in order; whose book is looked at; where the broker posts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "seen_orders",
        sa.Column("shown", JSONB, comment="the order as the last event told it; none until there was one"),
    )
    op.create_index(
        "seen_orders_open_idx",
        "seen_orders",
        ["user_id"],
        postgresql_where=sa.text("status IN ('ACCEPTED', 'OPEN', 'TRIGGER_PENDING', 'UNKNOWN')"),
    )
    _create_events()
    _create_looks()
    _create_webhooks()
    # The last, since everybody reads it and waits from here on: the index above takes a while where there are millions.
    op.add_column(
        "users",
        sa.Column(
            "last_event",
            sa.BigInteger,
            nullable=False,
            server_default="0",
            comment="number of his newest order event; who writes the next ones raises it",
        ),
    )


def _create_events() -> None:
    op.create_table(
        "order_events",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False, comment="1, 2, 3 … without a gap"),
        sa.Column("order_no", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("shown", JSONB, nullable=False, comment="the order as the book had it, without its placement"),
        sa.Column(
            "changes", JSONB, nullable=False, comment="field, before, now; none where it was shown for the first time"
        ),
        sa.Column("broker_at", _MOMENT, comment="when it happened, as far as the broker says"),
        sa.Column("seen_at", _MOMENT, nullable=False, comment="when it was written down; grows with the number"),
        sa.PrimaryKeyConstraint("user_id", "number", name="order_events_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="order_events_user_id_fkey"),
    )
    op.create_index("order_events_user_id_seen_at_idx", "order_events", ["user_id", "seen_at"])


def _create_looks() -> None:
    op.create_table(
        "book_looks",
        sa.Column("user_id", sa.Text, nullable=False, comment="whose book is looked at for its changes"),
        sa.Column(
            "has_open", sa.Boolean, nullable=False, server_default="false", comment="an order of his is not final"
        ),
        sa.Column("listened_until", _MOMENT, comment="a replica has listeners of his, who expect to be told"),
        sa.Column("hinted_at", _MOMENT, comment="the last word that something may have changed"),
        sa.Column(
            "hint_gap", sa.Double, nullable=False, server_default="1", comment="seconds that a hint waits after a look"
        ),
        sa.Column("hint_proved_at", _MOMENT, comment="when a hint was last followed by a change"),
        sa.Column("looked_at", _MOMENT, comment="when the last look ended"),
        sa.Column("next_look_at", _MOMENT, comment="none: nobody needs one"),
        sa.Column("lease_until", _MOMENT, comment="one replica has it until then"),
        sa.PrimaryKeyConstraint("user_id", name="book_looks_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="book_looks_user_id_fkey"),
    )
    op.create_index("book_looks_next_look_at_idx", "book_looks", ["next_look_at"])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of what stands in its address"),
        sa.Column("key_id", sa.Text, nullable=False, comment="of the key that the token is derived by"),
        sa.Column("base_url", sa.Text, nullable=False, comment="the address before the token"),
        sa.PrimaryKeyConstraint("user_id", name="webhooks_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="webhooks_user_id_fkey"),
        sa.UniqueConstraint("token_hash", name="webhooks_token_hash_key"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("webhooks")
    op.drop_table("book_looks")
    op.drop_table("order_events")
    op.drop_index("seen_orders_open_idx", "seen_orders")
    op.drop_column("seen_orders", "shown")
    op.drop_column("users", "last_event")
