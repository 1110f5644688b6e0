"""The simulator is only worth something if it answers as the broker does: held here against the recorded samples."""

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.calls import CALLS, EXCHANGE_PATHS, READS
from simulator.faults import CANNED, FAULTS
from simulator.order_switches import OrderSwitches, RejectNext
from simulator.shapes import shape_names
from tests.support.configured import API_SECRET
from tests.support.simulated import SimulatedBroker, started

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
EXCHANGE = "/am/sso/vendor/auth/getUserDetails"


def checksum(code: dict[str, str]) -> str:
    return hashlib.sha256(f"{code['userId']}{code['authCode']}{API_SECRET}".encode()).hexdigest()


def exchanged(broker: SimulatedBroker, user: str = "AB1234", path: str = EXCHANGE) -> httpx.Response:
    return httpx.post(f"{broker.url}{path}", json={"checkSum": checksum(broker.code_for(user))})


def token_of(broker: SimulatedBroker, user: str = "AB1234") -> str:
    token: str = exchanged(broker, user).json()["userSession"]
    return token


def ask(broker: SimulatedBroker, call: str, token: str, **body: str) -> httpx.Response:
    method, paths = READS[call]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, f"{broker.url}{paths[0]}", headers=headers, json=body or None)


def differences(recorded: Any, answered: Any, where: str = "") -> list[str]:
    """List every key that one side has and the other lacks; what is empty or null on one side says nothing."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        found = [f"{where}/{key}" for key in recorded.keys() ^ answered.keys()]
        for key in recorded.keys() & answered.keys():
            found += differences(recorded[key], answered[key], f"{where}/{key}")
        return found
    if isinstance(recorded, list) and isinstance(answered, list):
        return differences(recorded[0], answered[0], f"{where}/0") if recorded and answered else []
    is_container = isinstance(recorded, dict | list), isinstance(answered, dict | list)
    return [where] if is_container[0] != is_container[1] and None not in (recorded, answered) else []


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "call", "shape"),
    [
        ("profile.ok", "profile", "current"), ("profile_getUser.ok", "getUser", "current"),
        ("funds.ok", "funds", "current"), ("holdings.ok", "holdings", "current"),
        ("holdings.ok.2023", "holdings", "2023"), ("holdings.ok.jainam", "holdings", "jainam"),
        ("positions.ok", "positions", "current"), ("orderbook.ok", "orderBook", "current"),
        ("orderbook.ok.2023", "orderBook", "2023"), ("tradebook.ok", "tradeBook", "current"),
    ],
)  # fmt: skip
def test_a_read_has_the_keys_of_its_sample(broker: SimulatedBroker, name: str, call: str, shape: str) -> None:
    token = token_of(broker)
    broker.shape_call(call, shape)
    answered = ask(broker, call, token).json()
    assert answered["result"]
    assert differences(sample(name), answered) == []


@pytest.mark.parametrize(
    ("name", "shape"), [("order_history.ok", "current"), ("order_history.ok.2023_raw_codes", "2023RawCodes")]
)
def test_a_history_has_the_keys_of_its_sample(broker: SimulatedBroker, name: str, shape: str) -> None:
    token = token_of(broker)
    order = ask(broker, "orderBook", token).json()["result"][0]["orderNo"]
    broker.shape_call("orderHistory", shape)
    answered = ask(broker, "orderHistory", token, orderNo=order, userId="AB1234").json()
    assert answered["result"]
    assert differences(sample(name), answered) == []


def test_the_row_without_a_number_lacks_what_the_sample_lacks(broker: SimulatedBroker) -> None:
    token = token_of(broker)
    broker.shape_call("orderBook", "rowWithoutOrderNo")
    recorded = sample("orderbook.ok.row_without_orderNo")["result"][-1]
    answered = ask(broker, "orderBook", token).json()["result"][-1]
    assert differences(recorded, answered) == []
    assert "orderNo" not in answered


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("sso_getUserDetails.ok.userSession", "userSession"), ("sso_getUserDetails.ok.accessToken", "accessToken"),
        ("sso_getUserDetails.ok.result_userSession", "resultUserSession"),
    ],
)  # fmt: skip
def test_an_exchange_has_the_keys_of_its_sample(broker: SimulatedBroker, name: str, shape: str) -> None:
    broker.shape_call("exchange", shape)
    assert differences(sample(name), exchanged(broker).json()) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("sso_getUserDetails.err.invalid_auth_code", "invalidAuthCode"),
        ("sso_getUserDetails.ok_but_no_session", "okWithoutToken"),
        ("error.docs_generic_never_seen", "docsGeneric"),
    ],
)
def test_a_canned_answer_has_the_keys_of_its_sample(name: str, fault: str) -> None:
    assert differences(sample(name), json.loads(CANNED[fault].body)) == []


def test_every_sample_is_held_against_the_simulator() -> None:
    """Whoever adds a sample adds its case, here or beside; the newer dialect (v2) is the service's to read alone."""
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py"))
    assert [path.stem for path in SAMPLES.glob("[!v]*.json") if f'"{path.stem}"' not in source] == []


