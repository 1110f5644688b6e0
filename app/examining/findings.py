"""What an examination finds: a line with a level, and a sentence that says what to do."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is; only what has failed fails the command."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    check: str
    level: Level
    sentence: str


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, Level.OK, sentence)


def warning(check: str, sentence: str) -> Finding:
    return Finding(check, Level.WARNING, sentence)


def failed(check: str, sentence: str) -> Finding:
    return Finding(check, Level.FAILED, sentence)


def not_looked_at(checks: Sequence[str], why: str) -> list[Finding]:
    """Return a line for each check that could not be made; that is a failure too, for nothing is known."""
    return [failed(check, f"Not looked at: {why}") for check in checks]


async def within(seconds: float, checks: Sequence[str], work: Awaitable[list[Finding]]) -> list[Finding]:
    """Return what the work finds, and where it takes longer than it may, that."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return not_looked_at(checks, f"there was no answer within {seconds:g} s.")
