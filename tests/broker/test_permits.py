"""No byte goes to the broker without a permit of its own that is young enough."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr

from app.broker.errors import NotSent
from app.broker.gateway import Gateway, Manner
from app.broker.paths import Paths
from app.broker.transport import Transport
from app.broker.verdicts import NOT_SENT
from app.clock import monotonic
from app.limits import Category, Demand
from app.ordering import OrderTerms
from app.problems import BrokerRateLimited, Problem, RateLimited, TemporarilyUnavailable
from app.trading import Outcome
from tests.support.lines import line_to_port
from tests.support.meters import BEARER, READ, Granting, clearance

SECOND = timedelta(seconds=1)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n{"status":"Ok","message":"","result":[]} \n'
TERMS = OrderTerms.model_validate(
    {"exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 1, "product": "CNC",
     "orderType": "LIMIT", "price": "14.10"}
)  # fmt: skip


class Peer:
    """A server that answers everything the same, and says what it heard."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests = 0
        self.port = 0

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(self._answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peer(answer: bytes = ANSWER) -> AsyncIterator[Peer]:
    speaking = Peer(answer)
    server = await asyncio.start_server(speaking.speak, "127.0.0.1", 0)
    speaking.port = server.sockets[0].getsockname()[1]
    try:
        yield speaking
    finally:
        server.close()


@asynccontextmanager
async def transport_to(port: int, meter: Granting) -> AsyncIterator[Transport]:
    transport = Transport.open(f"http://127.0.0.1:{port}/", timedelta(seconds=5), meter)
    try:
        yield transport
    finally:
        await transport.aclose()


def gateway_on(transport: Transport, meter: Granting) -> Gateway:
    manner = Manner(SECOND, SECOND, "remarks", None)
    return Gateway(transport, Paths(("exchange",), {}), SecretStr("secret"), manner, meter)


async def test_each_request_takes_one_permit() -> None:
    meter = Granting()
    async with peer() as broker, transport_to(broker.port, meter) as transport:
        for _ in range(3):
            await transport.send("GET", "x", demand=READ, deadline=SECOND)
        assert (broker.requests, meter.taken) == (3, [READ] * 3)


async def test_a_refused_request_makes_no_connection() -> None:
    meter = Granting()
    meter.refusal = RateLimited(2.0, ["non-trading-60"])
    with socket.socket() as untouched:
        untouched.bind(("127.0.0.1", 0))
        async with transport_to(untouched.getsockname()[1], meter) as transport:
            with pytest.raises(RateLimited):  # and not BrokerUnavailable: nobody listens there
                await transport.send("GET", "x", demand=READ, deadline=SECOND)


async def test_the_clients_own_second_try_takes_a_permit_of_its_own() -> None:
    """A kept connection that had died: it is asked once more, and the broker may have counted both."""
    meter, heard = Granting(), 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        try:
            for said in (ANSWER, b""):
                await reader.readuntil(b"\r\n\r\n")
                heard += 1
                writer.write(said)
                await writer.drain()
        except asyncio.IncompleteReadError:  # the client has closed it
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with transport_to(server.sockets[0].getsockname()[1], meter) as transport:
        for _ in range(2):
            await transport.send("GET", "x", demand=READ, deadline=SECOND)
    server.close()
    assert (heard, len(meter.taken)) == (3, 3)


async def test_a_permit_that_grew_old_before_there_was_a_connection_is_taken_anew() -> None:
    meter = Granting(permit_life=0.2)
    async with peer() as broker, line_to_port(broker.port) as (line, port), transport_to(port, meter) as transport:
        line.hold()
        sending = asyncio.create_task(transport.send("GET", "x", demand=READ, deadline=timedelta(seconds=5)))
        await asyncio.sleep(0.4)  # the time that is to pass, longer than the guard
        await line.open()
        assert (await sending).status == 200
    assert len(meter.taken) == 2


async def test_an_order_whose_permit_is_old_goes_out_under_a_fresh_one() -> None:
    meter = Granting()
    async with peer() as broker, transport_to(broker.port, meter) as transport:
        leave = clearance(monotonic() + 5, age=1.0)
        await transport.send_once("POST", "x", clearance=leave, deadline=SECOND, body={})
        assert (broker.requests, meter.taken) == (1, [leave.permit.demand])


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (RateLimited(1.0, ["order-1"]), "rate-limited"),
        (BrokerRateLimited(), "broker-rate-limited"),
        (TemporarilyUnavailable(), NOT_SENT),
    ],
)
async def test_an_order_that_gets_no_second_permit_is_refused_and_not_sent(refusal: Problem, reason: str) -> None:
    meter = Granting()
    meter.refusal = refusal
    async with peer() as broker, transport_to(broker.port, meter) as transport:
        verdict = await gateway_on(transport, meter).place(clearance(monotonic() + 5, age=1.0), TERMS, None)
        assert (verdict.outcome, verdict.reason, verdict.is_watched) == (Outcome.REFUSED, reason, False)
        assert broker.requests == 0


async def test_a_store_that_counts_more_slowly_than_a_permit_lasts_lets_nothing_through() -> None:
    meter = Granting(age=1.0)
    async with peer() as broker, transport_to(broker.port, meter) as transport:
        with pytest.raises(TemporarilyUnavailable):
            await transport.send("GET", "x", demand=READ, deadline=SECOND)
        leave = clearance(monotonic() + 5, age=1.0)
        with pytest.raises((TemporarilyUnavailable, NotSent)):
            await transport.send_once("POST", "x", clearance=leave, deadline=SECOND, body={})
        assert broker.requests == 0


@pytest.mark.parametrize(("header", "told"), [(b"", None), (b"Retry-After: 17\r\n", 17.0)])
async def test_the_brokers_word_about_its_limit_is_passed_on_with_whom_it_is_about(
    header: bytes, told: float | None
) -> None:
    meter = Granting()
    limited = b"HTTP/1.1 429 Too Many Requests\r\n" + header + b"Content-Length: 0\r\n\r\n"
    async with peer(limited) as broker, transport_to(broker.port, meter) as transport:
        gateway = gateway_on(transport, meter)
        with pytest.raises(BrokerRateLimited) as problem:
            await gateway.funds(BEARER)
        assert problem.value.headers == {"Retry-After": str(int(told or 5))}
        verdict = await gateway.place(clearance(monotonic() + 5), TERMS, None)
        assert verdict.reason == "broker-rate-limited"
    order = clearance(0).permit.demand
    assert meter.paused == [(Demand(Category.NON_TRADING, "AB1234"), told), (order, told)]
