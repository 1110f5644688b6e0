"""Where the broker posts for each user: of the address only a hash, since the token in it is derived."""

from dataclasses import dataclass

from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import webhooks

_w = webhooks.c


@dataclass(frozen=True)
class Webhook:
    """One user's address: by which key its token is derived, and what stands before it."""

    user_id: str
    token_hash: bytes
    key_id: str
    base_url: str

    @property
    def url_parts(self) -> tuple[bytes, str]:
        """What makes one address another."""
        return self.token_hash, self.base_url


async def find(tx: AsyncConnection, user_id: str) -> Webhook | None:
    row = (
        await tx.execute(select(_w.user_id, _w.token_hash, _w.key_id, _w.base_url).where(_w.user_id == user_id))
    ).one_or_none()
    return Webhook(*row) if row else None


async def keep(tx: AsyncConnection, webhook: Webhook) -> None:
    """Know what comes to this address as the user's from now on, and nothing that comes to another."""
    await tx.execute(
        upsert(webhooks).values(**vars(webhook)).on_conflict_do_update(
            index_elements=[_w.user_id],
            set_={"token_hash": webhook.token_hash, "key_id": webhook.key_id, "base_url": webhook.base_url},
        )
    )  # fmt: skip


async def is_known(tx: AsyncConnection, webhook: Webhook) -> bool:
    """Say whether what comes to this address is still somebody's."""
    return bool(await tx.scalar(select(exists().where(_w.token_hash == webhook.token_hash))))


async def take_back(tx: AsyncConnection, webhook: Webhook, former: Webhook) -> None:
    """Know the user by his former address again, unless there is none of his any more."""
    await tx.execute(update(webhooks).where(_w.token_hash == webhook.token_hash).values(**vars(former)))


async def forget(tx: AsyncConnection, user_id: str) -> None:
    """Know nothing that comes for this user any more."""
    await tx.execute(delete(webhooks).where(_w.user_id == user_id))