def test_a_difference_would_be_found() -> None:
    assert differences({"a": [{"b": 1}]}, {"a": [{"c": 1}]}) != []
    assert differences({"a": {}}, {"a": 1}) == ["/a"]


@pytest.mark.parametrize("path", EXCHANGE_PATHS)
def test_a_code_is_good_for_one_exchange_at_any_of_the_three_urls(broker: SimulatedBroker, path: str) -> None:
    proof = {"checkSum": checksum(broker.code_for("AB1234"))}
    assert httpx.post(f"{broker.url}{path}", json=proof).json()["stat"] == "Ok"
    assert httpx.post(f"{broker.url}{path}", json=proof).json() == {"stat": "Not_ok", "emsg": "Invalid auth code"}


def test_an_unknown_key_beside_the_checksum_is_refused(broker: SimulatedBroker) -> None:
    proof = {"checkSum": checksum(broker.code_for("AB1234")), "userId": "AB1234"}
    assert httpx.post(f"{broker.url}{EXCHANGE}", json=proof).status_code == 400


def test_a_newer_login_kills_the_older_token(broker: SimulatedBroker) -> None:
    older, newer = token_of(broker), token_of(broker)
    dead = ask(broker, "funds", older)
    assert (dead.status_code, dead.text) == (401, "Unauthorized")
    assert ask(broker, "funds", newer).json()["status"] == "Ok"
    broker.expire()
    assert ask(broker, "funds", newer).status_code == 401


def test_a_token_is_as_long_as_the_brokers_and_says_months(broker: SimulatedBroker) -> None:
    assert 1000 <= len(token_of(broker)) <= 2048


@pytest.mark.parametrize("call", sorted(READS))
def test_nobody_reads_without_a_token(broker: SimulatedBroker, call: str) -> None:
    assert ask(broker, call, "x").status_code == 401


@pytest.mark.parametrize("user", ["AB1234", "FO5678", "EMPTY01", "NEG0042", "MIXED77"])
@pytest.mark.parametrize("call", [call for call in READS if call != "orderHistory"])
def test_every_shape_can_be_switched_on_for_everybody(broker: SimulatedBroker, user: str, call: str) -> None:
    token = token_of(broker, user)
    for shape in shape_names(call):
        broker.shape_call(call, shape, user=user)
        assert ask(broker, call, token).status_code == 200


def test_faults_are_for_one_investor_and_run_out(broker: SimulatedBroker) -> None:
    mine, theirs = token_of(broker), token_of(broker, "FO5678")
    broker.break_call("funds", "http500", times=2)
    assert [ask(broker, "funds", mine).status_code for _ in range(3)] == [500, 500, 200]
    broker.break_call("*", "http503", user="*")
    assert ask(broker, "positions", theirs).status_code == 503
    broker.mend("*")
    assert ask(broker, "positions", theirs).status_code == 200


@pytest.mark.parametrize("fault", sorted(CANNED))
def test_every_canned_fault_is_answered_as_it_stands_in_the_table(broker: SimulatedBroker, fault: str) -> None:
    token = token_of(broker)
    broker.break_call("funds", fault, seconds=7)
    answered = ask(broker, "funds", token)
    assert (answered.status_code, answered.content) == (CANNED[fault].status, CANNED[fault].body)
    assert answered.headers.get("retry-after") == ("7" if fault == "http429" else None)


def test_hanging_and_reset_end_without_an_answer(broker: SimulatedBroker) -> None:
    token = token_of(broker)
    for fault, expected in (("reset", httpx.RemoteProtocolError), ("hanging", httpx.RemoteProtocolError)):
        broker.break_call("funds", fault, seconds=0.2)
        with pytest.raises((expected, httpx.ReadError)):
            ask(broker, "funds", token)


@pytest.mark.parametrize("segment", ["nse", "bse", "nfo", "bfo", "cds", "bcd", "mcx"])
def test_the_contract_master_is_public_and_has_one_form(broker: SimulatedBroker, segment: str) -> None:
    answered = httpx.get(f"{broker.url}/contract/csv/{segment}")
    assert answered.headers["content-type"].startswith("text/csv")
    heading, *rows = answered.text.splitlines()
    assert heading.startswith("Exch,Symbol,Token,Trading Symbol")
    assert {row.count(",") for row in rows} == {heading.count(",")}


