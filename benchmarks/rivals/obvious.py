"""The same duty as most would write it with FastAPI: what every tutorial shows, put together.

Two `BaseHTTPMiddleware`, an ORM session for each request, Fernet, `limits` on Redis once for each window, httpx,
pydantic models in and out, uvicorn as it comes.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import httpx
import limits
from cryptography.fernet import Fernet
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response  # noqa: TID251  # as everybody does
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import ForeignKey, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from starlette.middleware.base import BaseHTTPMiddleware
from typing_extensions import override

_environment = os.environ  # noqa: TID251  # a rival reads its settings where it likes
_FERNET = Fernet(_environment["KEY"].encode())
_INDIA = timezone(timedelta(hours=5, minutes=30))
_WINDOWS = [limits.RateLimitItemPerSecond(999_999_999, seconds) for seconds in (1, 60, 3600, 86_400)]
_log = logging.getLogger("rival")

_WORDS = {"B": "BUY", "S": "SELL", "L": "LIMIT", "MKT": "MARKET"}
_STATUSES = {"OPEN", "COMPLETE", "CANCELLED", "REJECTED", "TRIGGER_PENDING"}
_FINAL = {"COMPLETE", "CANCELLED", "REJECTED"}


class Base(DeclarativeBase):
    """What the tables have in common."""


class User(Base):
    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    token: Mapped["BrokerToken"] = relationship(lazy="joined")


class BrokerToken(Base):
    __tablename__ = "broker_tokens"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    sealed: Mapped[bytes]


class Session(Base):
    __tablename__ = "sessions"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    user: Mapped[User] = relationship(lazy="joined")


class Intent(Base):
    __tablename__ = "intents"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    idempotency_key: Mapped[str]
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str]
    order_no: Mapped[str | None]


class Model(BaseModel):
    """What goes in and out, in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Order(Model):
    """One order."""

    order_no: str | None
    exchange: str | None
    trading_symbol: str | None
    transaction_type: str | None
    quantity: int | None
    filled_quantity: int | None
    pending_quantity: int | None
    price: Decimal | None
    trigger_price: Decimal | None
    average_price: Decimal | None
    product: str | None
    order_type: str | None
    variety: str | None
    validity: str | None
    status: str
    status_text: str | None
    rejection_reason: str | None
    exchange_order_id: str | None
    placement_id: str | None
    placed_at: datetime | None


class OrderList(Model):
    """The order book."""

    orders: list[Order]
    as_of: datetime


class NewOrder(Model):
    """What is to be placed."""

    exchange: str
    trading_symbol: str
    transaction_type: str
    quantity: int
    product: str
    order_type: str
    price: Decimal
    validity: str
    variety: str


class Placement(Model):
    """What became of it."""

    placement_id: uuid.UUID
    outcome: str
    orders: list[dict[str, str]]


class RequestLog(BaseHTTPMiddleware):
    """Gives each request an id and logs it."""

    @override
    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Log one request."""
        request_id = str(uuid.uuid4())
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        _log.info("%s %s %s %s", request.method, request.url.path, response.status_code, request_id)
        return response


class SecurityHeaders(BaseHTTPMiddleware):
    """Adds the headers of every answer."""

    @override
    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Add them to one."""
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response


@asynccontextmanager
async def lifespan(running: FastAPI) -> AsyncIterator[None]:
    """Open what the process shares."""
    engine = create_async_engine(_environment["DATABASE_URL"])
    running.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    running.state.limiter = MovingWindowRateLimiter(RedisStorage(_environment["REDIS_URL"], implementation="redispy"))
    async with httpx.AsyncClient(base_url=_environment["BROKER_URL"], timeout=8, trust_env=False) as broker:
        running.state.broker = broker
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(SecurityHeaders)
app.add_middleware(RequestLog)


async def get_db(request: Request) -> AsyncIterator[AsyncSession]:
    """Yield an ORM session."""
    async with request.app.state.sessions() as session:
        yield session


async def get_session(request: Request, db: Annotated[AsyncSession, Depends(get_db)]) -> Session:
    """Return who is calling."""
    cookie = request.cookies.get("__Host-session", "")
    hashed = hashlib.sha256(cookie.encode()).digest()
    session = (await db.execute(select(Session).where(Session.token_hash == hashed))).scalar_one_or_none()
    if session is None or session.expires_at < datetime.now(UTC):  # noqa: TID251  # as everybody does
        raise HTTPException(401, "not signed in")
    return session


