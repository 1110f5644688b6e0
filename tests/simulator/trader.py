"""One investor with a token, who asks the simulated broker as a vendor would."""

import hashlib
from typing import Any

import httpx

from simulator.calls import EXCHANGE_PATHS, ORDER_PATHS, READS, WEBHOOK_PATHS
from tests.support.configured import API_SECRET
from tests.support.simulated import SimulatedBroker


class Trader:
    def __init__(self, broker: SimulatedBroker, user: str = "AB1234") -> None:
        self.user = user
        self._url = broker.url
        code = broker.code_for(user)
        proof = hashlib.sha256(f"{code['userId']}{code['authCode']}{API_SECRET}".encode()).hexdigest()
        answer = httpx.post(f"{broker.url}{EXCHANGE_PATHS[0]}", json={"checkSum": proof}).json()
        self.token = answer["userSession"]

    def send(self, call: str, content: Any, *, path: int = 0) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(f"{self._url}{ORDER_PATHS[call][path]}", headers=headers, json=content, timeout=10)

    def read(self, call: str, content: Any = None) -> Any:
        method, paths = READS[call]
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self._url}{paths[0]}", headers=headers, json=content).json()

    def subscribe(self, url: str, *, call: str = "subscribe") -> Any:
        """Ask for order updates at a URL, or with `unsubscribe` for no more of them."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(f"{self._url}{WEBHOOK_PATHS[call]}", headers=headers, json={"callbackUrl": url}).json()

    def place(self, **changed: str) -> str:
        """Place one order and return its number."""
        [envelope] = self.send("place", [an_order(**changed)]).json()
        assert envelope["status"] == "Ok", envelope["message"]
        [row] = envelope["result"]
        number: str = row["orderNo"]
        return number

    def refusal(self, **changed: str) -> str:
        """Return the words with which an order is refused at once."""
        [envelope] = self.send("place", [an_order(**changed)]).json()
        assert (envelope["status"], envelope["result"]) == ("Not ok", [])
        words: str = envelope["message"]
        return words

    def cancel(self, number: str) -> Any:
        [envelope] = self.send("cancel", [{"orderNo": number}]).json()
        return envelope

    def modify(self, number: str, **changed: str) -> Any:
        return self.send("modify", a_change(number, **changed)).json()

    def book(self) -> list[dict[str, Any]]:
        return rows(self.read("orderBook"))

    def row(self, number: str) -> dict[str, Any]:
        [found] = [each for each in self.book() if each["orderNo"] == number]
        return found

    def standing(self, number: str) -> tuple[str, str]:
        """Return an order's status and how much of it is filled."""
        row = self.row(number)
        return row["orderStatus"], row["fillShares"]

    def trades(self, number: str) -> list[dict[str, Any]]:
        return [each for each in rows(self.read("tradeBook")) if each["orderNo"] == number]

    def history(self, number: str) -> list[dict[str, Any]]:
        return rows(self.read("orderHistory", {"orderNo": number, "userId": self.user}))

    def funds(self) -> dict[str, float]:
        [row] = self.read("funds")["result"]
        found: dict[str, float] = row
        return found

    def position(self, symbol: str, product: str) -> dict[str, Any] | None:
        wanted = (symbol, product)
        held = rows(self.read("positions"))
        return next((each for each in held if (each["tradingSymbol"], each["product"]) == wanted), None)


def rows(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["result"]
    return found


def an_order(**changed: str) -> dict[str, str]:
    """Return an item as contract §4 shows it: by default a buy that waits below the price of 14.20."""
    return {
        "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "qty": "10", "price": "14.00", "product": "CNC",
        "transType": "B", "priceType": "L", "orderType": "Regular", "ret": "DAY", "source": "API",
        "triggerPrice": "", "disclosedQty": "", "mktProtection": "", "target": "", "stopLoss": "", "trailingPrice": "",
    } | changed  # fmt: skip


def a_change(number: str, **changed: str) -> dict[str, str]:
    """Return the whole desired state of an order that was placed as `an_order` is."""
    left_out = {"product", "orderType", "source", "remarks"}
    state = {name: value for name, value in an_order(**changed).items() if name not in left_out}
    return state | {"orderNo": number}
