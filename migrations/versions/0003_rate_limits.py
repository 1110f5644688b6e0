"""The calls let through to the broker, counted; each user's epoch of his book; the exchange of an order seen."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)

_TAKE = """
CREATE FUNCTION take_permit(
    keys text[], belongs int[], lengths float8[], usable int[], counts_it boolean,
    OUT granted boolean, OUT paused float8, OUT used int[], OUT waits float8[], OUT resets float8[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    last_numbers bigint[];
    newest timestamptz;
    pauses timestamptz;
    head rate_heads%ROWTYPE;
    this_moment timestamptz;
BEGIN
    FOR place IN 1 .. cardinality(keys) LOOP
        LOOP
            IF counts_it THEN
                SELECT * INTO head FROM rate_heads WHERE key = keys[place] FOR UPDATE;
            ELSE
                SELECT * INTO head FROM rate_heads WHERE key = keys[place];
            END IF;
            EXIT WHEN FOUND OR NOT counts_it;
            INSERT INTO rate_heads (key, number) VALUES (keys[place], 0) ON CONFLICT DO NOTHING;
        END LOOP;
        last_numbers[place] := coalesce(head.number, 0);
        newest := greatest(newest, head.counted_at);
        pauses := greatest(pauses, head.paused_until);
    END LOOP;
    -- Only now, with every head in our hands: a moment read earlier could be older than a call counted meanwhile.
    this_moment := greatest(clock_timestamp(), newest + interval '1 microsecond');
    SELECT array_agg(in_window ORDER BY place),
           array_agg(CASE WHEN in_window < usable[place] THEN 0 ELSE
               coalesce(extract(epoch FROM (
                   SELECT at FROM rate_permits
                   WHERE key = bucket AND at > this_moment - length ORDER BY at OFFSET in_window - usable[place] LIMIT 1
               ) + length - this_moment), extract(epoch FROM length)) END ORDER BY place),
           array_agg(coalesce(extract(epoch FROM oldest + length - this_moment), 0) ORDER BY place)
    INTO used, waits, resets
    FROM (
        SELECT wanted.place, bucket, length, first.at AS oldest,
               coalesce(last_number - first.number + 1, 0)::int AS in_window
        FROM (
            SELECT place, keys[owner] AS bucket, last_numbers[owner] AS last_number,
                   make_interval(secs => seconds) AS length
            FROM unnest(belongs, lengths) WITH ORDINALITY AS given (owner, seconds, place)
        ) AS wanted
        LEFT JOIN LATERAL (
            SELECT number, at FROM rate_permits
            WHERE key = bucket AND at > this_moment - length ORDER BY at LIMIT 1
        ) AS first ON true
    ) AS windows;
    paused := greatest(extract(epoch FROM pauses - this_moment), 0.0);
    granted := paused = 0 AND 0 = ALL (coalesce(waits, '{}'));
    IF granted AND counts_it THEN
        UPDATE rate_heads SET number = number + 1, counted_at = this_moment WHERE key = ANY (keys);
        INSERT INTO rate_permits (key, number, at)
            SELECT keys[place], last_numbers[place] + 1, this_moment FROM generate_subscripts(keys, 1) AS place;
        DELETE FROM rate_permits WHERE key = ANY (keys) AND at <= this_moment - interval '86460 seconds';
    END IF;
END
$$
"""
"""The 86,460 seconds are LONGEST_WINDOW of app/safeguards/counting.py."""

_GIVE_BACK = """
CREATE FUNCTION give_permit_back(wanted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    SELECT number INTO newest FROM rate_heads WHERE key = wanted FOR UPDATE;
    DELETE FROM rate_permits WHERE key = wanted AND number = newest
        AND at = (SELECT counted_at FROM rate_heads WHERE key = wanted);
    IF FOUND THEN
        UPDATE rate_heads SET number = number - 1,
            counted_at = coalesce((SELECT max(at) FROM rate_permits WHERE key = wanted), counted_at)
        WHERE key = wanted;
    END IF;
END
$$
"""

_PAUSE = """
CREATE FUNCTION pause_permits(
    wanted text, told float8, first float8, longest float8, quiet float8, OUT left_over float8
) LANGUAGE plpgsql AS $$
DECLARE
    head rate_heads%ROWTYPE;
    this_moment timestamptz;
    length float8;
BEGIN
    INSERT INTO rate_heads (key, number) VALUES (wanted, 0) ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM rate_heads WHERE key = wanted FOR UPDATE;
    this_moment := clock_timestamp();
    IF told IS NOT NULL THEN
        length := told;
    ELSIF head.paused_until > this_moment THEN
        length := 0;  -- answers to calls that were under way when the pause began say nothing new
    ELSIF head.paused_until > this_moment - make_interval(secs => quiet) THEN
        length := least(head.pause_seconds * 2, longest);
    ELSE
        length := first;
    END IF;
    UPDATE rate_heads SET
        paused_until = greatest(head.paused_until, this_moment + make_interval(secs => length)),
        pause_seconds = CASE
            WHEN told IS NULL AND length > 0 THEN length
            WHEN head.paused_until > this_moment - make_interval(secs => quiet) THEN coalesce(head.pause_seconds, first)
            ELSE first
        END
    WHERE key = wanted
    RETURNING extract(epoch FROM paused_until - this_moment) INTO left_over;
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "rate_heads",
        sa.Column("key", sa.Text, nullable=False, comment="whose calls, of which category"),
        sa.Column("number", sa.BigInteger, nullable=False, comment="of the newest call let through: 1, 2, 3 …"),
        sa.Column("counted_at", _MOMENT, comment="when it was; grows strictly within a key"),
        sa.Column("paused_until", _MOMENT, comment="the broker has said that it had too many calls"),
        sa.Column("pause_seconds", sa.Double, comment="how long the last pause was that we chose"),
        sa.PrimaryKeyConstraint("key", name="rate_heads_pkey"),
    )
    op.create_table(
        "rate_permits",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False, comment="the store's own clock"),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", "at", name="rate_permits_pkey"),
    )
    for function in (_TAKE, _GIVE_BACK, _PAUSE):
        op.execute(function)
    op.add_column(
        "users",
        sa.Column(
            "book_epoch", sa.BigInteger, nullable=False, server_default="0",
            comment="raised by every order call; what was read under an older one is not shown again",
        ),
    )  # fmt: skip
    op.add_column("users", sa.Column("ordered_at", _MOMENT, comment="when it was raised last"))
    op.add_column("seen_orders", sa.Column("exchange", sa.Text, comment="where a cancel of it counts"))


def downgrade() -> None:
    op.drop_column("seen_orders", "exchange")
    op.drop_column("users", "ordered_at")
    op.drop_column("users", "book_epoch")
    for name in (
        "pause_permits(text, float8, float8, float8, float8)",
        "give_permit_back(text)",
        "take_permit(text[], int[], float8[], int[], boolean)",
    ):
        op.execute(f"DROP FUNCTION {name}")
    op.drop_table("rate_permits")
    op.drop_table("rate_heads")
