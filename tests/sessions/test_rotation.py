"""A change of keys on two replicas that are deployed one after the other: nobody who calls meanwhile is refused."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.conftest import create_clone
from tests.support.commands import refused, said
from tests.support.configured import KEY, configured
from tests.support.environment import environment
from tests.support.investor import Browser
from tests.support.ledgers import SECRETS
from tests.support.processes import Process
from tests.support.replicas import PUBLIC, Trader, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

OLD = KEY
NEW = f"k2:{base64.b64encode(SECRETS['k2']).decode()}"
PATHS = ("/v1/funds", "/v1/session")


class Deployment:
    """Two replicas behind one address, as a load balancer sees them: one that is to end gets no further call."""

    def __init__(self, database_url: str, broker: SimulatedBroker, folder: Path) -> None:
        self._database_url = database_url
        self._broker = broker
        self._folder = folder
        self._all: list[Process] = []
        self.serving: list[Process] = []
        self.ring = ""

    def take_out(self) -> Process:
        """Send no further call to the older one of the two."""
        return self.serving.pop(0)

    async def replace(self, leaving: Process, ring: str) -> Service:
        """Put a replica with this ring in the place of one that was taken out and has nothing more to answer."""
        leaving.ask_to_end()

        async def is_gone() -> bool:
            try:
                async with httpx.AsyncClient(base_url=leaving.service.url) as client:
                    await client.get("/healthz")
            except httpx.TransportError:
                return True
            return False

        await until(is_gone)
        return await self.add(ring)

    async def add(self, ring: str) -> Service:
        settings = configured(self._database_url, self._broker.url, PUBLIC, encryption_keys=ring)
        replica = Process(settings, self._folder / f"replica-{len(self._all)}.log")
        self._all.append(replica)
        await replica.start()
        self.serving.append(replica)
        self.ring = ring
        return replica.service

    async def partner(self, *arguments: str, ring: str | None = None) -> str:
        """Type a command with the ring that was deployed last, or with another one."""
        given = environment(self._database_url, self._broker.url, PUBLIC, ENCRYPTION_KEYS=ring or self.ring)
        return await said(*arguments, given=given)

    def logged(self) -> str:
        return "".join(each.written() for each in self._all)

    def close(self) -> None:
        for each in self._all:
            each.kill()


class Calling:
    """What was answered to somebody who never stops to call, at each replica in turn."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int, str]] = []
        self.is_over = False

    async def run(self, deployment: Deployment, browser: Browser) -> None:
        number = 0
        while not self.is_over:
            replica = deployment.serving[number % len(deployment.serving)]
            path = PATHS[number // 2 % len(PATHS)]
            answer = await browser.get(f"{replica.service.url}{path}")
            is_connected = path != "/v1/session" or answer.json()["broker"]["connected"]
            self.answers.append((f"{replica.service.url}{path}", answer.status_code, "" if is_connected else "cut off"))
            number += 1

    @property
    def refused(self) -> list[tuple[str, int, str]]:
        return [each for each in self.answers if each[1] != 200 or each[2]]

    async def goes_on(self) -> None:
        """Return when the call under way and four more have been answered: each path at each replica."""
        so_far = len(self.answers)

        async def has_gone_on() -> bool:
            return len(self.answers) >= so_far + 5

        await until(has_gone_on)


@pytest.fixture
async def rotation_url(worker: str) -> str:
    return await create_clone(f"rotation_{worker}")


@pytest.fixture
async def deployment(
    rotation_url: str, broker: SimulatedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    """Give two replicas of the old ring."""
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours
    deployment = Deployment(rotation_url, broker, tmp_path)
    try:
        await asyncio.gather(deployment.add(OLD), deployment.add(OLD))
        yield deployment
    finally:
        deployment.close()


@asynccontextmanager
async def calling(deployment: Deployment, broker: SimulatedBroker) -> AsyncIterator[Calling]:
    """Have an investor call all the time, who signed in before anything was changed."""
    calls = Calling()
    async with Trader(deployment.serving[0].service) as asha:
        assert (await asha.sign_in(broker)).status_code == 303
        running = asyncio.create_task(calls.run(deployment, asha))
        try:
            yield calls
        finally:
            calls.is_over = True
            await running


async def sign_in_across(begun_at: Service, ended_at: Service, broker: SimulatedBroker) -> None:
    """Begin a login on one replica and end it on another."""
    async with Browser(begun_at) as browser:
        assert (await browser.begin_login()).status_code == 303
        answer = await browser.get(f"{ended_at.url}/sso/callback", params=broker.code_for("FO5678"))
        assert answer.status_code == 303, answer.text
        for each in (begun_at, ended_at):
            assert (await browser.get(f"{each.url}/v1/funds")).status_code == 200


async def deploy(deployment: Deployment, calls: Calling, ring: str, broker: SimulatedBroker) -> None:
    """Put both replicas on a ring, one after the other, with sign-ins from the old to the new one and back."""
    for is_first in (True, False):
        leaving = deployment.take_out()
        await calls.goes_on()
        [stayed] = deployment.serving
        came = await deployment.replace(leaving, ring)
        if is_first:
            await sign_in_across(stayed.service, came, broker)
            await sign_in_across(came, stayed.service, broker)
        await calls.goes_on()


async def test_a_key_is_changed_on_two_replicas_without_one_refused_call(
    deployment: Deployment, broker: SimulatedBroker, rotation_url: str
) -> None:
    both = f"{NEW},{OLD}"
    async with calling(deployment, broker) as calls, AsyncExitStack() as stack:
        rows = await asyncpg.connect(rotation_url)
        stack.push_async_callback(rows.close)
        await calls.goes_on()
        await deploy(deployment, calls, f"{OLD},{NEW}", broker)
        await deploy(deployment, calls, both, broker)
        hasty = environment(rotation_url, broker.url, PUBLIC, ENCRYPTION_KEYS=NEW)
        assert "ENCRYPTION_KEYS lacks k1, by which stored tokens" in await refused("serve", "--port", "0", given=hasty)
        assert await rows.fetchval("SELECT token_key_id FROM broker_sessions WHERE user_id = 'AB1234'") == "k1"
        told = await deployment.partner("keys", "rekey", "--batch", "1")
        assert "Nothing needs k1 any more but" in told
        assert set(await rows.fetchval("SELECT array_agg(key_id) FROM ledger_heads")) == {"k2"}
        await calls.goes_on()
        await deploy(deployment, calls, NEW, broker)
    assert calls.refused == []
    assert len({url for url, _, _ in calls.answers}) == 8 * len(PATHS)
    assert (await deployment.partner("audit", "verify", ring=both)).startswith("The ledger is whole: ")
    assert "ledger_head_in_doubt" not in deployment.logged()
    assert "broker_token_unreadable" not in deployment.logged()
