"""What is in the database. Times are UTC; what is secret is sealed, what is only looked up is a hash."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY

SCHEMA_REVISION = "0001"
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
)

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
