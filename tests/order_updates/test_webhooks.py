"""Where the broker is asked to post: one address for each user, at every sign-in, and in nobody's way."""

import base64
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.clock import monotonic
from app.observability import configure_logging
from tests.conftest import create_clone, empty
from tests.support.configured import KEY, configured
from tests.support.replicas import PUBLIC, Replicas, Store, Trader, received, replicated, trading, until
from tests.support.scraped import scraped
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

OTHER = "ZZ9999"
NEWER_KEY = f"k2:{base64.b64encode(bytes(range(32, 64))).decode()}"
SETTINGS: dict[str, Any] = {"order_webhooks": True, "order_poll_interval": "300"}


@pytest.fixture(scope="session")
async def webhooks_database(worker: str) -> str:
    return await create_clone(f"webhooks_{worker}")


@pytest.fixture(scope="module")
async def subscribing(webhooks_database: str, simulator_process: SimulatedBroker) -> AsyncIterator[Replicas]:
    configure_logging(level="INFO", log_format="json")
    async with replicated(webhooks_database, simulator_process.url, bystanders=0, **SETTINGS) as running:
        yield running


@pytest.fixture
async def replicas(subscribing: Replicas, broker: SimulatedBroker, webhooks_database: str) -> AsyncIterator[Replicas]:
    """Give both replicas, which ask the broker for its posts, with an empty database and a fresh broker."""
    yield subscribing
    await empty(webhooks_database)


@pytest.fixture
def _log_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def urls_of(broker: SimulatedBroker, user: str = "AB1234", *, after: int = 1) -> list[str]:
    """Return a user's addresses at the broker as soon as it has been asked so often to post."""

    async def is_asked() -> list[str] | None:
        asked = [each for each in broker.received("subscribe") if each["userId"] == user]
        found = [each["callbackUrl"] for each in broker.subscriptions(user)]
        return found if len(asked) >= after else None

    return await until(is_asked)


async def url_of(broker: SimulatedBroker, user: str = "AB1234", *, after: int = 1) -> str:
    """Return a user's only address."""
    [url] = await urls_of(broker, user, after=after)
    return url


def token_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


async def subscribed(broker: SimulatedBroker, user: str = "AB1234") -> None:
    async def is_subscribed() -> bool:
        return bool(broker.subscriptions(user))

    await until(is_subscribed)


