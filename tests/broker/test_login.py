"""What the answer to an exchange means, beyond what the simulator says."""

import pytest

from app.broker.login import read_login
from app.broker.transport import Answer
from app.problems import BrokerFault, LoginRefused, UserMismatch

JSON = "application/json"


def test_the_client_of_the_answer_is_told_in_capitals() -> None:
    login = read_login(Answer(200, JSON, b'{"stat":"Ok","clientId":"ab1234","userSession":" t.o.k "}'), "Ab1234")
    assert (login.user_id, login.token.get_secret_value()) == ("AB1234", "t.o.k")


@pytest.mark.parametrize("status", [401, 403])
def test_an_exchange_that_needs_a_login_is_a_refused_login(status: int) -> None:
    with pytest.raises(LoginRefused):
        read_login(Answer(status, "text/plain", b"Unauthorized"), "AB1234")


@pytest.mark.parametrize("token", ["two words", "l\\u00e4nger", "a\\nb", "x" * 20_000])
def test_a_token_that_can_not_go_into_a_header_is_a_fault(token: str) -> None:
    body = f'{{"stat":"Ok","userSession":"{token}"}}'.encode()
    with pytest.raises(BrokerFault):
        read_login(Answer(200, JSON, body), "AB1234")


@pytest.mark.parametrize("client", ["AB12345", "FO5678", "AB1234 X"])
def test_another_client_is_a_mismatch(client: str) -> None:
    body = f'{{"status":"Ok","result":[{{"accessToken":"t","clientId":"{client}"}}]}}'.encode()
    with pytest.raises(UserMismatch):
        read_login(Answer(200, JSON, body), "AB1234")


@pytest.mark.parametrize(
    "body",
    [
        b'{"stat":"Ok","clientId":"AB1234","result":[{"accessToken":"t","clientId":"FO5678"}]}',
        b'{"stat":"Ok","clientId":"FO5678","result":[{"accessToken":"t","clientId":"AB1234"}]}',
    ],
)
def test_two_clients_in_one_answer_are_a_mismatch(body: bytes) -> None:
    with pytest.raises(UserMismatch):
        read_login(Answer(200, JSON, body), "AB1234")


def test_a_refusal_beside_a_token_is_a_refusal() -> None:
    body = b'[{"stat":"Ok","userSession":"t"},{"stat":"Not_ok","emsg":"Failed"}]'
    with pytest.raises(LoginRefused):
        read_login(Answer(200, JSON, body), "AB1234")


@pytest.mark.parametrize(
    ("named", "is_confirmed"), [(',"clientId":"ab1234"', True), ("", False), (',"clientId":""', False)]
)
def test_only_a_named_client_confirms_the_callbacks_user(named: str, is_confirmed: bool) -> None:
    login = read_login(Answer(200, JSON, f'{{"stat":"Ok","userSession":"t"{named}}}'.encode()), "AB1234")
    assert login.is_confirmed is is_confirmed
    assert login.user_id == "AB1234"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"status":"Ok","message":"Success","result":[]}', "The broker said Ok but gave no session."),
        (b'{"stat":"Ok","emsg":"Enable TOTP"}', "The broker says: Enable TOTP"),
    ],
)
def test_an_ok_without_a_session_is_told_in_words_that_mean_something(body: bytes, detail: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        read_login(Answer(200, JSON, body), "AB1234")
    assert refused.value.detail == detail
