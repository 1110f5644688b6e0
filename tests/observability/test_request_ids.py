"""One id from the caller through our log to the broker, and what a request cost in its one line."""

import json
from typing import Any

import pytest

from app.observability import configure_logging
from tests.support.investor import Browser
from tests.support.replicas import ORDER, fresh_key, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


def lines_of(written: str) -> list[dict[str, Any]]:
    """Return our own lines, without those of the test's client."""
    return [found for line in written.splitlines() if (found := json.loads(line))["logger"] != "httpx"]


def ids_at_broker(broker: SimulatedBroker) -> list[str]:
    """Return with which ids the funds were asked for, which nothing in the background does."""
    return [each["headers"]["x-request-id"] for each in broker.received("funds")]


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_the_callers_id_goes_through_to_the_broker_and_back(
    log_format: str, service: Service, broker: SimulatedBroker, asha: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="DEBUG", log_format=log_format)
    answer = await asha.get("/v1/funds", headers={"X-Request-ID": "desk-7.funds_1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "desk-7.funds_1")
    assert ids_at_broker(broker) == ["desk-7.funds_1"]
    written = capsys.readouterr().out
    if log_format == "console":
        assert any("request_id=desk-7.funds_1" in line and "broker_calls=1" in line for line in written.splitlines())
        return
    own = [each for each in lines_of(written) if each.get("request_id") == "desk-7.funds_1"]
    assert [each["event"] for each in own] == ["broker_answered", "request"]
    request = own[1]
    assert (request["route"], request["status"], request["broker_calls"]) == ("/v1/funds", 200, 1)
    assert 0 < request["broker_milliseconds"] < request["milliseconds"]


@pytest.mark.parametrize("given", [{}, {"X-Request-ID": "no good"}, {"X-Request-ID": "x" * 65}])
async def test_whoever_brings_no_id_is_given_one_of_his_own(
    given: dict[str, str], service: Service, broker: SimulatedBroker, asha: Browser
) -> None:
    answers = [await asha.get("/v1/funds", headers=given) for _ in range(2)]
    ids = [each.headers["x-request-id"] for each in answers]
    assert ids_at_broker(broker) == ids
    assert len(set(ids)) == 2
    assert all(len(each) >= 16 for each in ids)


async def test_a_sign_in_and_an_order_say_whose_they_are_too(
    service: Service, broker: SimulatedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="INFO", log_format="json")
    async with Browser(service) as asha:
        asha.headers["X-Request-ID"] = "first"
        assert (await asha.sign_in(broker)).status_code == 303
        asha.headers["X-Request-ID"] = "second"
        placed = await asha.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": fresh_key()})
        assert placed.status_code == 201
    by_call = {each["call"]: each["headers"]["x-request-id"] for each in broker.received()}
    assert (by_call["exchange"], by_call["place"]) == ("first", "second")
    told = {each["event"]: each["request_id"] for each in lines_of(capsys.readouterr().out) if "request_id" in each}
    assert told["signed_in"] == "first"


async def test_each_look_in_the_background_has_an_id_of_its_own(
    service: Service, broker: SimulatedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="DEBUG", log_format="json")
    looks: list[str] = []
    async with Browser(service) as asha:
        assert (await asha.sign_in(broker)).status_code == 303
        asha.headers["X-Request-ID"] = "the-callers"
        for count in (1, 2):
            terms = ORDER | {"allowDuplicate": True}
            placed = await asha.post("/v1/orders", json=terms, headers={"Idempotency-Key": fresh_key()})
            assert placed.status_code == 201

            async def was_looked(count: int = count) -> bool:
                looks[:] = [each["headers"]["x-request-id"] for each in broker.received("orderBook")]
                return len(looks) >= count

            await until(was_looked, within=30)
    assert len(set(looks)) == len(looks)
    assert "the-callers" not in looks
    answered = [each for each in lines_of(capsys.readouterr().out) if each["event"] == "broker_answered"]
    assert set(looks) <= {each["request_id"] for each in answered}