async def get_token(session: Annotated[Session, Depends(get_session)]) -> str:
    """Return his token at the broker."""
    return _FERNET.decrypt(session.user.token.sealed).decode()


async def _admit(request: Request, user_id: str, category: str) -> None:
    for window in _WINDOWS:
        if not await request.app.state.limiter.hit(window, category, user_id):
            raise HTTPException(429, "too many calls")


async def _ask(request: Request, token: str, method: str, path: str, body: object = None) -> list[dict[str, Any]]:
    broker, headers = request.app.state.broker, {"Authorization": f"Bearer {token}"}
    answer = await broker.request(method, path, json=body, headers=headers)
    answer.raise_for_status()
    outer = answer.json()
    envelope = outer[0] if isinstance(outer, list) else outer
    if envelope["status"].lower() != "ok":
        raise HTTPException(502, envelope["message"])
    rows: list[dict[str, Any]] = envelope["result"]
    return rows


def _order(row: dict[str, Any]) -> Order:
    quantity, filled, status = int(row["qty"]), int(row["fillShares"]), row["orderStatus"]
    return Order(
        order_no=row["orderNo"],
        exchange=row["exchange"],
        trading_symbol=row["tradingSymbol"],
        transaction_type=_WORDS.get(row["transType"], row["transType"]),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=0 if status in _FINAL else quantity - filled,
        price=row["price"],
        trigger_price=row.get("triggerPrice"),
        average_price=row.get("avgTradePrice"),
        product=row["product"],
        order_type=_WORDS.get(row["priceType"], row["priceType"]),
        variety=row["orderType"].upper(),
        validity=row["ret"],
        status=status if status in _STATUSES else "UNKNOWN",
        status_text=status,
        rejection_reason=row.get("rejectedReason"),
        exchange_order_id=row.get("exchOrderId"),
        placement_id=None,
        placed_at=datetime.strptime(row["orderTime"], "%H:%M:%S %d-%m-%Y").replace(tzinfo=_INDIA).astimezone(UTC),
    )


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that it lives."""
    return {"status": "ok"}


@app.get("/v1/session")
async def read_session(session: Annotated[Session, Depends(get_session)]) -> dict[str, Any]:
    """Tell who is signed in."""
    return {"user": session.user.name, "signedInAt": session.created_at, "expiresAt": session.expires_at}


@app.get("/v1/orders")
async def list_orders(
    request: Request, session: Annotated[Session, Depends(get_session)], token: Annotated[str, Depends(get_token)]
) -> OrderList:
    """List the orders of the day."""
    as_of = datetime.now(UTC)  # noqa: TID251  # as everybody does
    await _admit(request, session.user_id, "non-trading")
    rows = await _ask(request, token, "GET", "/od-rest/info/orderbook")
    return OrderList(orders=[_order(row) for row in rows], as_of=as_of)


@app.post("/v1/orders", status_code=201)
async def place(
    *,
    request: Request,
    wanted: NewOrder,
    db: Annotated[AsyncSession, Depends(get_db)],
    session: Annotated[Session, Depends(get_session)],
    token: Annotated[str, Depends(get_token)],
    idempotency_key: Annotated[str, Header()],
) -> Placement:
    """Place one order."""
    await _admit(request, session.user_id, "order")
    intent = Intent(
        id=uuid.uuid4(), user_id=session.user_id, idempotency_key=idempotency_key,
        terms=wanted.model_dump(mode="json"), state="sending",
    )  # fmt: skip
    db.add(intent)
    await db.commit()
    item = {
        "exchange": wanted.exchange, "tradingSymbol": wanted.trading_symbol, "qty": str(wanted.quantity),
        "price": str(wanted.price), "product": wanted.product, "transType": wanted.transaction_type[0],
        "priceType": "L", "orderType": "Regular", "ret": wanted.validity, "source": "API", "remarks": str(intent.id),
    }  # fmt: skip
    rows = await _ask(request, token, "POST", "/od-rest/orders/execute", [item])
    intent.state, intent.order_no = "accepted", rows[0]["orderNo"]
    await db.commit()
    return Placement(placement_id=intent.id, outcome="accepted", orders=[{"orderNo": rows[0]["orderNo"]}])
