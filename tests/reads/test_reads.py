"""What the frontend reads, from the broker's wire to our JSON, and how each failure is told."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import ORDER
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

READS = {
    "profile": "/v1/profile",
    "funds": "/v1/funds",
    "holdings": "/v1/holdings",
    "positions": "/v1/positions",
    "orderBook": "/v1/orders",
    "tradeBook": "/v1/trades",
}
DEAD = [
    "dead401Text", "dead401Json", "dead401List", "dead401Empty", "dead200Unauthorized",
    "dead200InvalidSession", "dead200SessionExpired", "deadEc087Status", "deadEc087Message",
]  # fmt: skip


async def test_funds(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        answer = await browser.get("/v1/funds")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "availableMargin": "21030.5", "openingBalance": "25000.5", "marginUsed": "3970.0", "payin": "0.0",
        "payout": "0.0", "collateral": "0.0", "holdingSellCredit": "0.0", "brokerage": "0.0", "exposure": "0.0",
        "span": "0.0", "premium": "0.0", "unclearedCash": "0.0",
    }  # fmt: skip


async def test_a_negative_balance_is_negative(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker, "NEG0042") as browser:
        assert (await browser.get("/v1/funds")).json()["openingBalance"] == "-304.0"


async def test_a_profile_is_masked(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        profile = (await browser.get("/v1/profile")).json()
    assert profile == {
        "id": "AB1234", "accountId": "AB1234", "name": "Asha Menon", "status": "Activated", "exchanges": ["NSE", "BSE"],
        "products": ["CNC", "NRML", "MIS", "CO", "BO"], "email": "a******@mail.example", "mobile": "******10",
        "pan": "******4K", "depositoryAccounts": ["******5678"],
    }  # fmt: skip


async def test_lists_say_when_the_broker_was_asked(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        for call, name in (
            ("holdings", "holdings"),
            ("positions", "positions"),
            ("orders", "orders"),
            ("trades", "trades"),
        ):
            answer = (await browser.get(f"/v1/{call}")).json()
            assert set(answer) == {name, "asOf"}
            assert answer["asOf"].endswith("Z")
            assert answer[name]


async def test_positions_with_nan_blanks_and_nulls(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker, "FO5678") as browser:
        text = (await browser.get("/v1/positions")).text
    assert "NaN" not in text
    positions = json.loads(text)["positions"]
    assert [(each["product"], each["netQuantity"]) for each in positions] == [("NRML", -150), ("NRML", -2), ("MIS", 0)]
    assert positions[2]["lastPrice"] is None
    assert positions[2]["unrealizedPnl"] is None


async def test_an_empty_account_is_empty(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker, "EMPTY01") as browser:
        for name in ("holdings", "positions", "orders", "trades"):
            assert (await browser.get(f"/v1/{name}")).json()[name] == []


async def test_an_order_with_its_history(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        listed = (await browser.get("/v1/orders")).json()["orders"]
        order = (await browser.get(f"/v1/orders/{listed[0]['orderNo']}")).json()
    assert {name: order[name] for name in listed[0]} == listed[0]
    assert (order["status"], order["filledQuantity"], order["pendingQuantity"]) == ("OPEN", 40, 60)
    assert [state["status"] for state in order["history"]] == ["OPEN", "ACCEPTED"]
    assert broker.received("orderHistory")[0]["body"] == {"orderNo": order["orderNo"], "userId": "AB1234"}


async def test_somebody_elses_order_is_not_found_and_not_asked_for(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as owner, signed_in(service, broker, "FO5678") as other:
        order_no = (await owner.get("/v1/orders")).json()["orders"][1]["orderNo"]
        answer = await other.get(f"/v1/orders/{order_no}")
        assert (answer.status_code, slug(answer)) == (404, "not-found")
        assert slug(await owner.get("/v1/orders/99999999999999")) == "not-found"
    assert broker.received("orderHistory") == []


@pytest.mark.parametrize("order_no", ["%00", "a" * 40, "1;2", "%E2%82%B9"])
async def test_what_is_no_order_number_is_refused_with_a_pointer(
    service: Service, broker: SimulatedBroker, order_no: str
) -> None:
    async with signed_in(service, broker) as browser:
        answer = await browser.get(f"/v1/orders/{order_no}")
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "/path/orderNo"


@pytest.mark.parametrize(
    ("call", "shape"),
    [("holdings", "2023"), ("orderBook", "2023"), ("orderBook", "upperCaseKeys"),
     *((call, "listOfEnvelopes") for call in READS)],
)  # fmt: skip
async def test_every_shape_of_the_same_thing_reads_the_same(
    service: Service, broker: SimulatedBroker, call: str, shape: str
) -> None:
    async with signed_in(service, broker) as browser:
        usual = (await browser.get(READS[call])).json()
        broker.shape_call(call, shape)
        shaped = (await browser.get(READS[call])).json()
    for answer in (usual, shaped):
        answer.pop("asOf", None)
        for holding in answer.get("holdings", []):
            holding.pop("product")  # the old shape has none
    assert shaped == usual


@pytest.mark.parametrize("shape", ["rowWithoutOrderNo", "object"])
async def test_an_odd_book_is_still_read(service: Service, broker: SimulatedBroker, shape: str) -> None:
    broker.shape_call("orderBook", shape)
    async with signed_in(service, broker) as browser:
        orders = (await browser.get("/v1/orders")).json()["orders"]
    assert len(orders) == (6 if shape == "rowWithoutOrderNo" else 1)
    assert [each["orderNo"] for each in orders].count(None) == (1 if shape == "rowWithoutOrderNo" else 0)


@pytest.mark.parametrize("fault", DEAD)
@pytest.mark.parametrize("call", ["orderBook", "holdings"])
async def test_a_dead_session_is_told_once_and_then_the_broker_is_left_alone(
    service: Service, broker: SimulatedBroker, call: str, fault: str
) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call(call, fault)
        for path in (READS[call], *READS.values()):
            answer = await browser.get(path)
            assert (answer.status_code, slug(answer)) == (401, "broker-session-expired")
            assert answer.json()["loginUrl"] == f"{service.url}/sso/login"
        asked = [each["call"] for each in broker.received() if each["call"] not in {"exchange", "profile"}]
        assert asked == [call]
        session = (await browser.get("/v1/session")).json()
        assert (session["broker"]["connected"], session["broker"]["reason"]) == (False, "refused-by-broker")
        broker.mend()
        await browser.sign_in(broker)
        assert (await browser.get(READS[call])).status_code == 200


async def overtaken_read(phone: Browser, desk: Browser, broker: SimulatedBroker) -> asyncio.Task[httpx.Response]:
    """Begin a slow read on one device, and sign in on another before the broker answers it."""
    broker.break_call("funds", "slow", times=1, seconds=0.6)
    late = asyncio.create_task(phone.get("/v1/funds"))
    while not broker.received("funds"):  # noqa: ASYNC110  # what we wait for happens in another process
        await asyncio.sleep(0.02)
    await desk.sign_in(broker)
    return late


async def test_a_newer_sign_in_repairs_a_read_that_was_under_way(service: Service, broker: SimulatedBroker) -> None:
    """The old token is refused late; the newer one, of another device, is used once and nothing is ended."""
    async with signed_in(service, broker) as phone, Browser(service) as desk:
        late = await overtaken_read(phone, desk, broker)
        assert (await late).status_code == 200
        assert len(broker.received("funds")) == 2
        assert (await phone.get("/v1/session")).json()["broker"]["connected"] is True


async def test_a_token_that_the_broker_forgot_is_a_dead_session(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        broker.expire()
        assert slug(await browser.get("/v1/holdings")) == "broker-session-expired"


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("http500", 502, "broker-fault"), ("html200", 502, "broker-fault"), ("empty200", 502, "broker-fault"),
        ("emptyList", 502, "broker-fault"), ("null200", 502, "broker-fault"), ("truncatedJson", 502, "broker-fault"),
        ("huge", 502, "broker-fault"), ("redirect302", 502, "broker-fault"), ("notOk", 502, "broker-fault"),
        ("not_ok", 502, "broker-fault"), ("Not_Ok", 502, "broker-fault"), ("error", 502, "broker-fault"),
        ("docsGeneric", 502, "broker-fault"), ("http502", 503, "broker-unavailable"), ("http404", 502, "broker-fault"),
        ("http405", 502, "broker-fault"), ("http503", 503, "broker-unavailable"), ("reset", 503, "broker-unavailable"),
        ("http429", 503, "broker-rate-limited"), ("limitText", 503, "broker-rate-limited"),
        ("hanging", 504, "broker-timeout"), ("drip", 504, "broker-timeout"),
    ],
)  # fmt: skip
async def test_every_fault_of_the_broker_is_told_as_a_problem(
    service: Service, broker: SimulatedBroker, fault: str, status: int, kind: str
) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call("positions", fault)
        answer = await browser.get("/v1/positions", headers={"Accept": "text/html"})
        assert (answer.status_code, slug(answer)) == (status, kind)
        assert "<" not in answer.text
        broker.mend()
        is_paused = kind == "broker-rate-limited"
        assert (await browser.get("/v1/positions")).status_code == (503 if is_paused else 200)


async def test_the_brokers_limit_says_how_long_to_wait(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call("funds", "http429", seconds=7)
        assert (await browser.get("/v1/funds")).headers["retry-after"] == "7"


@pytest.mark.parametrize("call", ["okWithoutResult", "okNullResult"])
async def test_an_ok_without_funds_is_a_fault(service: Service, broker: SimulatedBroker, call: str) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call("funds", call)
        assert slug(await browser.get("/v1/funds")) == "broker-fault"


async def test_another_path_of_a_read_is_tried_and_remembered(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call("tradeBook", "http404", times=1)
        assert (await browser.get("/v1/trades")).status_code == 200
        await browser.get("/v1/trades")
        paths = [each["path"] for each in broker.received("tradeBook")]
    assert paths == ["/od-rest/info/tradebook", "/od-rest/api/info/tradebook", "/od-rest/api/info/tradebook"]


async def test_the_token_goes_to_the_broker_and_nowhere_else(service: Service, broker: SimulatedBroker) -> None:
    answers: list[httpx.Response] = []
    async with Browser(service) as browser:
        browser.event_hooks["response"] = [_read_into(answers)]
        await browser.sign_in(broker)
        for path in (*READS.values(), "/v1/session"):
            await browser.get(path)
    tokens = {each["headers"]["authorization"] for each in broker.received("funds")}
    assert len(tokens) == 1
    token = tokens.pop().removeprefix("Bearer ")
    assert len(token) > 1000
    seen = "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert token not in seen


async def test_nobody_reads_without_a_session(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        for path in (*READS.values(), "/v1/session", "/v1/orders/1"):
            answer = await browser.get(path)
            assert (answer.status_code, slug(answer)) == (401, "not-signed-in")
            assert answer.json()["loginUrl"] == f"{service.url}/sso/login"
    assert broker.received() == []


def _read_into(answers: list[httpx.Response]) -> Any:
    async def read(answer: httpx.Response) -> None:
        await answer.aread()
        answers.append(answer)

    return read


async def test_a_second_refusal_after_a_newer_sign_in_ends_that_one_too(
    service: Service, broker: SimulatedBroker
) -> None:
    async with signed_in(service, broker) as phone, Browser(service) as desk:
        late = await overtaken_read(phone, desk, broker)
        broker.break_call("funds", "dead401Text")
        assert slug(await late) == "broker-session-expired"
        assert len(broker.received("funds")) == 2
        assert (await phone.get("/v1/session")).json()["broker"]["connected"] is False


async def test_a_broker_without_any_path_of_a_call_is_at_fault(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        broker.break_call("funds", "http404")
        answer = await browser.get("/v1/funds")
    assert (answer.status_code, slug(answer)) == (502, "broker-fault")
    assert "none of the paths" in answer.json()["detail"]


async def test_a_margin_that_the_broker_refuses_is_told_in_its_own_words(
    service: Service, broker: SimulatedBroker
) -> None:
    async with signed_in(service, broker) as browser:
        answer = await browser.post("/v1/orders/margin", json=ORDER | {"quantity": 1_000_000_000})
    assert (answer.status_code, slug(answer)) == (422, "order-refused")
    assert answer.json()["reason"] == "Invalid qty"
    assert "placementId" not in answer.json()


async def test_the_profile_of_somebody_else_is_shown_to_nobody(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        for statement in (
            "INSERT INTO users SELECT 'ZZ9999', NULL, NULL, exchanges, products, created_at, signed_in_at FROM users",
            "UPDATE sessions SET user_id = 'ZZ9999'", "UPDATE broker_sessions SET user_id = 'ZZ9999'",
        ):  # fmt: skip
            await rows.execute(statement)
        answer = await browser.get("/v1/profile")
    assert (answer.status_code, slug(answer)) == (502, "broker-fault")
    assert "Asha" not in answer.text
