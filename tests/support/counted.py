"""The command line as it is shipped, that says on a signal how many tasks it has and what memory it has given out.

Started as `python -m tests.support.counted FILE serve …`. The file holds the process's id, its figures, and how often
each of two signals has been heard: `SIGUSR1` has it look, `SIGUSR2` first lets go of what nobody reaches any more.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from app.cli import main

_HEARD = {signal.SIGUSR1: "looked", signal.SIGUSR2: "tidied"}


class _Mallinfo(ctypes.Structure):
    """What glibc tells of its heaps, since its 2.33: mallinfo2(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _write(file: Path, heard: Counter[str], tasks: int) -> None:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo
    found = libc.mallinfo2()
    told = {
        "pid": os.getpid(), "tasks": tasks, "looked": heard["looked"], "tidied": heard["tidied"],
        "pieces": sys.getallocatedblocks(), "large": found.uordblks + found.hblkhd,
    }  # fmt: skip
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(told), "utf-8")
    beside.rename(file)


def _hear(file: Path, heard: Counter[str], number: int, _frame: object) -> None:
    name = _HEARD[signal.Signals(number)]
    if name == "tidied":
        gc.collect()
    heard[name] += 1
    _write(file, heard, len(asyncio.all_tasks()))


def _tell(file: Path) -> None:
    heard: Counter[str] = Counter()
    for each in _HEARD:
        signal.signal(each, partial(_hear, file, heard))
    _write(file, heard, 0)


if __name__ == "__main__":
    _tell(Path(sys.argv.pop(1)))
    main()
