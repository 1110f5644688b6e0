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
