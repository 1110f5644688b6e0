"""The command line as it is shipped, that says on a signal how many tasks it has.

Started as `python -m tests.support.counted FILE serve …`; the file holds the process's id and, after each `SIGUSR1`,
the number of its tasks and how often it has been asked.
"""

import asyncio
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from app.cli import main


def _tell(file: Path) -> None:
    turns = count(1)

    def write(tasks: int, turn: int) -> None:
        beside = file.with_suffix(".part")
        beside.write_text(json.dumps({"pid": os.getpid(), "tasks": tasks, "turn": turn}), "utf-8")
        beside.rename(file)

    signal.signal(signal.SIGUSR1, lambda *_: write(len(asyncio.all_tasks()), next(turns)))
    write(0, 0)


if __name__ == "__main__":
    _tell(Path(sys.argv.pop(1)))
    main()
