"""Where each call of the broker's lives: one table, overridable, and a memory of which variant exists."""

import re
from enum import Enum, StrEnum

from app.limits import Category

_PATH = re.compile(r"[A-Za-z0-9._~%-]+(?:/[A-Za-z0-9._~%-]*)*")


class RouteClass(StrEnum):
    """Calls that fail together: behind each class there is a service of the broker's own."""

    EXCHANGE = "exchange"
    ORDERS = "orders"
    BOOKS = "books"
    PORTFOLIO = "portfolio"
    FUNDS = "funds"
    PROFILE = "profile"
    MARGIN = "margin"
    WEBHOOKS = "webhooks"


class Call(Enum):
    """A question to the broker: its method and the paths at which it was met, the likeliest first (docs/broker.md)."""

    PROFILE = ("GET", "client-rest/profile/getclientdetails", "client-rest/api/profile/getclientdetails")
    FUNDS = ("GET", "funds-rest/funds/limits", "funds-rest/api/funds/limits")
    HOLDINGS = ("GET", "ho-rest/holdings", "ho-rest/api/holdings/")
    POSITIONS = ("GET", "po-rest/positions", "po-rest/positions/")
    ORDER_BOOK = ("GET", "od-rest/info/orderbook", "od-rest/api/info/orderbook")
    TRADE_BOOK = ("GET", "od-rest/info/tradebook", "od-rest/api/info/tradebook")
    ORDER_HISTORY = ("POST", "od-rest/info/history", "od-rest/api/info/history")
    MARGIN = ("POST", "od-rest/orders/getmargin")
    PLACE = ("POST", "od-rest/orders/execute")
    MODIFY = ("POST", "od-rest/orders/modify")
    CANCEL = ("POST", "od-rest/orders/cancel")
    CONVERT = ("POST", "po-rest/positions/conversion")
    SUBSCRIBE = ("POST", "order-notify/webhook/subscribe")
    UNSUBSCRIBE = ("POST", "order-notify/webhook/unSubscribe")

    def __init__(self, method: str, *paths: str) -> None:
        self.method = method
        self.paths = paths

    @property
    def setting_name(self) -> str:
        """How `BROKER_PATHS` names the call; case, blanks and underscores in it don't matter."""
        return _plain(self.name)

    @property
    def category(self) -> Category:
        """What it counts as (docs/broker.md, "Limits")."""
        return Category.ORDER if self in ACTS else Category.NON_TRADING

    @property
    def route_class(self) -> RouteClass:
        """With which other calls it fails."""
        return RouteClass.ORDERS if self in ACTS else _CLASSES[self]


ACTS = frozenset({Call.PLACE, Call.MODIFY, Call.CANCEL, Call.CONVERT})
"""What does something at the broker: each has one path and is never sent a second time."""

_CLASSES = {
    Call.PROFILE: RouteClass.PROFILE,
    Call.FUNDS: RouteClass.FUNDS,
    Call.HOLDINGS: RouteClass.PORTFOLIO,
    Call.POSITIONS: RouteClass.PORTFOLIO,
    Call.ORDER_BOOK: RouteClass.BOOKS,
    Call.TRADE_BOOK: RouteClass.BOOKS,
    Call.ORDER_HISTORY: RouteClass.BOOKS,
    Call.MARGIN: RouteClass.MARGIN,
    Call.SUBSCRIBE: RouteClass.WEBHOOKS,
    Call.UNSUBSCRIBE: RouteClass.WEBHOOKS,
}


class Paths:
    """The paths of one deployment; remembers for each call the variant that answered."""

    def __init__(self, exchange_paths: tuple[str, ...], overrides: dict[str, str | list[str]]) -> None:
        """Take over the settings; raises `ValueError` for a call that does not exist."""
        self._exchange = _as_paths(list(exchange_paths))
        given = {_plain(name): paths for name, paths in overrides.items()}
        if unknown := given.keys() - {call.setting_name for call in Call}:
            known = ", ".join(sorted(call.setting_name for call in Call))
            raise ValueError(f"BROKER_PATHS: no such call: {', '.join(sorted(unknown))}; there are {known}")
        self._paths = {call: _as_paths(given.get(call.setting_name, list(call.paths))) for call in Call}
        if several := [call.setting_name for call in ACTS if len(self._paths[call]) > 1]:
            raise ValueError(f"BROKER_PATHS: {', '.join(several)} is sent once and has one path")

    def of(self, call: Call) -> list[str]:
        return list(self._paths[call])

    def exchange(self) -> list[str]:
        return list(self._exchange)

    def worked(self, call: Call, path: str) -> None:
        _to_front(self._paths[call], path)

    def exchange_worked(self, path: str) -> None:
        _to_front(self._exchange, path)


def _to_front(paths: list[str], path: str) -> None:
    if paths[0] != path:
        paths.remove(path)
        paths.insert(0, path)


def _as_paths(given: str | list[str]) -> list[str]:
    """Return paths below the broker's root; raises `ValueError` for what would lead a token elsewhere."""
    paths = [path.lstrip("/") for path in ([given] if isinstance(given, str) else given)]
    if not paths or not all(_PATH.fullmatch(path) and ".." not in path for path in paths):
        raise ValueError("BROKER_PATHS and BROKER_EXCHANGE_PATHS hold paths below BROKER_BASE_URL, at least one a call")
    return paths


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
