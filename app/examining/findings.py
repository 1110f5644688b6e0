"""What an examination finds: a line with a level, and a sentence that says what to do."""

import asyncio
import traceback
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


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
    """Return what the work finds, and where it takes longer than it may or meets a fault of ours, that."""
    try:
        async with asyncio.timeout(seconds):
            found = await ended(work)
            return fault(checks, found) if isinstance(found, Exception) else found
    except TimeoutError:
        return not_looked_at(checks, f"there was no answer within {seconds:g} s.")


async def ended(work: Awaitable[T]) -> T | Exception:
    """Return what a check gives or the fault that it met, so that one fault does not take the other findings with it.

    A `TimeoutError` is raised all the same: whoever gave the time tells of it.
    """
    [found] = await asyncio.gather(work, return_exceptions=True)
    if isinstance(found, BaseException) and (isinstance(found, TimeoutError) or not isinstance(found, Exception)):
        raise found
    return found


def fault(checks: Sequence[str], error: Exception) -> list[Finding]:
    """Return a line for each check, with the kind of error and its place: its text might hold what nobody may read."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return not_looked_at(checks, f"a fault of our own, {type(error).__name__}{place}. Tell whoever maintains this.")
