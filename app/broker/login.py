"""What the exchange of an auth code answers, in any of the three documented shapes (docs/broker.md "Exchange")."""

from dataclasses import dataclass

from pydantic import SecretStr

from app.broker.answers import Envelope, envelopes, lowered
from app.broker.errors import BrokerRefused, BrokerSessionDead, WrongPath
from app.broker.transport import Answer
from app.broker.values import text
from app.problems import BrokerFault, LoginRefused, UserMismatch

_LONGEST_TOKEN = 8192  # characters; tokens have one to two thousand, and longer headers are refused everywhere
_WRONG_PATH_WORDS = "invalid parameter"


@dataclass(frozen=True)
class BrokerLogin:
    """What an exchange gave: who it is, in capitals, and the token that speaks for him."""

    user_id: str
    token: SecretStr


def read_login(answer: Answer, user_id: str) -> BrokerLogin:
    """Understand the answer to an exchange, in any of its three documented shapes."""
    try:
        envelope = envelopes(answer)[0]
    except BrokerSessionDead as error:
        raise LoginRefused("The broker did not accept the login.") from error
    except BrokerRefused as refusal:
        raise _login_refusal(refusal.words) from refusal
    token, client_id = _token_and_client(envelope)
    if not envelope.is_ok or token is None:
        raise _login_refusal(envelope.words)
    if client_id is not None and client_id.upper() != user_id.upper():
        raise UserMismatch("The broker confirmed a login, but of another client than the one who came back.")
    return BrokerLogin((client_id or user_id).upper(), SecretStr(token))


def _token_and_client(envelope: Envelope) -> tuple[str | None, str | None]:
    """Look in the envelope itself and in the first row of its result, under either name."""
    row = envelope.result[0] if envelope.result else None
    places = [envelope.outer, lowered(row) if isinstance(row, dict) else {}]
    tokens = [place.get(name) for place in places for name in ("usersession", "accesstoken")]
    clients = [text(place.get("clientid")) for place in places]
    token = next((each.strip() for each in tokens if isinstance(each, str) and each.strip()), None)
    if token is not None and (
        len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token
    ):
        raise BrokerFault("The broker's session token can't be sent back to it.")
    return token, next(filter(None, clients), None)


def _login_refusal(words: str) -> Exception:
    if words.strip(" .!").lower() == _WRONG_PATH_WORDS:
        return WrongPath()
    return LoginRefused(f"The broker says: {words}" if words else None)
