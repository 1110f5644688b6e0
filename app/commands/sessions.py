"""`partner sessions`: the devices on which somebody is signed in, and the end of them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.clock import IST, Clock
from app.commands.opening import Desk, run
from app.commands.options import Actor, OneUser, Reason
from app.commands.speaking import AsJson, counted, say
from app.safeguards.audit import SYSTEM
from app.sessions import devices_store, store

Everybody = Annotated[bool, typer.Option("--all", help="Of every user.")]

sessions = typer.Typer(no_args_is_help=True, help="The devices on which somebody is signed in.")


@sessions.command("list")
def list_sessions(*, user: OneUser = None, as_json: AsJson = False) -> None:
    """Tell the live sessions of one user, or the two hundred of everybody that were used last."""

    async def look(desk: Desk) -> list[devices_store.Device]:
        async with desk.db.reading() as tx:
            return await devices_store.live_devices(tx, life(desk), user)

    found = run(look)
    facts = {"sessions": [device_facts(each) for each in found]}
    say("\n".join(device_line(each) for each in found) or "Nobody is signed in.", facts, as_json=as_json)


@sessions.command()
def revoke(
    *,
    user: OneUser = None,
    everybody: Everybody = False,
    reason: Reason,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """End all sessions of one user, or of everybody, on every replica within a second; they may sign in again.

    The sessions at the broker stay, for orders that are still looked after; without a session of ours nobody gets at
    them.
    """
    if everybody == (user is not None):
        raise typer.BadParameter("Say either --all or --user.")

    async def end(desk: Desk) -> int:
        chain = user or SYSTEM
        async with desk.db.transaction() as tx:
            now = await desk.ledger.lock(tx, chain)
            ended = (
                await store.end_all(tx, user, now, store.REVOKED)
                if user
                else await store.end_everybodys(tx, now, store.REVOKED)
            )
            await desk.ledger.write(
                tx, chain, "sessions-revoked", actor=actor, facts={"reason": reason, "sessions": ended}
            )
        return ended

    ended = run(end)
    whose = user or "everybody"
    facts = {"user": user, "reason": reason, "actor": actor, "sessions": ended}
    say(f"{counted(ended, 'session')} of {whose} ended.", facts, as_json=as_json)


def life(desk: Desk) -> store.Life:
    """Return by what a session lives at this moment."""
    return store.Life(Clock().now(), desk.settings.session_idle_timeout)


def device_line(device: devices_store.Device) -> str:
    """Return what an operator is told of a session: no secret, and of the address only the network."""
    where = f"{device.user_agent or 'an unknown browser'} at {device.address_prefix or 'an unknown address'}"
    used = f"{device.last_seen_at.astimezone(IST):%d.%m.%Y %H:%M} IST"
    return f"{device.user_id} {device.id}: last used {used}, {where}"


def device_facts(device: devices_store.Device) -> dict[str, object]:
    """Return the same for a machine; times in UTC."""
    return {
        "id": str(device.id), "user": device.user_id, "createdAt": _utc(device.created_at),
        "lastSeenAt": _utc(device.last_seen_at), "expiresAt": _utc(device.expires_at), "userAgent": device.user_agent,
        "addressPrefix": device.address_prefix,
    }  # fmt: skip


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
