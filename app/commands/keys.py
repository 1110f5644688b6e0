"""`partner keys`: a key made, what older keys sealed moved to the first one, and what a lost key takes along."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated

import typer

from app.clock import Clock, random_bytes
from app.commands.opening import CannotDo, Desk, run
from app.commands.options import Actor, Reason
from app.commands.speaking import AsJson, complain, counted, fail, say
from app.db import Database
from app.safeguards.audit import SYSTEM, Fact
from app.safeguards.rekeying import (
    MOST_IN_A_BATCH,
    Need,
    Rekeyed,
    is_younger,
    last_uses,
    needs,
    rekey_heads,
    rekey_tokens,
    sealed_by,
)
from app.sessions.store import EXPIRED, disconnect, token_place
from app.sessions.tokens_store import erase_expired
from app.settings_parsing import KEY_ID, KEY_LENGTH

keys = typer.Typer(no_args_is_help=True, help="The keys that seal what is stored.")

_MOST_NAMED = 10
_LATELY = timedelta(hours=1)  # a service that runs signs somebody in or writes a row within it

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The lost key's id.")]
Force = Annotated[bool, typer.Option("--force", help="Do it although it looks as if the service had newer keys.")]
Batch = Annotated[int, typer.Option(min=1, max=MOST_IN_A_BATCH, help="How many are sealed anew in one transaction.")]


@dataclass(frozen=True)
class _Done:
    """What became of a change of keys, and what each key is still needed for."""

    first: str
    tokens: Rekeyed
    heads: Rekeyed
    needs: Mapping[str, Need]
    others: list[str]
    """The ids of the other keys, of the ring or of what is stored."""


@keys.command()
def generate(
    name: Annotated[str, typer.Option("--id", help="What the key is called in the ring.")] = "k1",
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key for ENCRYPTION_KEYS; keep it where secrets are kept."""
    if not KEY_ID.fullmatch(name):
        fail("A key's id has one to thirty-two letters, digits, - and _.")
    encoded = base64.b64encode(random_bytes(KEY_LENGTH)).decode()
    say(f"{name}:{encoded}", {"id": name, "key": f"{name}:{encoded}"}, as_json=as_json)


