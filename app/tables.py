"""What is in the database. Times are UTC; what is secret is sealed, what is only looked up is a hash."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA_REVISION = "0005"
"""The newest migration; revisions are numbered, so that "behind" can be told from "ahead"."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

_MOMENT = DateTime(timezone=True)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True, comment="the broker's client id in capitals"),
    Column("account_id", Text),
    Column("name", Text),
    Column("exchanges", ARRAY(Text), nullable=False, server_default="{}"),
    Column("products", ARRAY(Text), nullable=False, server_default="{}"),
    Column("created_at", _MOMENT, nullable=False),
    Column("signed_in_at", _MOMENT, nullable=False),
    Column(
        "book_epoch", BigInteger, nullable=False, server_default="0",
        comment="raised by every order call; what was read under an older one is not shown again",
    ),
    Column("ordered_at", _MOMENT, comment="when it was raised last"),
    Column(
        "last_event", BigInteger, nullable=False, server_default="0",
        comment="number of his newest order event; who writes the next ones raises it",
    ),
)  # fmt: skip

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True, comment="SHA-256 of what the cookie holds"),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("created_at", _MOMENT, nullable=False),
    Column("last_seen_at", _MOMENT, nullable=False),
    Column("expires_at", _MOMENT, nullable=False, comment="however busy it is"),
    Column("ended_at", _MOMENT),
    Column("ended_reason", Text),
    Column("user_agent", Text),
    Column("address_prefix", Text),
    CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
    Index("sessions_user_id_idx", "user_id"),
)

broker_sessions = Table(
    "broker_sessions",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True, comment="one per user, shared by his devices"),
    Column("id", Uuid, nullable=False, unique=True, comment="a new one with every sign-in"),
    Column("token_sealed", LargeBinary, comment="erased when the session ends"),
    Column("token_key_id", Text),
    Column("connected_at", _MOMENT, nullable=False),
    Column("expires_at", _MOMENT, nullable=False),
    Column("ended_at", _MOMENT),
    Column("ended_reason", Text),
    CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
    CheckConstraint("(ended_at IS NULL) = (token_sealed IS NOT NULL)", name="token_while_alive"),
    CheckConstraint("(token_sealed IS NULL) = (token_key_id IS NULL)", name="sealed_under_a_key"),
)

spent_auth_codes = Table(
    "spent_auth_codes",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True, comment="SHA-256 of the broker's auth code"),
    Column("attempt_hash", LargeBinary, nullable=False, unique=True, comment="one code for one attempt"),
    Column("spent_at", _MOMENT, nullable=False, comment="before the exchange goes out"),
    Column("finished_at", _MOMENT),
    Column("outcome", Text, comment="signed-in, or the slug of the problem it ended with"),
    Column("outcome_detail", Text),
    CheckConstraint("(finished_at IS NULL) = (outcome IS NULL)", name="finished"),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("action", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("fingerprint", LargeBinary, comment="SHA-256 of the canonical request the key was used for"),
    Column("terms", JSONB, nullable=False, comment="what was asked for"),
    Column("likeness", LargeBinary, nullable=False, comment="SHA-256 of the canonical terms: equal for equal orders"),
    Column("order_no", Text, comment="the order that a modification or a cancel is about"),
    Column("correlation", Text, unique=True, comment="what the broker was given to echo"),
    Column("trading_day", Date, nullable=False, comment="Asia/Kolkata"),
    Column("created_at", _MOMENT, nullable=False, comment="committed before the first byte leaves"),
    Column("send_by", _MOMENT, nullable=False, comment="no byte leaves after it"),
    Column("doubtful_at", _MOMENT, nullable=False, comment="from here on its sender is not waited for"),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("resolved_at", _MOMENT),
    Column("resolved_by", Text, comment="broker, book or operator"),
    Column("is_watched", Boolean, nullable=False, comment="the reconciler still looks after it"),
    Column("candidates", ARRAY(Text), nullable=False, server_default="{}"),
    Column("absent_since", _MOMENT, comment="the first of the clean reads that did not show it"),
    Column("cancel_wanted_at", _MOMENT, comment="whatever turns up is to be cancelled"),
    UniqueConstraint("user_id", "idempotency_key", name="intents_idempotency_key_key"),
    CheckConstraint("action IN ('PLACE', 'MODIFY', 'CANCEL', 'CONVERT')", name="action"),
    CheckConstraint("state IN ('sending', 'accepted', 'refused', 'unknown')", name="state"),
    CheckConstraint("(state IN ('sending', 'unknown')) = (resolved_at IS NULL)", name="resolved"),
    CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name="resolved_by"),
    CheckConstraint("(idempotency_key IS NULL) = (fingerprint IS NULL)", name="fingerprint"),
    Index("intents_user_id_created_at_idx", "user_id", "created_at", "id"),
    Index("intents_user_id_trading_day_idx", "user_id", "trading_day"),
    Index("intents_open_idx", "user_id", "likeness", postgresql_where=text("state IN ('sending', 'unknown')")),
    Index("intents_order_no_idx", "user_id", "order_no", postgresql_where=text("order_no IS NOT NULL")),
    Index("intents_watched_idx", "user_id", postgresql_where=text("is_watched")),
)