def test_the_login_page_says_what_it_is(broker: SimulatedBroker) -> None:
    page = httpx.get(f"{broker.url}/?appcode=DEMOAPP").text
    assert "SIMULATOR" in page
    for investor in ("AB1234", "FO5678", "EMPTY01", "NEG0042", "MIXED77"):
        assert investor in page


def test_the_login_leads_back_for_the_right_password_only(broker: SimulatedBroker) -> None:
    broker.return_to("https://partner.example/sso/callback")
    login = f"{broker.url}/?appcode=DEMOAPP"
    back = httpx.post(login, data={"userId": "MIXED77", "password": "demo"})
    assert back.status_code == 303
    place = httpx.URL(back.headers["location"])
    assert (place.host, place.path, place.params["userId"]) == ("partner.example", "/sso/callback", "mixed77")
    assert len(place.params["authCode"]) == 20
    assert "wrong" in httpx.post(login, data={"userId": "AB1234", "password": "x"}).text
    assert "no app" in httpx.get(f"{broker.url}/?appcode=OTHER").text
    broker.change_app(approved=False)
    assert "not been activated" in httpx.post(login, data={"userId": "AB1234", "password": "demo"}).text


def test_the_switches_page_works_with_forms_alone(broker: SimulatedBroker) -> None:
    token = token_of(broker)
    control = f"{broker.url}/_simulator"
    assert "AB1234" in httpx.get(f"{control}/").text
    httpx.post(f"{control}/switch", data={"action": "set", "userId": "AB1234", "call": "funds", "kind": "http500"})
    assert ask(broker, "funds", token).status_code == 500
    httpx.post(f"{control}/switch", data={"action": "clear", "userId": "AB1234"})
    httpx.post(f"{control}/switch", data={"action": "shape", "userId": "AB1234", "kind": "holdings=2023"})
    assert "holdingVal" in ask(broker, "holdings", token).text
    httpx.post(f"{control}/switch", data={"action": "expire", "userId": "AB1234"})
    assert ask(broker, "funds", token).status_code == 401
    httpx.post(f"{control}/switch", data={"action": "disapprove"})
    assert httpx.get(f"{control}/state").json()["app"]["approved"] is False
    assert httpx.post(f"{control}/switch", data={"action": "reset"}).status_code == 303
    assert httpx.get(f"{control}/state").json()["app"]["approved"] is True


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("investors/AB1234/faults/funds", {"fault": "nonsense"}),
        ("investors/AB1234/faults/nonsense", {"fault": "slow"}),
        ("investors/AB1234/shapes/funds", {"shape": "2023"}), ("investors/NOBODY/faults/funds", {"fault": "slow"}),
        ("investors/AB1234/faults/funds", {"fault": "slow", "times": "x"}), ("app", {"missingAnswer": "418"}),
        ("investors/AB1234/faults/funds", []), ("app", {"redirect": "x"}),
        ("investors/NOBODY/orders", {}), ("investors/AB1234/orders", {"remarksIn": "trades"}),
        ("investors/AB1234/orders", {"nonsense": 1}), ("investors/AB1234/orders", {"freezeQuantity": 0}),
        ("investors/AB1234/orders", {"rejectNext": {}}), ("prices", {"IDEA-EQ": 14.2}), ("prices", {"IDEA-EQ": "-1"}),
        ("market", {}), ("market", {"moving": "perhaps"}),
    ],
)  # fmt: skip
def test_an_unknown_switch_is_refused(broker: SimulatedBroker, path: str, content: object) -> None:
    assert httpx.put(f"{broker.url}/_simulator/{path}", json=content).status_code == 422


def test_what_is_no_json_is_refused(broker: SimulatedBroker) -> None:
    assert httpx.put(f"{broker.url}/_simulator/app", content=b"{").status_code == 422
    assert httpx.post(f"{broker.url}{EXCHANGE}", content=b"{").status_code == 400


def test_every_switch_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")
    assert [name for name in FAULTS if f"`{name}`" not in page] == []
    shapes = {shape for call in CALLS for shape in shape_names(call)} - {"current"}
    assert [name for name in (*CALLS, *shapes) if f"`{name}`" not in page] == []
    fields = [*OrderSwitches.model_fields.values(), *RejectNext.model_fields.values()]
    assert [each.alias for each in fields if f"`{each.alias}`" not in page] == []


def test_it_is_no_broker_for_production() -> None:
    done = started("--port", "0", APP_ENV="production")
    assert done.returncode == 2
    assert done.stderr.strip() == "The simulator does not start with APP_ENV=production: it is no broker."


def test_a_taken_port_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = started("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.strip().endswith("Address already in use.")