@keys.command()
def rekey(
    *,
    batch: Batch = 500,
    reason: Reason = "a change of keys",
    actor: Actor = "operator",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Seal anew with the first key what other keys have sealed, while the service runs; it may be run again."""

    async def work(desk: Desk) -> _Done:
        first = desk.ring.sealing_key_id
        if not force:
            await _refuse_old_ring(desk.db, first)
        async with desk.db.transaction() as tx:
            await erase_expired(tx, Clock().now())
        tokens = await rekey_tokens(desk.db, desk.ring, token_place, batch)
        heads = await rekey_heads(desk.db, desk.ring, batch)
        if tokens.count or heads.count:
            facts: dict[str, Fact] = {"key": first, "tokens": tokens.count, "heads": heads.count, "reason": reason}
            async with desk.db.transaction() as tx:
                await desk.ledger.write(tx, SYSTEM, "keys-rekeyed", actor=actor, facts=facts)
        needed = await needs(desk.db)
        return _Done(first, tokens, heads, needed, sorted((desk.ring.key_ids | needed.keys()) - {first}))

    done = run(work)
    sentences = [
        f"{_amount(done.tokens.count, done.heads.count)} were sealed anew with {done.first}.",
        *(_need(key_id, done.needs.get(key_id, Need(0, 0, 0))) for key_id in done.others),
    ]
    troubles = list(_troubles(done))
    if not troubles or as_json:
        say("\n".join(sentences), _facts(done), as_json=as_json)
    if troubles:
        for sentence in [*([] if as_json else sentences), *troubles[:-1]]:
            complain(sentence)
        fail(troubles[-1])


@keys.command()
def forget(key_id: KeyId, *, reason: Reason, actor: Actor, force: Force = False, as_json: AsJson = False) -> None:
    """Give up what only a lost key opens: its users sign in again, and its chains of the ledger go on and say so."""

    async def give_up(desk: Desk) -> tuple[int, int]:
        if key_id in desk.ring.key_ids:
            raise CannotDo(
                f"{key_id} is in ENCRYPTION_KEYS, so nothing is lost: `partner keys rekey` moves what needs it."
            )
        found = await sealed_by(desk.db, key_id)
        ago = (await last_uses(desk.db)).get(key_id)
        if found and ago is not None and ago < _LATELY and not force:
            raise CannotDo(
                f"{key_id} is in use by a running service; it sealed something {_minutes(ago)} ago. Is this ring the "
                "newest? Add the key to ENCRYPTION_KEYS or, if nobody has it any more, say --force."
            )
        for owner, broker_session in found.items():
            async with desk.db.transaction() as tx:
                facts = {"key": key_id, "reason": reason}
                await desk.ledger.write(tx, owner, "key-forgotten", actor=actor, facts=facts)
                if broker_session:
                    await disconnect(tx, broker_session, Clock().now(), EXPIRED)
        return len(found), sum(1 for session in found.values() if session)

    chains, tokens = run(give_up)
    if not chains:
        fail(f"Nothing that is stored needs {key_id}, except rows of the ledger that it signed.")
    sentence = (
        f"{counted(tokens, 'token')} that {key_id} had sealed {'is' if tokens == 1 else 'are'} erased; "
        f"{counted(chains, 'chain')} of the ledger went on, each with a row that says so."
    )
    say(sentence, {"key": key_id, "tokens": tokens, "chains": chains}, as_json=as_json)


async def _refuse_old_ring(db: Database, first: str) -> None:
    """Refuse to move everything back to a key that the service has left.

    That a key was in use later than the first one proves nothing, since a quiet service has sealed nothing yet with
    the key that was promoted; but then it is also the older of the two.
    """
    uses = await last_uses(db)
    newest = min(uses, key=lambda key_id: uses[key_id], default=first)
    if newest != first and uses[newest] < _LATELY and await is_younger(db, newest, first):
        raise CannotDo(
            f"Running replicas still seal with {newest}, {_minutes(uses[newest])} ago, which is younger than {first}: "
            "is this ring the newest? If it is, say --force."
        )


def _minutes(ago: timedelta) -> str:
    return counted(max(0, int(ago.total_seconds() // 60)), "minute")


def _amount(tokens: int, heads: int) -> str:
    return f"{counted(tokens, 'token')} and {counted(heads, 'head')} of the ledger"


def _need(key_id: str, need: Need) -> str:
    """Say whether a key may leave the ring; the rows that it signed stay signed by it."""
    rows = counted(need.rows, "row") + " of the ledger"
    if need.tokens or need.heads:
        besides = f"; it also signed {rows}" if need.rows else ""
        return f"{key_id} must stay in ENCRYPTION_KEYS: it sealed {_amount(need.tokens, need.heads)}{besides}."
    if need.rows:
        return (
            f"Nothing needs {key_id} any more but {rows}, which it signed: "
            "the service starts without it, `partner audit verify` needs it."
        )
    return f"Nothing needs {key_id} any more."


def _troubles(done: _Done) -> Iterator[str]:
    """Yield why a key can't leave yet, a sentence each."""
    if left := done.tokens.left:
        yield f"{counted(len(left), 'token')} can't be opened by any key and {_stayed(left)}."
    if left := done.heads.left:
        heads = f"{counted(len(left), 'head')} of the ledger"
        yield f"{heads} can't be believed and {_stayed(left)}; see `partner audit verify`."
    needed = [need for key_id, need in done.needs.items() if key_id != done.first]
    late_tokens = max(0, sum(need.tokens for need in needed) - len(done.tokens.left))
    late_heads = max(0, sum(need.heads for need in needed) - len(done.heads.left))
    if late_tokens or late_heads:
        yield (
            f"{_amount(late_tokens, late_heads)} have come or were being changed meanwhile. "
            f"When {done.first} is first on every replica, run the same command again."
        )


def _stayed(left: Mapping[str, str]) -> str:
    named = ", ".join(f"{owner} ({why})" for owner, why in list(left.items())[:_MOST_NAMED])
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    return f"{'was' if len(left) == 1 else 'were'} left: {named}{more}"


def _facts(done: _Done) -> dict[str, object]:
    return {
        "key": done.first,
        "tokens": done.tokens.count,
        "heads": done.heads.count,
        "unopenable": done.tokens.left,
        "inDoubt": done.heads.left,
        "needs": {key_id: asdict(done.needs.get(key_id, Need(0, 0, 0))) for key_id in done.others},
    }
