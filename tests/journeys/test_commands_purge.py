"""What is kept for longer than the settings allow goes, and nothing else; the service runs on meanwhile."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.db import Database
from app.safeguards import purging
from app.safeguards.audit import SYSTEM
from app.safeguards.purging import Bounds, Counts, bounds_now
from tests.conftest import create_clone
from tests.support.commands import refused, said, typed
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.investor import Browser, signed_in
from tests.support.ledgers import USER, grants
from tests.support.replicas import ORDER, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

NOWHERE = "http://127.0.0.1:1/"
A_MINUTE = timedelta(minutes=1)
SESSIONS, CODES, PLACEMENTS = timedelta(days=30), timedelta(days=1), timedelta(days=1827)
IDLE = timedelta(minutes=30)
AHEAD = -timedelta(hours=1)
NOTHING_GONE = "Nothing has been kept for longer than the settings allow."
BORDER = pytest.mark.parametrize(
    ("beyond", "goes"), [(A_MINUTE, True), (-A_MINUTE, False)], ids=["a minute over", "a minute left"]
)


class Past:
    """What was written long ago, each by how long ago it was over."""

    def __init__(self, rows: asyncpg.Connection) -> None:
        self.rows = rows

    async def user(self, user: str = USER, *, signed_in: timedelta = timedelta(days=9999)) -> None:
        await self.rows.execute(
            "INSERT INTO users (id, account_id, name, exchanges, created_at, signed_in_at)"
            " VALUES ($1, 'AC' || $1, 'Asha Menon', '{NSE}', now() - $2::interval, now() - $2::interval)",
            user, signed_in,
        )  # fmt: skip

    async def session(
        self, user: str = USER, *, ended: timedelta | None = None, seen: timedelta = AHEAD, expires: timedelta = AHEAD
    ) -> None:
        await self.rows.execute(
            "INSERT INTO sessions (id, token_hash, user_id, created_at, last_seen_at, expires_at, ended_at,"
            " ended_reason, user_agent, address_prefix) SELECT gen_random_uuid(), sha256(random()::text::bytea), $1,"
            " now() - interval '9999 days', now() - $2::interval, now() - $3::interval, now() - $4::interval,"
            " CASE WHEN $4::interval IS NOT NULL THEN 'logged-out' END, 'Firefox', '203.0.113.0/24'",
            user, seen, expires, ended,
        )  # fmt: skip

    async def broker_session(
        self, user: str = USER, *, ended: timedelta | None = None, expired: timedelta = AHEAD
    ) -> None:
        await self.rows.execute(
            "INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at, ended_at,"
            " ended_reason) SELECT $1, gen_random_uuid(), CASE WHEN $3::interval IS NULL THEN '\\x00'::bytea END,"
            " CASE WHEN $3::interval IS NULL THEN 'k1' END, now(), now() - $2::interval, now() - $3::interval,"
            " CASE WHEN $3::interval IS NOT NULL THEN 'expired' END",
            user, expired, ended,
        )  # fmt: skip

    async def code(self, spent: timedelta) -> None:
        await self.rows.execute(
            "INSERT INTO spent_auth_codes (code_hash, attempt_hash, spent_at)"
            " VALUES (sha256(random()::text::bytea), sha256(random()::text::bytea), now() - $1::interval)",
            spent,
        )

    async def intent(
        self,
        user: str = USER,
        *,
        state: str = "accepted",
        over: timedelta = timedelta(days=9999),
        watched: bool = False,
    ) -> uuid.UUID:
        """Write an intent with an order of its own, which has not changed for ten years."""
        found: uuid.UUID = await self.rows.fetchval(
            "INSERT INTO intents (id, user_id, action, idempotency_key, fingerprint, terms, likeness, trading_day,"
            " created_at, send_by, doubtful_at, state, resolved_at, resolved_by, is_watched)"
            " SELECT gen_random_uuid(), $1, 'PLACE', gen_random_uuid(), '\\x00', '{}', '\\x00',"
            " (now() - $3::interval)::date, now() - $3::interval, now(), now(), $2,"
            " CASE WHEN is_known THEN now() - $3::interval END, CASE WHEN is_known THEN 'broker' END, $4"
            " FROM (VALUES ($2 IN ('accepted', 'refused'))) AS states (is_known) RETURNING id",
            user, state, over, watched,
        )  # fmt: skip
        await self.order(user, intent=found)
        return found

    async def order(
        self, user: str = USER, *, changed: timedelta = timedelta(days=9999), intent: uuid.UUID | None = None
    ) -> None:
        await self.rows.execute(
            "INSERT INTO seen_orders (user_id, order_no, intent_id, trading_day, first_seen_at, last_changed_at)"
            " VALUES ($1, gen_random_uuid(), $3, (now() - $2::interval)::date, now(), now() - $2::interval)",
            user, changed, intent,
        )  # fmt: skip

    async def watch(
        self, user: str = USER, *, since: timedelta = timedelta(days=9999), lease: timedelta = A_MINUTE
    ) -> None:
        await self.rows.execute(
            "INSERT INTO watches (user_id, watched_since, lease_until)"
            " VALUES ($1, now() - $2::interval, now() - $3::interval)",
            user, since, lease,
        )  # fmt: skip

    async def event(self, user: str = USER, *, seen: timedelta = timedelta(days=9999)) -> None:
        await self.rows.execute(
            "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at)"
            " SELECT $1, 1 + count(*), '26112300000001', 'OPEN', '{}', '[]', now() - $2::interval FROM order_events",
            user, seen,
        )  # fmt: skip

    async def look(self, user: str = USER, *, is_planned: bool = False) -> None:
        await self.rows.execute(
            "INSERT INTO book_looks (user_id, next_look_at) SELECT $1, CASE WHEN $2 THEN now() + interval '1 day' END",
            user,
            is_planned,
        )

    async def webhook(self, user: str = USER) -> None:
        await self.rows.execute(
            "INSERT INTO webhooks (user_id, token_hash, key_id, base_url)"
            " VALUES ($1, sha256(convert_to($1, 'UTF8')), 'k1', 'x')",
            user,
        )

    async def left(self) -> dict[str, int]:
        """Return how many rows there are of each kind; of users those that have a name."""
        tables = (
            "sessions", "broker_sessions", "spent_auth_codes", "intents", "seen_orders", "order_events", "watches",
            "book_looks", "webhooks",
        )  # fmt: skip
        counts = {table: await self.rows.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
        return counts | {"users": await self.rows.fetchval("SELECT count(*) FROM users WHERE name IS NOT NULL")}

    async def ledger(self) -> list[tuple[str, str, str, Any]]:
        found = await self.rows.fetch("SELECT chain, actor, action, facts FROM ledger ORDER BY chain, number")
        return [(row["chain"], row["actor"], row["action"], json.loads(row["facts"])) for row in found]


@pytest.fixture
def past(rows: asyncpg.Connection, db: Database) -> Past:
    return Past(rows)


async def gone(given: dict[str, str], past: Past, **changed: str) -> dict[str, int]:
    """Purge, after a dry run that must say the same and change nothing; return what there was of what has gone."""
    before, told = await past.left(), await past.ledger()
    announced = json.loads(await said("purge", "--dry-run", "--json", given=given | changed))
    assert (await past.left(), await past.ledger()) == (before, told)
    done = json.loads(await said("purge", "--json", given=given | changed))
    assert announced == done | {"dryRun": True}
    after = await past.left()
    counted = {name: before[name] - after[name] for name in before if before[name] > after[name]}
    assert sorted(counted.values()) == sorted(count for count in done.values() if count)
    return counted


@BORDER
@pytest.mark.parametrize("how", ["ended", "expires", "seen"])
async def test_a_session_goes_a_month_after_its_end_however_it_ended(
    past: Past, given: dict[str, str], how: str, beyond: timedelta, goes: bool
) -> None:
    await past.user(signed_in=timedelta(0))
    idle = IDLE if how == "seen" else timedelta(0)
    over: dict[str, Any] = {how: SESSIONS + idle + beyond}
    await past.session(**over)
    await past.session()
    assert await gone(given, past) == ({"sessions": 1} if goes else {})


@BORDER
@pytest.mark.parametrize("how", ["ended", "expired"])
async def test_a_broker_session_goes_a_month_after_its_end(
    past: Past, given: dict[str, str], how: str, beyond: timedelta, goes: bool
) -> None:
    await past.user(signed_in=timedelta(0))
    over: dict[str, Any] = {how: SESSIONS + beyond}
    await past.broker_session(**over)
    assert await gone(given, past) == ({"broker_sessions": 1} if goes else {})


async def test_a_broker_session_stays_while_a_session_is_there_to_be_told_why_it_ended(
    past: Past, given: dict[str, str]
) -> None:
    await past.user()
    await past.broker_session(ended=timedelta(days=60))
    await past.session()
    assert await gone(given, past) == {}


@BORDER
async def test_a_spent_code_goes_after_a_day(past: Past, given: dict[str, str], beyond: timedelta, goes: bool) -> None:
    await past.code(CODES + beyond)
    assert await gone(given, past) == ({"spent_auth_codes": 1} if goes else {})


@BORDER
@pytest.mark.parametrize("state", ["accepted", "refused"])
async def test_an_intent_goes_five_years_after_its_outcome_and_its_orders_with_it(
    past: Past, given: dict[str, str], state: str, beyond: timedelta, goes: bool
) -> None:
    await past.user(signed_in=timedelta(0))
    await past.intent(state=state, over=PLACEMENTS + beyond)
    assert await gone(given, past) == ({"intents": 1, "seen_orders": 1} if goes else {})


@BORDER
async def test_an_order_placed_elsewhere_goes_five_years_after_its_last_change(
    past: Past, given: dict[str, str], beyond: timedelta, goes: bool
) -> None:
    await past.user(signed_in=timedelta(0))
    await past.order(changed=PLACEMENTS + beyond)
    assert await gone(given, past) == ({"seen_orders": 1} if goes else {})


@pytest.mark.parametrize("state", ["unknown", "sending"])
async def test_what_nobody_knows_never_goes_and_keeps_the_name_of_whose_it_is(
    past: Past, given: dict[str, str], state: str
) -> None:
    await past.user()
    await past.intent(state=state)
    await past.watch()
    assert await gone(given, past) == {}


async def test_what_is_looked_after_never_goes(past: Past, given: dict[str, str]) -> None:
    await past.user()
    await past.intent(watched=True)
    await past.watch()
    assert await gone(given, past) == {}


async def test_a_user_of_whom_nothing_is_left_is_forgotten_but_for_his_id(past: Past, given: dict[str, str]) -> None:
    await past.user()
    await past.session(ended=timedelta(days=60))
    await past.broker_session(ended=timedelta(days=60))
    await past.intent()
    await past.watch()
    await past.user("CD5678")
    await past.user("EF9012", signed_in=SESSIONS - A_MINUTE)
    assert await gone(given, past) == {
        "sessions": 1, "broker_sessions": 1, "intents": 1, "seen_orders": 1, "watches": 1, "users": 2,
    }  # fmt: skip
    found = await past.rows.fetch("SELECT id, account_id, name, exchanges FROM users ORDER BY id")
    assert [tuple(row) for row in found] == [
        (USER, None, None, []), ("CD5678", None, None, []), ("EF9012", "ACEF9012", "Asha Menon", ["NSE"]),
    ]  # fmt: skip
    assert await gone(given, past) == {}


@pytest.mark.parametrize("what", ["session", "broker_session", "intent", "order"])
async def test_a_user_is_not_forgotten_while_anything_of_his_is_kept(
    past: Past, given: dict[str, str], what: str
) -> None:
    await past.user()
    await getattr(past, what)(**{"intent": {"over": A_MINUTE}, "order": {"changed": A_MINUTE}}.get(what, {}))
    assert await gone(given, past) == {}


async def test_a_watch_stays_while_a_replica_has_it(past: Past, given: dict[str, str]) -> None:
    await past.user(signed_in=timedelta(0))
    await past.watch(lease=AHEAD)
    assert await gone(given, past) == {}


@BORDER
async def test_an_order_event_goes_three_months_after_it_was_seen(
    past: Past, given: dict[str, str], beyond: timedelta, goes: bool
) -> None:
    await past.user(signed_in=timedelta(0))
    await past.event(seen=timedelta(days=90) + beyond)
    await past.event(seen=timedelta(0))
    assert await gone(given, past) == ({"order_events": 1} if goes else {})


async def test_looks_and_webhook_go_with_who_has_not_come_for_a_month(past: Past, given: dict[str, str]) -> None:
    await past.user("AB1234", signed_in=timedelta(days=29))
    await past.user("CD5678", signed_in=timedelta(days=31))
    await past.user("EF9012", signed_in=timedelta(days=31))
    for user in ("AB1234", "CD5678"):
        await past.look(user)
        await past.webhook(user)
    await past.look("EF9012", is_planned=True)
    assert await gone(given, past) == {"book_looks": 1, "webhooks": 1, "users": 2}


async def test_how_long_is_a_matter_of_settings(past: Past, given: dict[str, str]) -> None:
    await past.user(signed_in=timedelta(0))
    await past.session(ended=timedelta(hours=3))
    await past.code(timedelta(hours=3))
    await past.intent(over=timedelta(days=31))
    assert await gone(given, past) == {}
    shorter = {"RETENTION_SESSIONS": "PT2H", "RETENTION_SPENT_CODES": "7200", "RETENTION_PLACEMENTS": "P30D"}
    assert set(await gone(given, past, **shorter)) == {"sessions", "spent_auth_codes", "intents", "seen_orders"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"RETENTION_SESSIONS": "PT59M"}, "RETENTION_SESSIONS: must be between an hour and a hundred years"),
        ({"RETENTION_SPENT_CODES": "0"}, "RETENTION_SPENT_CODES: must be between an hour and a hundred years"),
        ({"RETENTION_PLACEMENTS": "P29D"}, "RETENTION_PLACEMENTS: must be between 30 days and a hundred years"),
        ({"RETENTION_PLACEMENTS": "P36526D"}, "RETENTION_PLACEMENTS: must be between 30 days and a hundred years"),
        ({"RETENTION_SESSIONS": "forever"}, "RETENTION_SESSIONS: "),
    ],
)
async def test_what_would_let_too_much_go_is_refused(
    given: dict[str, str], changed: dict[str, str], sentence: str
) -> None:
    assert sentence in await refused("purge", given=given | changed)


async def test_a_purge_is_told_and_stands_in_the_ledger(past: Past, given: dict[str, str]) -> None:
    assert await said("purge", "--dry-run", given=given) == NOTHING_GONE
    await past.user()
    await past.session(ended=timedelta(days=60))
    await past.code(timedelta(days=2))
    await past.code(timedelta(days=2))
    assert await said("purge", "--dry-run", given=given) == "Would delete 1 session, 2 spent codes, 1 name."
    assert await said("purge", given=given) == "Deleted 1 session, 2 spent codes, 1 name."
    assert await said("purge", "--actor", "Asha", "--reason", "asked for", given=given) == NOTHING_GONE
    begun, done, again, over = await past.ledger()
    assert [each[:3] for each in (begun, done, again, over)] == [
        (SYSTEM, "service", "purge-begun"), (SYSTEM, "service", "purged"),
        (SYSTEM, "Asha", "purge-begun"), (SYSTEM, "Asha", "purged"),
    ]  # fmt: skip
    assert set(begun[3]) == {"reason", "sessionsUntil", "spentCodesUntil", "placementsUntil", "orderEventsUntil"}
    assert (begun[3]["reason"], again[3]["reason"]) == ("retention", "asked for")
    assert done[3] == {
        "sessions": 1, "brokerSessions": 0, "spentCodes": 2, "intents": 0, "orders": 0, "orderEvents": 0,
        "watches": 0, "looks": 0, "webhooks": 0, "users": 1,
    }  # fmt: skip
    assert await said("audit", "verify", given=given) == "The ledger is whole: 4 rows in 1 chain."


async def test_help_explains_the_dry_run() -> None:
    assert "--dry-run" in (await typed("purge", "--help", given={"COLUMNS": "100"})).output


async def bounds(db: Database) -> Bounds:
    return await bounds_now(db, configured("postgresql:///", NOWHERE))


async def test_it_goes_batch_by_batch(past: Past, db: Database) -> None:
    await past.user(signed_in=timedelta(0))
    for number in range(7):
        user = f"U{number:03}"
        await past.user(user)
        await past.session(user, ended=timedelta(days=60))
        await past.session(ended=timedelta(days=60))
        await past.code(timedelta(days=2))
        await past.intent()
        await past.order()
    transactions = "SELECT count(DISTINCT xmin::text) FROM dead_sessions"
    await past.rows.execute("CREATE TABLE dead_sessions AS SELECT id FROM sessions WHERE false")
    await past.rows.execute(
        "CREATE FUNCTION bury() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO dead_sessions VALUES (OLD.id); RETURN OLD; END'"
    )
    await past.rows.execute("CREATE TRIGGER bury BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION bury()")
    try:
        done = await purging.purge(db, await bounds(db), batch=3)
        assert await past.rows.fetchval(transactions) == 5  # of 14
    finally:
        await past.rows.execute("DROP TRIGGER bury ON sessions; DROP FUNCTION bury; DROP TABLE dead_sessions")
    assert done == Counts(sessions=14, spent_codes=7, intents=7, orders=14, users=7)


async def test_users_are_looked_at_page_by_page(past: Past, db: Database) -> None:
    for number in range(205):
        await past.user(f"U{number:03}")
    assert (await purging.purge(db, await bounds(db))).users == 205
    assert await past.rows.fetchval("SELECT count(*) FROM users WHERE name IS NULL AND account_id IS NULL") == 205


async def test_nobody_is_waited_for(past: Past, db: Database, database_url: str) -> None:
    for user in (USER, "CD5678"):
        await past.user(user)
        await past.session(user, ended=timedelta(days=60))
        await past.intent(user)
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("UPDATE users SET signed_in_at = now() WHERE id = $1", USER)  # as a sign-in does
        await other.execute("UPDATE sessions SET ended_reason = ended_reason WHERE user_id = $1", USER)
        await other.execute("UPDATE intents SET reason = 'x' WHERE user_id = $1", USER)
        async with asyncio.timeout(5):
            assert await purging.purge(db, await bounds(db)) == Counts(sessions=1, intents=1, orders=1, users=1)
    await other.close()
    assert await purging.purge(db, await bounds(db)) == Counts(sessions=1, intents=1, orders=1)  # he has signed in


async def test_an_intent_of_which_an_order_is_held_stays_whole(past: Past, db: Database, database_url: str) -> None:
    await past.user(signed_in=timedelta(0))
    held = await past.intent()
    for _ in range(2):
        await past.order(intent=held)
        await past.intent()
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM seen_orders WHERE intent_id = $1 LIMIT 1 FOR UPDATE", held)  # as a look does
        async with asyncio.timeout(5):
            assert await purging.purge(db, await bounds(db), batch=1) == Counts(intents=2, orders=2)
    await other.close()
    assert await past.rows.fetchval("SELECT count(*) FROM seen_orders WHERE intent_id = $1", held) == 3
    assert await purging.purge(db, await bounds(db), batch=1) == Counts(intents=1, orders=3)


async def test_investors_come_and_trade_while_it_runs(
    service: Service, broker: SimulatedBroker, past: Past, db: Database
) -> None:
    async with signed_in(service, broker) as asha, Browser(service) as other:
        for _ in range(150):
            await past.session(ended=timedelta(days=60))
            await past.intent()
        purge = asyncio.create_task(purging.purge(db, await bounds(db), batch=5))
        headers = {"Idempotency-Key": "while-it-runs"}
        placed, signing_in, read = await asyncio.gather(
            asha.post("/v1/orders", json=ORDER, headers=headers),
            other.sign_in(broker, "FO5678"),
            asha.get("/v1/session"),
        )
        done = await purge
        assert (placed.status_code, signing_in.status_code, read.status_code) == (201, 303, 200)
        assert (done.sessions, done.intents, done.users) == (150, 150, 0)
        assert (await other.get("/v1/session")).json()["user"]["id"] == "FO5678"
        assert (await asha.get("/v1/session")).json()["user"] == {"id": USER, "name": "Asha Menon"}
        placement = placed.json()["placementId"]
        assert (await asha.get(f"/v1/placements/{placement}")).json()["outcome"] == "accepted"


async def test_a_placement_that_is_purged_is_gone_with_its_key(
    service: Service, broker: SimulatedBroker, past: Past, given: dict[str, str]
) -> None:
    async with signed_in(service, broker) as asha:
        headers = {"Idempotency-Key": "long-ago"}
        first = (await asha.post("/v1/orders", json=ORDER, headers=headers)).json()["placementId"]

        async def is_seen_through() -> bool:
            return bool(await past.rows.fetchval("SELECT NOT is_watched FROM intents WHERE id = $1", first))

        await until(is_seen_through)
        assert (await asha.post("/v1/orders", json=ORDER, headers=headers)).json()["placementId"] == first
        await past.rows.execute(
            "UPDATE intents SET created_at = created_at - interval '31 days',"
            " resolved_at = resolved_at - interval '31 days'"
        )
        assert await gone(given, past, RETENTION_PLACEMENTS="P30D") == {"intents": 1, "seen_orders": 1}
        assert (await asha.get(f"/v1/placements/{first}")).status_code == 404
        again = await asha.post("/v1/orders", json=ORDER, headers=headers)
        assert (again.status_code, again.json()["placementId"] == first) == (201, False)
    assert (await said("audit", "verify", given=given)).startswith("The ledger is whole: ")


async def test_the_running_role_may_purge(worker: str) -> None:
    owner_url = await create_clone(f"purging_{worker}")
    owner = await asyncpg.connect(owner_url)
    role = f"partner_purge_{worker}"
    await owner.execute(f"CREATE ROLE {role} LOGIN")
    await owner.execute(grants().replace("partner_app", role))
    past = Past(owner)
    await past.user()
    await past.session(ended=timedelta(days=60))
    await past.intent()
    await past.code(timedelta(days=2))
    given = environment(owner_url.replace("postgres@", f"{role}@"), NOWHERE)
    told = await said("purge", given=given)
    assert told == "Deleted 1 session, 1 spent code, 1 intent, 1 order, 1 name."
    await owner.close()


async def test_a_database_that_is_away_is_said_in_one_sentence() -> None:
    nowhere = environment("postgresql://127.0.0.1:1/none", NOWHERE)
    assert await refused("purge", given=nowhere) == "The database can't be reached. Check DATABASE_URL."
