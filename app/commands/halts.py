"""`partner halt`: trading stopped, for everybody or one user, from the moment the command returns."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.clock import IST
from app.commands.opening import CannotDo, Desk, run, wait_for_orders_decided_before
from app.commands.options import Actor, OneUser, Reason, ShownReason
from app.commands.speaking import AsJson, say
from app.safeguards.audit import SYSTEM
from app.safeguards.halts import EVERYBODY, Halt, halt, halted, has_signed_in, lift

halts = typer.Typer(no_args_is_help=True, help="Stop trading and let it go on; cancels always pass.")

Everybody = Annotated[bool, typer.Option("--all", help="For every user.")]


@halts.command()
def on(
    *, everybody: Everybody = False, user: OneUser = None, reason: ShownReason, actor: Actor, as_json: AsJson = False
) -> None:
    """Halt trading; once the command returns no order is accepted, and one accepted before leaves within seconds."""
    scope = _scope(user, everybody=everybody)

    async def stop(desk: Desk) -> str:
        async with desk.db.transaction() as tx:
            await desk.ledger.lock(tx, _chain(scope))
            is_new = await halt(tx, scope, reason, actor)
            facts = {"scope": scope, "reason": reason}
            await desk.ledger.write(tx, _chain(scope), "halted", actor=actor, facts=facts)
            is_known = everybody or await has_signed_in(tx, scope)
        await wait_for_orders_decided_before(desk, f"{_whom(scope)} is halted")
        stranger = "" if is_known else f" Mind that {scope} has never signed in here."
        return (f"{_whom(scope)} is halted." if is_new else f"{_whom(scope)} was halted already.") + stranger

    say(run(stop), {"scope": scope, "reason": reason, "actor": actor, "halted": True}, as_json=as_json)


@halts.command()
def off(
    *, everybody: Everybody = False, user: OneUser = None, reason: Reason, actor: Actor, as_json: AsJson = False
) -> None:
    """Lift a halt; a user stays halted while everybody is."""
    scope = _scope(user, everybody=everybody)

    async def release(desk: Desk) -> list[Halt]:
        async with desk.db.transaction() as tx:
            await desk.ledger.lock(tx, _chain(scope))
            if not await lift(tx, scope):
                raise CannotDo(f"{_whom(scope)} was not halted.")
            facts = {"scope": scope, "reason": reason}
            await desk.ledger.write(tx, _chain(scope), "halt-lifted", actor=actor, facts=facts)
            return await halted(tx)

    left = run(release)
    still = " Other halts are in force: see `partner halt show`." if left else ""
    facts = {"scope": scope, "reason": reason, "actor": actor, "halted": False, "otherHalts": len(left)}
    say(f"{_whom(scope)} is no longer halted.{still}", facts, as_json=as_json)


@halts.command()
def show(*, as_json: AsJson = False) -> None:
    """Tell what is halted, since when, by whom and why."""

    async def look(desk: Desk) -> list[Halt]:
        async with desk.db.reading() as tx:
            return await halted(tx)

    found = run(look)
    sentences = [
        f"{_whom(each.scope)} is halted since {each.since.astimezone(IST):%d.%m.%Y %H:%M} IST by {each.actor}: "
        f"{each.reason}"
        for each in found
    ]
    facts = [asdict(each) | {"since": each.since.isoformat()} for each in found]
    say("\n".join(sentences) or "Nothing is halted.", {"halts": facts}, as_json=as_json)


def _scope(user: str | None, *, everybody: bool) -> str:
    if everybody == (user is not None):
        raise typer.BadParameter("Say either --all or --user.")
    return user or EVERYBODY


def _chain(scope: str) -> str:
    return SYSTEM if scope == EVERYBODY else scope


def _whom(scope: str) -> str:
    return "Trading for everybody" if scope == EVERYBODY else f"Trading for {scope}"
