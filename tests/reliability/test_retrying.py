"""A read is asked once more where that can help: soon, by a permit of its own, within the same deadline, and rarely."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from typing_extensions import override

from app import measures
from app.broker.errors import BrokerSessionDead
from app.broker.gateway import Gateway
from app.broker.paths import Paths
from app.broker.transport import Transport
from app.clock import monotonic
from app.limits import Demand, Permit, Urgency
from app.problems import (
    BrokerFault,
    BrokerRateLimited,
    BrokerTimeout,
    BrokerUnavailable,
    Problem,
    RateLimited,
    TemporarilyUnavailable,
)
from app.trading import Outcome
from tests.support.meters import BEARER, Granting, clearance
from tests.support.scripted import AWAY, FUNDS, MANNER, Answer, Script, breaks, hangs, late, says, talking, trickles
from workbench.children import free_port

URGENT, IDLE = replace(BEARER, urgency=Urgency.URGENT), replace(BEARER, urgency=Urgency.IDLE)


@pytest.mark.parametrize("first", [breaks, says(502), says(503), says(504)])
async def test_a_read_that_met_nobody_is_asked_once_more_with_a_permit_of_its_own(first: Answer) -> None:
    script, meter = Script(first, FUNDS), Granting()
    async with talking(script, meter) as gateway:
        assert (await gateway.funds(BEARER)).available_margin == Decimal(1)
    assert (len(script.asked), len(meter.taken)) == (2, 2)


async def test_it_is_asked_no_third_time() -> None:
    script = Script(AWAY)
    async with talking(script, Granting()) as gateway:
        with pytest.raises(BrokerUnavailable):
            await gateway.funds(BEARER)
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(hangs, BrokerTimeout), (says(500), BrokerFault), (says(200, b"<html>", "Content-Type: text/html"), BrokerFault),
     (says(503, b"", "Retry-After: 7"), BrokerUnavailable)],
)  # fmt: skip
async def test_what_would_be_no_better_the_second_time_is_not_asked_again(
    answer: Answer, expected: type[Problem]
) -> None:
    script = Script(answer)
    async with talking(script, Granting(), read_deadline=timedelta(seconds=0.5)) as gateway:
        with pytest.raises(expected):
            await gateway.funds(BEARER)
    assert len(script.asked) == 1


async def test_a_broker_that_says_when_it_is_back_is_quoted() -> None:
    async with talking(Script(says(503, b"", "Retry-After: 7")), Granting()) as gateway:
        with pytest.raises(BrokerUnavailable) as refusal:
            await gateway.funds(BEARER)
    assert refusal.value.headers == {"Retry-After": "7"}


async def test_a_poll_that_nobody_waits_for_is_not_asked_again_and_an_urgent_look_is() -> None:
    for bearer, times in ((IDLE, 1), (URGENT, 2)):
        script = Script(AWAY)
        async with talking(script, Granting()) as gateway:
            with pytest.raises(BrokerUnavailable):
                await gateway.order_book(bearer)
        assert len(script.asked) == times


async def test_neither_a_code_nor_an_order_nor_an_address_for_posts_is_ever_sent_again() -> None:
    script = Script(AWAY)
    async with talking(script, Granting(), breaker_failures=1) as gateway:
        with pytest.raises(BrokerUnavailable):
            await gateway.exchange("AB1234", "CODE")
        verdicts = [await gateway.cancel(clearance(monotonic() + 5), "23111500003840") for _ in range(3)]
        with pytest.raises(BrokerUnavailable):
            await gateway.subscribe(BEARER, SecretStr("https://partner.example/hook"))
    assert {each.outcome for each in verdicts} == {Outcome.UNKNOWN}
    assert len(script.asked) == 1 + len(verdicts) + 1, "no breaker stood before the later cancels either"


async def test_a_broker_that_stays_away_gets_a_tenth_more_and_a_few() -> None:
    script = Script(AWAY)
    reads = 60
    async with talking(script, Granting(), breaker_failures=0) as gateway:
        for _ in range(reads):
            with pytest.raises(BrokerUnavailable):
                await gateway.funds(BEARER)
    assert reads + 10 <= len(script.asked) <= reads * 1.1 + 10


async def test_where_there_is_no_permit_for_the_second_try_the_failure_of_the_first_is_told() -> None:
    class Stingy(Granting):
        """Grants one call."""

        @override
        async def take(self, demand: Demand) -> Permit:
            self.refusal = RateLimited(5.0, []) if self.taken else None
            return await super().take(demand)

    script = Script(AWAY)
    async with talking(script, Stingy()) as gateway:
        with pytest.raises(BrokerUnavailable):
            await gateway.funds(BEARER)
    assert len(script.asked) == 1


async def test_a_broker_that_trickles_is_left_when_the_deadline_is_over() -> None:
    await times_out(Script(trickles))


async def test_a_second_try_stays_within_the_same_deadline() -> None:
    script = Script(late(AWAY, 0.4), trickles)
    await times_out(script)
    assert len(script.asked) == 2


async def times_out(script: Script) -> None:
    async with talking(script, Granting(), read_deadline=timedelta(seconds=3)) as gateway:
        began_at = monotonic()
        with pytest.raises(BrokerTimeout):
            await gateway.funds(BEARER)
        took = monotonic() - began_at
    assert 2.9 < took < 3.6


async def test_an_order_call_that_trickles_is_unknown_when_its_deadline_is_over() -> None:
    async with talking(Script(trickles), Granting(), order_deadline=timedelta(seconds=1.5)) as gateway:
        began_at = monotonic()
        verdict = await gateway.cancel(clearance(began_at + 5), "23111500003840")
        took = monotonic() - began_at
    assert (verdict.outcome, verdict.reason) == (Outcome.UNKNOWN, "broker-timeout")
    assert 1.4 < took < 2.4


async def test_an_open_breaker_spends_no_permit_and_lets_an_urgent_look_pass() -> None:
    script, meter = Script(says(500), says(500), FUNDS), Granting()
    async with talking(script, meter, breaker_failures=2) as gateway:
        for _ in range(2):
            with pytest.raises(BrokerFault):
                await gateway.funds(BEARER)
        await is_refused(gateway, meter)
        await gateway.funds(URGENT)
        await gateway.funds(BEARER)
    assert len(meter.taken) == len(script.asked) == 4


async def test_a_breaker_that_the_first_try_has_opened_costs_no_retry() -> None:
    retried = measures.ALL.standing()["partner_broker_reads_retried_total"]
    script, others = Script(AWAY), [replace(BEARER, user_id=f"U{number}") for number in range(12)]
    async with talking(script, Granting(), breaker_failures=1) as gateway:
        for bearer in others:  # more than a budget that is spent in vain would bear
            with pytest.raises(BrokerUnavailable) as refusal:
                await gateway.funds(bearer)
            assert "Retry-After" not in refusal.value.headers
    assert len(script.asked) == len(others)
    assert measures.ALL.standing()["partner_broker_reads_retried_total"] == retried


async def is_refused(gateway: Gateway, meter: Granting) -> None:
    spent = len(meter.taken)
    with pytest.raises(BrokerUnavailable) as refusal:
        await gateway.funds(BEARER)
    assert refusal.value.headers["Retry-After"] in {"1", "2"}, "a second, spread by a quarter"
    assert len(meter.taken) == spent


@pytest.mark.parametrize(
    "answer",
    [says(401), says(403), says(404), says(429), says(200, b'{"status":"Not ok","message":"no such thing"}')],
)
async def test_what_an_investor_or_a_limit_brings_about_opens_nothing(answer: Answer) -> None:
    script = Script(answer)
    async with talking(script, Granting(), breaker_failures=1) as gateway:
        for _ in range(3):
            with pytest.raises((BrokerSessionDead, BrokerFault, BrokerRateLimited)):
                await gateway.holdings(BEARER)
    assert len(script.asked) >= 3


async def test_an_order_that_we_kept_back_ourselves_says_nothing_of_the_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script, meter = Script(FUNDS), Granting()
    meter.refusal = TemporarilyUnavailable()
    async with talking(script, meter, breaker_failures=1) as gateway:
        for leave in (clearance(monotonic() + 5, age=1.0), clearance(monotonic() - 1)):  # no new permit; too late
            verdict = await gateway.cancel(leave, "23111500003840")
            assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, "not-sent")
    assert script.asked == []
    assert "broker_orders_failing" not in caplog.text


async def test_an_order_that_found_no_connection_tells_of_the_broker(caplog: pytest.LogCaptureFixture) -> None:
    meter = Granting()
    transport = Transport.open(f"http://127.0.0.1:{free_port()}/", timedelta(seconds=1), meter)
    manner = replace(MANNER, breaker_failures=1)
    verdict = await Gateway(transport, Paths(("one",), {}), SecretStr("secret"), manner, meter).cancel(
        clearance(monotonic() + 5), "23111500003840"
    )
    await transport.aclose()
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, "not-sent")
    assert "broker_orders_failing" in caplog.text
