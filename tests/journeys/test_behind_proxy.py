"""Two replicas of the real command behind the shipped nginx: one service to whoever calls, whatever becomes of one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.clock import monotonic
from app.settings import Settings
from tests.conftest import create_clone
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.proxied import need_nginx, proxied
from tests.support.replicas import ORDER, fresh_key, received, trading, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker
from tests.support.streams import listening
from workbench.children import Child, backend, free_port


@dataclass
class Deployment:
    """The proxy, and the replicas behind it."""

    service: Service
    replicas: tuple[Child, Child]
    access_log: Path

    def served_by(self) -> set[str]:
        """Return the addresses of the replicas that have answered."""
        lines = self.access_log.read_text("utf-8").splitlines()
        return {json.loads(line)["replica"].rpartition(", ")[2] for line in lines}


def _settings(url: str, broker: SimulatedBroker, public: str) -> Settings:
    return configured(url, f"{broker.url}/", public)


@pytest.fixture
async def deployment(
    broker: SimulatedBroker, worker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Deployment]:
    need_nginx()
    url = await create_clone(f"proxy_{worker}_{abs(hash(request.node.name))}")
    port, ports = free_port(), [free_port(), free_port()]
    public = f"http://127.0.0.1:{port}"
    given = environment(
        url, f"{broker.url}/", public, TRUSTED_PROXIES="127.0.0.0/8", ORDER_STREAM_HEARTBEAT="0.5",
        BROKER_ORDER_DEADLINE="8", ORDER_WEBHOOKS="false",
    )  # fmt: skip
    replicas = [backend(each, environment=given, log=tmp_path / f"{each}.log") for each in ports]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(asyncio.to_thread(each.start) for each in replicas))
        for each in replicas:
            stack.push_async_callback(asyncio.to_thread, each.stop)
        stack.enter_context(proxied(tmp_path / "nginx", ports, port))
        broker.return_to(f"{public}/sso/callback")
        service = Service(public, _settings(url, broker, public))
        yield Deployment(service, (replicas[0], replicas[1]), tmp_path / "nginx" / "access.log")


async def test_a_sign_in_an_order_and_its_updates_over_both_replicas(
    deployment: Deployment, broker: SimulatedBroker
) -> None:
    async with trading(deployment.service, broker) as trader:
        trader.headers["Origin"] = deployment.service.url
        for _ in range(8):
            assert (await trader.get("/v1/session")).status_code == 200
        async with listening(trader) as stream:
            assert stream.answer.headers["content-type"].startswith("text/event-stream")
            began_at = monotonic()
            await stream.beaten(2)  # a comment each half second: a proxy that buffers keeps them
            await trader.placed()
            await stream.until(1)
            assert monotonic() - began_at < 8
        devices = (await trader.get("/v1/sessions")).json()["sessions"]
        assert [each["addressPrefix"] for each in devices] == ["127.0.0.0/24"]
    assert len(await asyncio.to_thread(deployment.served_by)) == 2


async def test_an_order_whose_replica_dies_is_not_sent_by_the_other_one(
    deployment: Deployment, broker: SimulatedBroker
) -> None:
    first, second = deployment.replicas
    async with trading(deployment.service, broker) as trader:
        trader.headers["Origin"] = deployment.service.url
        broker.break_call("place", "hanging", times=1, after=True)
        await asyncio.to_thread(second.stop)  # so that it is certain who has the order
        key = fresh_key()
        sending = asyncio.create_task(trader.act("POST", "/v1/orders", ORDER, key))
        await received(broker, "place")
        await asyncio.to_thread(second.start)
        await asyncio.to_thread(first.kill)
        answer = await sending
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/temporarily-unavailable")

        async def is_known() -> bool:
            again = await trader.act("POST", "/v1/orders", ORDER, key)
            return again.status_code == 201 and again.headers["idempotency-replayed"] == "true"

        await until(is_known, within=40)
        assert len(broker.received("place")) == 1
        assert len(broker.taken("AB1234")) == 1


async def test_nobody_notices_a_replica_that_is_told_to_end(deployment: Deployment, broker: SimulatedBroker) -> None:
    first, second = deployment.replicas
    async with trading(deployment.service, broker) as trader:
        trader.headers["Origin"] = deployment.service.url
        async with listening(trader) as stream:
            ending = asyncio.create_task(asyncio.to_thread(first.stop))
            statuses: list[int] = []
            while not ending.done() or len(statuses) < 20:
                statuses.append((await trader.get("/v1/session")).status_code)
                assert len(statuses) < 3000
            await trader.placed()
            if stream.is_over:
                assert stream.reason == "reconnect"
        assert set(statuses) == {200}
        broker.break_call("place", "slow", times=1)
        sending = asyncio.create_task(trader.place())
        await received(broker, "place", 2)
        await asyncio.to_thread(second.stop)
        assert (await sending).status_code == 201  # it ended no earlier than what it had begun
