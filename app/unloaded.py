"""Libraries that another would load merely because they are installed, and that nobody here has a use for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unloaded(name: str) -> Iterator[None]:
    """Let an import within the block find no such module, unless somebody has loaded it already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as the import system has it for what must not be found
    try:
        yield
    finally:
        del sys.modules[name]
