"""Options that several commands share: whom it is about, who does it, and why."""

import re
from typing import Annotated

import typer

_USER_ID = re.compile(r"[A-Z0-9._@-]{1,32}")  # as a sign-in takes them
_LONGEST = 500  # characters of a reason; it is shown to investors


def _user_id(given: str | None) -> str | None:
    user_id = given.strip().upper() if given is not None else None
    if user_id is not None and not _USER_ID.fullmatch(user_id):
        raise typer.BadParameter("is no client id of the broker's")
    return user_id


def _words(given: str) -> str:
    words = " ".join(given.split())
    if not words or len(words) > _LONGEST or not words.isprintable():
        raise typer.BadParameter(f"wants one to {_LONGEST} printable characters")
    return words


_USER = typer.Option("--user", metavar="ID", help="The user's client id at the broker.", callback=_user_id)
User = Annotated[str, _USER]
OneUser = Annotated[str | None, _USER]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the ledger.", callback=_words)]
ShownReason = Annotated[
    str, typer.Option("--reason", help="Why; it goes into the ledger and is shown to investors.", callback=_words)
]
Actor = Annotated[str, typer.Option("--actor", help="Who does this; it goes into the ledger.", callback=_words)]
