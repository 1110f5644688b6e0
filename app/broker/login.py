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
    """What an exchange gave: who it is, in capitals, and the token that speaks for him.

    Where the broker did not name the client, `is_confirmed` is false and the id is the callback's alone. The checksum
    does not prove it: between user id and code there is no border in it, so that `AB1` + `2CODE` proves what
    `AB12` + `CODE` does.
    """

    user_id: str
    token: SecretStr
    is_confirmed: bool


def read_login(answer: Answer, user_id: str) -> BrokerLogin:
    """Understand the answer to an exchange, in any of its three documented shapes."""
    try:
        found = envelopes(answer)
    except BrokerSessionDead as error:
        raise LoginRefused("The broker did not accept the login.") from error
    except BrokerRefused as refusal:
        raise _login_refusal(refusal.words) from refusal
    for envelope in found:
        if not envelope.is_ok:
            raise _login_refusal(envelope.words)
    token, clients = _token_and_clients(found[0])
    if token is None:
        raise LoginRefused(_told(found[0].words) or "The broker said Ok but gave no session.")
    if clients - {user_id.upper()}:
        raise UserMismatch("The broker confirmed a login, but of another client than the one who came back.")
    return BrokerLogin(user_id.upper(), SecretStr(token), is_confirmed=bool(clients))


def _token_and_clients(envelope: Envelope) -> tuple[str | None, set[str]]:
    """Look in the envelope itself and in the first row of its result, under either name; clients in capitals."""
    row = envelope.result[0] if envelope.result else None
    places = [envelope.outer, lowered(row) if isinstance(row, dict) else {}]
    tokens = [place.get(name) for place in places for name in ("usersession", "accesstoken")]
    clients = {named.upper() for place in places if (named := text(place.get("clientid")))}
    token = next((each.strip() for each in tokens if isinstance(each, str) and each.strip()), None)
    if token is not None and (
        len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token
    ):
        raise BrokerFault("The broker's session token can't be sent back to it.")
    return token, clients


def _login_refusal(words: str) -> Exception:
    if words.strip(" .!").lower() == _WRONG_PATH_WORDS:
        return WrongPath()
    return LoginRefused(_told(words))


def _told(words: str) -> str | None:
    """Return the broker's words for a person; of its words of success none is worth telling."""
    return None if words.lower() in {"", "ok", "success"} else f"The broker says: {words}"
