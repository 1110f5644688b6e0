"""Which core does what: the servers that are measured have the first for themselves, everybody else the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_ALL = sorted(os.sched_getaffinity(0))
SERVER = frozenset(_ALL[:1])
"""The core of the server that is measured."""
OTHERS = frozenset(_ALL[1:] or _ALL)
"""Where load generator, stand-in broker and databases run; the same one where there is no other."""


def has_own_core() -> bool:
    """Say whether the server is alone on its core."""
    return SERVER != OTHERS


@contextmanager
def on_core(cores: frozenset[int]) -> Iterator[None]:
    """Let this thread, and so every process that it starts meanwhile, run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