watches = Table(
    "watches",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True, comment="whose intents need a look at the book"),
    Column("next_look_at", _MOMENT, comment="none: not before the next sign-in"),
    Column("watched_since", _MOMENT, nullable=False, comment="the last intent or outcome that quickened the looks"),
    Column("lease_until", _MOMENT, comment="one replica has it until then"),
    Column("echo_seen_on", Date, comment="the last trading day on which the broker echoed a correlation of his"),
    Index("watches_next_look_at_idx", "next_look_at"),
)

seen_orders = Table(
    "seen_orders",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("order_no", Text, primary_key=True),
    Column("intent_id", ForeignKey("intents.id"), comment="the placement it came from, where that is known"),
    Column("trading_day", Date, nullable=False),
    Column("exchange", Text, comment="where a cancel of it counts"),
    Column("quantity", BigInteger),
    Column("status", Text, comment="none until a book has shown it"),
    Column("rejection_reason", Text),
    Column("correlation", Text, comment="what the broker echoed, whoever wrote it"),
    Column("history_read_at", _MOMENT, comment="when its history was last searched for a correlation"),
    Column("first_seen_at", _MOMENT, nullable=False),
    Column("last_changed_at", _MOMENT, nullable=False),
    Column("shown", JSONB, comment="the order as the last event told it; none until there was one"),
    Index("seen_orders_intent_id_idx", "intent_id"),
    Index(
        "seen_orders_open_idx",
        "user_id",
        postgresql_where=text("status IN ('ACCEPTED', 'OPEN', 'TRIGGER_PENDING', 'UNKNOWN')"),
    ),
)

order_events = Table(
    "order_events",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3 … without a gap"),
    Column("order_no", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("shown", JSONB, nullable=False, comment="the order as the book had it, without its placement"),
    Column("changes", JSONB, nullable=False, comment="field, before, now; none where it was shown for the first time"),
    Column("broker_at", _MOMENT, comment="when it happened, as far as the broker says"),
    Column("seen_at", _MOMENT, nullable=False, comment="when it was written down; grows with the number"),
    Index("order_events_user_id_seen_at_idx", "user_id", "seen_at"),
)

book_looks = Table(
    "book_looks",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True, comment="whose book is looked at for its changes"),
    Column("has_open", Boolean, nullable=False, server_default="false", comment="an order of his is not final"),
    Column("listened_until", _MOMENT, comment="a replica has listeners of his, who expect to be told"),
    Column("hinted_at", _MOMENT, comment="the last word that something may have changed"),
    Column("hint_gap", Double, nullable=False, server_default="1", comment="seconds that a hint waits after a look"),
    Column("hint_proved_at", _MOMENT, comment="when a hint was last followed by a change"),
    Column("looked_at", _MOMENT, comment="when the last look ended"),
    Column("next_look_at", _MOMENT, comment="none: nobody needs one"),
    Column("lease_until", _MOMENT, comment="one replica has it until then"),
    Index("book_looks_next_look_at_idx", "next_look_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True, comment="SHA-256 of what stands in its address"),
    Column("key_id", Text, nullable=False, comment="of the key that the token is derived by"),
    Column("base_url", Text, nullable=False, comment="the address before the token"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("chain", Text, primary_key=True, comment="a user's id, or system"),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3 … without a gap"),
    Column("at", _MOMENT, nullable=False),
    Column("actor", Text, nullable=False, comment="the user himself, the service, or an operator by name"),
    Column("action", Text, nullable=False),
    Column("facts", JSONB, nullable=False, comment="no secrets and nothing personal"),
    Column("key_id", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False, comment="HMAC over this row and the mac before it"),
)

ledger_heads = Table(
    "ledger_heads",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False, comment="of the chain's last row"),
    Column("key_id", Text, nullable=False),
    Column("seal", LargeBinary, nullable=False, comment="HMAC over this head, so that it can't be moved back by hand"),
)

halts = Table(
    "halts",
    metadata,
    Column("scope", Text, primary_key=True, comment="a user's id, or * for everybody"),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("since", _MOMENT, nullable=False),
)

blocks = Table(
    "blocks",
    metadata,
    Column("user_id", Text, primary_key=True, comment="may be set before he ever signs in"),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("since", _MOMENT, nullable=False),
)

caps = Table(
    "caps",
    metadata,
    Column("user_id", Text, primary_key=True, comment="may be set before he ever signs in"),
    Column("order_quantity", BigInteger, comment="units"),
    Column("order_value", Numeric(20, 4), comment="rupees"),
    Column("orders_per_day", Integer),
)

rate_heads = Table(
    "rate_heads",
    metadata,
    Column("key", Text, primary_key=True, comment="whose calls, of which category"),
    Column("number", BigInteger, nullable=False, comment="of the newest call let through: 1, 2, 3 …"),
    Column("counted_at", _MOMENT, comment="when it was; grows strictly within a key"),
    Column("paused_until", _MOMENT, comment="the broker has said that it had too many calls"),
    Column("pause_seconds", Double, comment="how long the last pause was that we chose"),
)

rate_permits = Table(
    "rate_permits",
    metadata,
    Column("key", Text, primary_key=True),
    Column("at", _MOMENT, primary_key=True, comment="the store's own clock"),
    Column("number", BigInteger, nullable=False),
)
