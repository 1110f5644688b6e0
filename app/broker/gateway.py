"""The calls we make to the broker, each as a function of a token and nothing else that could go wrong quietly."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from pydantic import SecretStr

from app.broker import wire
from app.broker.answers import Row, read_rows
from app.broker.checksum import checksum
from app.broker.errors import BrokerRefused, WrongPath
from app.broker.login import BrokerLogin, read_login
from app.broker.paths import Call, Paths
from app.broker.transport import Transport
from app.problems import BrokerFault, BrokerTimeout
from app.trading import Funds, Holding, Order, OrderState, Position, Profile, Trade

T = TypeVar("T")


class Gateway:
    """The broker, as far as this service needs it. Every method sends one request, or one for each path tried."""

    def __init__(self, transport: Transport, paths: Paths, api_secret: SecretStr, read_deadline: timedelta) -> None:
        self._transport = transport
        self._paths = paths
        self._api_secret = api_secret
        self._read_deadline = read_deadline

    async def exchange(self, user_id: str, auth_code: str) -> BrokerLogin:
        """Spend an auth code for a session; both arguments exactly as the browser brought them.

        The next path is tried only where the broker says that there is no such call; after any other answer, a
        time-out included, the code is never sent again. Raises `LoginRefused` with the broker's words, `UserMismatch`,
        and the `Broker…` problems.
        """
        proof = checksum(user_id, auth_code, self._api_secret)
        try:
            async with asyncio.timeout(self._read_deadline.total_seconds()):
                return await self._exchange_somewhere(proof, user_id)
        except TimeoutError as error:
            raise BrokerTimeout from error

    async def _exchange_somewhere(self, proof: SecretStr, user_id: str) -> BrokerLogin:
        for path in self._paths.exchange():
            answer = await self._transport.send(
                "POST", path, body={"checkSum": proof.get_secret_value()}, deadline=self._read_deadline
            )
            try:
                login = read_login(answer, user_id)
            except WrongPath:
                continue
            self._paths.exchange_worked(path)
            return login
        raise BrokerFault("The broker knows none of the calls at which an auth code could be exchanged.")

    async def profile(self, token: SecretStr) -> Profile:
        return await self._read(Call.PROFILE, token, wire.profile)

    async def funds(self, token: SecretStr) -> Funds:
        return await self._read(Call.FUNDS, token, wire.funds)

    async def holdings(self, token: SecretStr) -> list[Holding]:
        return await self._read(Call.HOLDINGS, token, wire.holdings)

    async def positions(self, token: SecretStr) -> list[Position]:
        return await self._read(Call.POSITIONS, token, lambda rows: [wire.position(row) for row in rows])

    async def order_book(self, token: SecretStr) -> list[Order]:
        return await self._read(Call.ORDER_BOOK, token, lambda rows: [wire.order(row) for row in rows])

    async def trade_book(self, token: SecretStr) -> list[Trade]:
        return await self._read(Call.TRADE_BOOK, token, lambda rows: [wire.trade(row) for row in rows])

    async def order_history(self, token: SecretStr, user_id: str, order_no: str) -> list[OrderState]:
        """Return every step of one order, the newest first as the broker lists them."""
        question = {"orderNo": order_no, "userId": user_id}
        return await self._read(
            Call.ORDER_HISTORY, token, lambda rows: [wire.order_state(row) for row in rows], body=question
        )

    async def _read(
        self, call: Call, token: SecretStr, understand: Callable[[list[Row]], T], *, body: object = None
    ) -> T:
        """Ask a question that may be asked again: at each known path until one exists, the one that worked first.

        All of it within one deadline. Raises `BrokerSessionDead` and the `Broker…` problems.
        """
        try:
            async with asyncio.timeout(self._read_deadline.total_seconds()):
                return await self._read_somewhere(call, token, understand, body)
        except TimeoutError as error:
            raise BrokerTimeout from error

    async def _read_somewhere(
        self, call: Call, token: SecretStr, understand: Callable[[list[Row]], T], body: object
    ) -> T:
        for path in self._paths.of(call):
            answer = await self._transport.send(
                call.method, path, bearer=token, body=body, deadline=self._read_deadline
            )
            try:
                understood = understand(read_rows(answer))
            except WrongPath:
                continue
            except BrokerRefused as refusal:
                raise BrokerFault(f"The broker says: {refusal.words}") from refusal
            self._paths.worked(call, path)
            return understood
        raise BrokerFault("The broker knows none of the paths of this call.")
