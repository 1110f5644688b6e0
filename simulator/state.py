"""What the simulated broker remembers: apps, codes, tokens, switches and every request that it received."""

import base64
import hashlib
import json
import secrets
import string
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from simulator.books import Books, OrderNumbers
from simulator.calls import EXCHANGE_PATHS
from simulator.clock import now
from simulator.desk import Desk
from simulator.investors import Investor, another, seeded
from simulator.limits import Limits
from simulator.orders import Order
from simulator.webhooks import Webhooks

_CODE_ALPHABET = string.ascii_uppercase + string.digits
_CODE_LENGTH = 20  # contract §1: 20 of A-Z0-9
_CODE_LIFE = timedelta(minutes=5)  # not documented; our guess
_TOKEN_LIFE_DAYS = 60  # contract §0: JWTs say 60 to 365 days


@dataclass(frozen=True)
class Config:
    """How a simulator was started."""

    app_code: str = "DEMOAPP"
    api_secret: str = field(default="simulator-api-secret", repr=False)
    redirect_url: str = "http://localhost:8000/sso/callback"
    enforces_limits: bool = True


@dataclass
class Fault:
    """A switched-on fault; `times` runs down to zero where it is not None, `after` carries the call out first."""

    name: str
    times: int | None = None
    seconds: float | None = None
    after: bool = False


@dataclass
class AppSwitches:
    """How the vendor's app and the exchange behave."""

    redirect_url: str
    approved: bool = True
    exchange_paths: tuple[str, ...] = EXCHANGE_PATHS
    missing_answer: str = "404"
    html_for_unknown_paths: bool = False


@dataclass(frozen=True)
class Code:
    """An auth code handed out by a login, good for one exchange."""

    user_id: str
    sso_id: str
    expires_at: datetime


class Broker:
    """The whole state; one per process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.webhooks = Webhooks(config.api_secret)
        self._numbers = OrderNumbers()
        self.reset()

    def reset(self) -> None:
        """Go back to the seed; nobody is logged in and nothing is switched."""
        self.investors: dict[str, Investor] = seeded(now())
        self.webhooks.reset()
        self.books = Books(self.investors.values(), self._numbers, now(), self._observe)
        self.desk = Desk(self.books)
        self.app = AppSwitches(redirect_url=self.config.redirect_url)
        self.faults: dict[tuple[str, str], Fault] = {}
        self.shapes: dict[tuple[str, str], str] = {}
        self.requests: list[dict[str, object]] = []
        self.limits = Limits(is_enforced=self.config.enforces_limits)
        self._codes: dict[str, Code] = {}
        self._tokens: dict[str, str] = {}

    def investor(self, user_id: str) -> Investor | None:
        return self.investors.get(user_id.upper())

    def add_investor(self, user_id: str, like: Investor) -> None:
        """Take in somebody who owns what another one was seeded with; a reset forgets him."""
        added = self.investors[user_id] = another(like, user_id)
        self.books.open_for(added, now())

    def hand_out_code(self, investor: Investor) -> str:
        """Return a fresh auth code, as a finished login does."""
        code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
        self._codes[code] = Code(investor.id, investor.sso_id, now() + _CODE_LIFE)
        return code

    def owner_of_checksum(self, checksum: str) -> Investor | None:
        """Return whose login a checksum proves, without spending its code."""
        found = self._code_of(checksum)
        return self.investors[self._codes[found].user_id] if found else None

    def spend(self, checksum: str) -> Investor | None:
        """Spend the code behind a checksum; none for a wrong, unknown, used or expired one, which all look alike."""
        found = self._code_of(checksum)
        if found is None:
            return None
        code = self._codes.pop(found)
        return self.investors[code.user_id] if now() < code.expires_at else None

    def log_in(self, investor: Investor) -> str:
        """Return a token for an investor; any older one of his is dead from now on."""
        token = _token(investor.id)
        self.expire(investor.id)
        self._tokens[token] = investor.id
        return token

    def expire(self, user_id: str) -> None:
        """Kill an investor's token (or with `*` everybody's), as the night does."""
        self._tokens = {token: owner for token, owner in self._tokens.items() if user_id not in (owner, "*")}

    def owner_of_token(self, token: str) -> Investor | None:
        """Return whom a token speaks for, none for a dead one."""
        return self.investors.get(self._tokens.get(token, ""))

    def shape(self, user_id: str, call: str, default: str) -> str:
        return self.shapes.get((user_id, call)) or self.shapes.get(("*", call)) or default

    def take_fault(self, user_id: str, call: str) -> Fault | None:
        """Return the fault that this call of an investor meets now, and count it down."""
        for key in ((user_id, call), (user_id, "*"), ("*", call), ("*", "*")):
            fault = self.faults.get(key)
            if fault is None:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self.faults[key]
            return replace(fault)
        return None

    def _observe(self, order: Order, report: str, at: datetime) -> None:
        """Pass every step of an order on to whom it is to be posted."""
        is_echoed = self.books.switches.of(str(order.identity["userId"])).remarks_in != "nowhere"
        self.webhooks.tell(order, report, at, order.remarks if is_echoed else "")

    def _code_of(self, checksum: str) -> str | None:
        return next((code for code, each in self._codes.items() if self._checksum(each.sso_id, code) == checksum), None)

    def _checksum(self, sso_id: str, code: str) -> str:
        return hashlib.sha256(f"{sso_id}{code}{self.config.api_secret}".encode()).hexdigest()


def _token(user_id: str) -> str:
    """Return what looks like the broker's token: a JWT of one to two kilobytes, valid for months if one believed it."""
    claims = {
        "sub": user_id,
        "exp": int((now() + timedelta(days=_TOKEN_LIFE_DAYS)).timestamp()),
        "scope": secrets.token_hex(400),
    }
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_encoded(secrets.token_bytes(256))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
