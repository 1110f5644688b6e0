"""`partner users`: who has signed in, and who may not."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import typer

from app.clock import IST
from app.commands.opening import CannotDo, Desk, run, wait_for_orders_decided_before
from app.commands.options import Actor, Reason, User
from app.commands.sessions import device_facts, device_line, life
from app.commands.speaking import AsJson, counted, say
from app.safeguards.blocks import Block, block, blocked, unblock
from app.safeguards.halts import has_signed_in
from app.safeguards.notices import tell_changed
from app.sessions import devices_store, store

users = typer.Typer(no_args_is_help=True, help="Who has signed in, and who may not come in.")


@users.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """Tell who has signed in, the last one first, and who is blocked; at most a thousand."""

    async def look(desk: Desk) -> tuple[list[devices_store.Known], list[Block]]:
        async with desk.db.reading() as tx:
            return await devices_store.known_users(tx, life(desk)), await blocked(tx)

    known, blocks = run(look)
    shut_out = {each.user_id for each in blocks}
    strangers = [each for each in blocks if each.user_id not in {user.id for user in known}]
    lines = [_line(each, is_blocked=each.id in shut_out) for each in known] + [_block_line(each) for each in strangers]
    facts = {"users": [_facts(each) | {"blocked": each.id in shut_out} for each in known], "blocks": _blocks(blocks)}
    say("\n".join(lines) or "Nobody has signed in yet.", facts, as_json=as_json)


@users.command()
def show(*, user: User, as_json: AsJson = False) -> None:
    """Tell what is known of one user: sign-ins, devices, broker session, block."""

    async def look(
        desk: Desk,
    ) -> tuple[list[devices_store.Known], list[devices_store.Device], store.BrokerSession | None, list[Block]]:
        async with desk.db.reading() as tx:
            return (
                await devices_store.known_users(tx, life(desk), user),
                await devices_store.live_devices(tx, life(desk), user),
                await store.find_broker_session(tx, user), [each for each in await blocked(tx) if each.user_id == user],
            )  # fmt: skip

    known, devices, broker, blocks = run(look)
    lines = [_line(each, is_blocked=bool(blocks)) for each in known] or [f"{user} has never signed in here."]
    lines += [_block_line(each) for each in blocks]
    lines += [_broker_line(broker)] if broker else []
    lines += [device_line(each) for each in devices]
    facts = {
        "users": [_facts(each) for each in known],
        "blocks": _blocks(blocks),
        "brokerSession": {"expiresAt": broker.expires_at.isoformat(), "endedReason": broker.ended_reason}
        if broker
        else None,
        "sessions": [device_facts(each) for each in devices],
    }
    say("\n".join(lines), facts, as_json=as_json)


@users.command("block")
def block_user(*, user: User, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Let a user in no more: his sessions end within a second, no order of his is accepted once this returns."""

    async def shut(desk: Desk) -> tuple[bool, int, bool]:
        async with desk.db.transaction() as tx:
            now = await desk.ledger.lock(tx, user)
            is_new = await block(tx, user, reason, actor)
            ended = await store.end_all(tx, user, now, store.BLOCKED)
            await desk.ledger.write(tx, user, "blocked", actor=actor, facts={"reason": reason, "sessions": ended})
            is_known = await has_signed_in(tx, user)
        await wait_for_orders_decided_before(desk, f"{user} is blocked")
        return is_new, ended, is_known

    is_new, ended, is_known = run(shut)
    said = f"{user} is blocked" if is_new else f"{user} was blocked already"
    stranger = "" if is_known else f" Mind that {user} has never signed in here."
    facts = {"user": user, "reason": reason, "actor": actor, "blocked": True, "sessions": ended}
    say(f"{said}; {counted(ended, 'session')} ended.{stranger}", facts, as_json=as_json)


@users.command("unblock")
def unblock_user(*, user: User, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Let a user in again; he has to sign in anew."""

    async def open_up(desk: Desk) -> None:
        async with desk.db.transaction() as tx:
            await desk.ledger.lock(tx, user)
            if not await unblock(tx, user):
                raise CannotDo(f"{user} was not blocked.")
            await tell_changed(tx, user)
            await desk.ledger.write(tx, user, "unblocked", actor=actor, facts={"reason": reason})

    run(open_up)
    say(
        f"{user} may sign in again.",
        {"user": user, "reason": reason, "actor": actor, "blocked": False},
        as_json=as_json,
    )


def _line(user: devices_store.Known, *, is_blocked: bool) -> str:
    name = f" ({user.name})" if user.name else ""
    broker = "connected" if user.is_connected else "not connected"
    here = f"on {counted(user.devices, 'device')} now, {broker}{', BLOCKED' if is_blocked else ''}."
    return f"{user.id}{name}: signed in last at {_ist(user.signed_in_at)}, {here}"


def _facts(user: devices_store.Known) -> dict[str, object]:
    return {
        "id": user.id, "name": user.name, "createdAt": user.created_at.isoformat(),
        "signedInAt": user.signed_in_at.isoformat(), "devices": user.devices, "connected": user.is_connected,
    }  # fmt: skip


def _blocks(blocks: Sequence[Block]) -> list[dict[str, object]]:
    return [asdict(each) | {"since": each.since.isoformat()} for each in blocks]


def _block_line(block: Block) -> str:
    return f"{block.user_id} is blocked since {_ist(block.since)} by {block.actor}: {block.reason}"


def _broker_line(broker: store.BrokerSession) -> str:
    if broker.ended_reason:
        return f"His session at the broker has ended: {broker.ended_reason}."
    return f"His session at the broker ends at {_ist(broker.expires_at)}."


def _ist(moment: datetime) -> str:
    return f"{moment.astimezone(IST):%d.%m.%Y %H:%M} IST"