async def test_every_sign_in_anywhere_subscribes_the_same_address(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    url = await url_of(broker)
    assert url.startswith(f"{PUBLIC}/broker/webhooks/")
    async with trading(replicas.second, broker):
        assert await url_of(broker, after=2) == url
    started_later = configured(replicas.database_url, broker.url, PUBLIC, **SETTINGS)
    async with serving(started_later) as restarted, trading(restarted, broker):
        assert await url_of(broker, after=3) == url
    assert "unsubscribe" not in [each["call"] for each in broker.received()]


async def test_an_address_is_one_users_alone_and_nobody_guesses_it(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.add_investor(OTHER)
    async with trading(replicas.first, broker, OTHER):
        tokens = [token_of(await url_of(broker, user)) for user in ("AB1234", OTHER)]
    keys = [base64.urlsafe_b64decode(f"{token}==") for token in tokens]
    assert all(len(key) >= 16 for key in keys)  # 128 bits
    assert sum(one != other for one, other in zip(*keys, strict=True)) > len(keys[0]) // 2


@pytest.mark.usefixtures("_log_as_before")
async def test_no_token_is_kept_logged_or_told(
    replicas: Replicas, broker: SimulatedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    configure_logging(level="DEBUG", log_format="json")
    async with trading(replicas.first, broker) as asha:
        url = await url_of(broker)
        token = token_of(url)
        for name in (token, f"{token}x"):
            assert (await asha.post(f"/broker/webhooks/{name}", json={"norenordno": "1"})).status_code == 200
        broker.break_call("subscribe", "reset", times=1)
        await asha.sign_in(broker)
        await received(broker, "subscribe", 2)
        told = await scraped(configured(replicas.database_url, broker.url))
        assert 'partner_webhook_posts_total{outcome="taken"}' in told
        tables = await replicas.store.rows.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        stored = [row[0] for [table] in tables for row in await _texts(replicas.store, table)]
        broker.break_call("unsubscribe", "notOk")
        assert (await asha.delete("/v1/sessions")).status_code == 204
    lines = capsys.readouterr().out.splitlines()
    written = "\n".join(each for each in lines if '"logger": "httpx"' not in each)  # this test's own client
    assert '"route": "/broker/webhooks/{token}"' in written
    digest = base64.urlsafe_b64decode(f"{token}==").hex()
    for text in (written, told, *stored):
        assert token not in text
        assert digest not in text.lower()


async def _texts(store: Store, table: str) -> list[Any]:
    found: list[Any] = await store.rows.fetch(f"SELECT whole::text FROM {table} AS whole")
    return found


async def test_log_out_everywhere_ends_it_while_the_token_lives(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    url = await url_of(broker)
    assert (await asha.delete("/v1/sessions")).status_code == 204
    assert broker.subscriptions() == []
    subscribed, unsubscribed = [each for each in broker.received() if "subscribe" in each["call"]]
    assert broker.received()[-1] == unsubscribed
    assert unsubscribed["body"] == subscribed["body"] == {"callbackUrl": url}
    assert unsubscribed["headers"]["authorization"] == subscribed["headers"]["authorization"]
    assert await replicas.store.rows.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_log_out_everywhere_ends_a_subscription_that_is_just_being_made(
    replicas: Replicas, broker: SimulatedBroker
) -> None:
    broker.break_call("subscribe", "slow", seconds=0.5)
    async with trading(replicas.first, broker) as asha:
        await received(broker, "subscribe")
        assert (await asha.delete("/v1/sessions")).status_code == 204
        ends_at = monotonic() + 3  # what is under way takes half a second more

        async def is_ended() -> bool:
            return bool(monotonic() > ends_at or broker.received("unsubscribe")[1:])

        await until(is_ended)
    assert broker.subscriptions() == []


async def test_a_plain_log_out_keeps_it(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    url = await url_of(broker)
    assert (await asha.delete("/v1/session")).status_code == 204
    async with trading(replicas.second, broker):
        assert await url_of(broker, after=2) == url
    assert broker.received("unsubscribe") == []


@pytest.mark.parametrize("fault", ["notOk", "hanging", "reset", "dead401Text", "dead401Json", "dead403", "html200"])
async def test_a_subscription_that_fails_harms_nothing(replicas: Replicas, broker: SimulatedBroker, fault: str) -> None:
    broker.break_call("subscribe", fault)
    async with trading(replicas.first, broker) as asha:
        await received(broker, "subscribe")
        for _ in range(3):
            assert (await asha.get("/v1/funds")).status_code == 200
        assert (await asha.get("/v1/session")).json()["broker"]["connected"] is True
        assert (await asha.get("/v1/orders")).status_code == 200
        await look_is_had(replicas.store)
        broker.mend()
        await asha.sign_in(broker)
        await url_of(broker, after=2)
        await subscribed(broker)
    assert await replicas.store.rows.fetchval("SELECT count(*) FROM broker_sessions WHERE ended_reason IS NOT NULL"
                                              " AND ended_reason <> 'replaced'") == 0  # fmt: skip


async def look_is_had(store: Store, user: str = "AB1234") -> None:
    """Make a user's look due, as time would, and return when it has been had."""
    await store.rows.execute("UPDATE book_looks SET next_look_at = now(), looked_at = NULL WHERE user_id = $1", user)

    async def is_had() -> bool:
        return bool(await store.rows.fetchval("SELECT looked_at FROM book_looks WHERE user_id = $1", user))

    await until(is_had)


@pytest.mark.parametrize("fault", ["notOk", "hanging", "dead401Json", "reset"])
async def test_a_broker_that_keeps_posting_holds_up_no_log_out(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    await url_of(broker)
    broker.break_call("unsubscribe", fault)
    began_at = monotonic()
    assert (await asha.delete("/v1/sessions")).status_code == 204
    assert monotonic() - began_at < 2 + 3  # the two that it is given, and a slow machine
    assert (await asha.get("/v1/session")).status_code == 401
    assert await replicas.store.rows.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_without_webhooks_nothing_is_subscribed(replicas: Replicas, broker: SimulatedBroker) -> None:
    settings = configured(replicas.database_url, broker.url, PUBLIC, **SETTINGS | {"order_webhooks": False})
    async with serving(settings) as service, trading(service, broker) as asha:
        assert (await asha.get("/v1/orders")).status_code == 200
        await look_is_had(replicas.store)
        assert (await asha.delete("/v1/sessions")).status_code == 204
    assert not [each for each in broker.received() if "subscribe" in each["call"]]
    assert await replicas.store.rows.fetchval("SELECT count(*) FROM webhooks") == 0


def with_newer_key(replicas: Replicas, broker: SimulatedBroker) -> Any:
    """Serve with a ring that was rotated."""
    ring = f"{NEWER_KEY},{KEY}"
    return serving(configured(replicas.database_url, broker.url, PUBLIC, **SETTINGS, encryption_keys=ring))


async def test_after_a_rotation_the_next_sign_in_moves_to_the_new_address(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    former = await url_of(broker)
    await subscribed(broker)
    async with with_newer_key(replicas, broker) as service:
        await _signed_in_again(service, broker)
        await received(broker, "unsubscribe")
        url = await url_of(broker, after=2)
    calls = [(each["call"], each["body"]["callbackUrl"]) for each in broker.received() if "subscribe" in each["call"]]
    assert calls == [("subscribe", former), ("subscribe", url), ("unsubscribe", former)]


async def test_after_a_rotation_the_former_address_is_given_up_even_if_the_new_one_was_refused_first(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """Else it stays at the broker for good, one of the five that a user may have."""
    former = await url_of(broker)
    await subscribed(broker)
    async with with_newer_key(replicas, broker) as service:
        broker.break_call("subscribe", "notOk")
        await _signed_in_again(service, broker)
        await urls_of(broker, after=2)
        broker.mend()
        await _signed_in_again(service, broker)
        await urls_of(broker, after=3)
        await subscribed(broker)

        async def is_given_up() -> bool:
            return former not in [each["callbackUrl"] for each in broker.subscriptions("AB1234")]

        await until(is_given_up, within=3)


async def _signed_in_again(service: Service, broker: SimulatedBroker) -> None:
    async with trading(service, broker):
        pass


async def test_a_subscription_counts_among_the_users_calls(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await url_of(broker)
    await subscribed(broker)
    assert (await asha.delete("/v1/sessions")).status_code == 204
    counted = await replicas.store.rows.fetchval(
        "SELECT count(*) FROM rate_permits WHERE key = 'user:AB1234:non-trading'"
    )
    his = [each["call"] for each in broker.received() if each["call"] != "exchange"]
    assert sorted(his) == ["profile", "subscribe", "unsubscribe"]
    assert counted == len(his)
