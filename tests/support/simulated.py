"""The simulated broker as its own process, and its switches."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.environment import inherited
from workbench.children import ROOT, free_port, simulator


class SimulatedBroker:
    """Switches of a running simulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._control = httpx.Client(base_url=f"{url}/_simulator", timeout=10)

    def close(self) -> None:
        self._control.close()

    def reset(self) -> None:
        self._control.post("/reset").raise_for_status()

    def return_to(self, redirect_url: str) -> None:
        self.change_app(redirectUrl=redirect_url)

    def change_app(self, **changed: Any) -> None:
        self._control.put("/app", json=changed).raise_for_status()

    def code_for(self, user_id: str) -> dict[str, str]:
        """Return the two parameters that a login would bring back."""
        found: dict[str, str] = self._control.post("/codes", json={"userId": user_id}).raise_for_status().json()
        return found

    def add_investor(self, user: str, like: str = "AB1234") -> None:
        """Take in somebody who owns what another one was seeded with."""
        self._control.put(f"/investors/{user}", json={"like": like}).raise_for_status()

    def break_call(
        self, call: str, fault: str, *, user: str = "AB1234", times: int | None = None, seconds: float | None = None,
        after: bool = False,
    ) -> None:  # fmt: skip
        """Switch a fault on; with `after` the call is carried out before the fault answers."""
        wanted = {"fault": fault, "times": times, "seconds": seconds, "after": after}
        self._control.put(f"/investors/{user}/faults/{call}", json=wanted).raise_for_status()

    def mend(self, user: str = "AB1234") -> None:
        self._control.delete(f"/investors/{user}/faults").raise_for_status()

    def shape_call(self, call: str, shape: str, *, user: str = "AB1234") -> None:
        self._control.put(f"/investors/{user}/shapes/{call}", json={"shape": shape}).raise_for_status()

    def order_switches(self, user: str = "AB1234", **switches: Any) -> None:
        """Switch how an investor's orders are treated, in the words of docs/simulator.md."""
        self._control.put(f"/investors/{user}/orders", json=switches).raise_for_status()

    def clear_order_switches(self, user: str = "AB1234") -> None:
        """Put them all back, and show the orders that were hidden."""
        self._control.delete(f"/investors/{user}/orders").raise_for_status()

    def set_price(self, symbol: str, price: str) -> None:
        """Set a price, and let the orders meet it."""
        self._control.put("/prices", json={symbol: price}).raise_for_status()

    def move_prices(self, *, moving: bool) -> None:
        """Let the prices go by themselves, or stop them."""
        self._control.put("/market", json={"moving": moving}).raise_for_status()

    def market_open(self) -> None:
        """Send what was received after the market to the exchange."""
        self._control.post("/market-open").raise_for_status()

    def day_end(self) -> None:
        """Cancel the open orders that were good for the day."""
        self._control.post("/day-end").raise_for_status()

    def taken(self, user: str | None = None) -> list[dict[str, Any]]:
        """Return the orders that were taken, by one investor or by all, in the order of receipt."""
        params = {"userId": user} if user else {}
        found: list[dict[str, Any]] = self._control.get("/orders", params=params).raise_for_status().json()["orders"]
        return found

    def limits(self) -> dict[str, Any]:
        """Return the limits, what was received, and what of it was over them."""
        found: dict[str, Any] = self._control.get("/limits").raise_for_status().json()
        return found

    def set_limits(self, **wanted: Any) -> None:
        """Change the limits, or whether they are enforced, in the words of docs/simulator.md."""
        self._control.put("/limits", json=wanted).raise_for_status()

    def forget_limits(self) -> None:
        """Forget what was counted, and put the contract's limits back."""
        self._control.delete("/limits").raise_for_status()

    def webhooks(self) -> dict[str, Any]:
        """Return who is subscribed, and what became of what was to be posted."""
        found: dict[str, Any] = self._control.get("/webhooks").raise_for_status().json()
        return found

    def subscriptions(self, user: str | None = None) -> list[dict[str, str]]:
        """Return the subscribed URLs, of one investor or of all."""
        return [each for each in self.webhooks()["subscriptions"] if user in (None, each["userId"])]

    def forget_webhook_deliveries(self) -> None:
        """Forget what was posted and counted; the subscriptions stay."""
        self._control.delete("/webhooks").raise_for_status()

    def webhook_switches(self, user: str = "AB1234", **switches: Any) -> None:
        """Switch how an investor's order updates are posted, in the words of docs/simulator.md."""
        self._control.put(f"/investors/{user}/webhooks", json=switches).raise_for_status()

    def clear_webhook_switches(self, user: str = "AB1234") -> None:
        self._control.delete(f"/investors/{user}/webhooks").raise_for_status()

    def forge_webhooks(self, user: str = "AB1234", times: int = 1, **fields: Any) -> None:
        """Post to each of an investor's URLs what is not true: by default that an order is complete which is not."""
        wanted = {"times": times, "fields": fields}
        self._control.post(f"/investors/{user}/webhooks/forge", json=wanted).raise_for_status()

    def expire(self, user: str = "AB1234") -> None:
        self._control.post(f"/investors/{user}/expire").raise_for_status()

    def received(self, call: str | None = None) -> list[dict[str, Any]]:
        """Return the requests that reached the broker, in order."""
        params = {"call": call} if call else {}
        found: list[dict[str, Any]] = (
            self._control.get("/requests", params=params).raise_for_status().json()["requests"]
        )
        return found

    def forget_requests(self) -> None:
        self._control.delete("/requests").raise_for_status()


@contextmanager
def simulated_broker(folder: Path, **settings: str) -> Iterator[SimulatedBroker]:
    """Run a simulator on a free port; `settings` are SIMULATOR_… variables.

    Its limits are off unless they say otherwise: tests are faster than any investor.
    """
    port = free_port()
    environment = inherited() | {"SIMULATOR_RATE_LIMITS": "off"} | settings
    with simulator(port, environment=environment, log=folder / "simulator.log"):
        broker = SimulatedBroker(f"http://127.0.0.1:{port}")
        try:
            yield broker
        finally:
            broker.close()


def started(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a simulator that is to refuse, and return its last words."""
    argv = [sys.executable, "-m", "simulator", *options]
    given = inherited() | environment
    return subprocess.run(argv, env=given, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
