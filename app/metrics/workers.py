"""How several workers' counts come to the one place that tells them: each writes its own into a file, once a second.

A worker that has died leaves its last file behind: what it counted stays counted, and what it said of the present is
over. The folder is the parent's, who makes it before the workers and removes it after them.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from app import measures
from app.clock import Clock, random_bytes
from app.measuring import Cells, Standing
from app.observability import logger

_log = logger("metrics")

PREFIX = "partner-measures-"
_MEMORY = "/dev/shm"  # noqa: S108  # under a name that nobody can guess, for as long as the parent runs
_EVERY = 1.0  # seconds
_SILENCE = 30.0  # seconds without a word, after which nothing is believed of the present

_writing = threading.Lock()  # the last words must not meet those of the second


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Give a folder for workers to write into; raises `OSError` where none can be made."""
    with TemporaryDirectory(prefix=PREFIX, dir=parent_folder()) as name:
        yield Path(name)


def parent_folder() -> str:
    """Return where such folders are made: in memory, which a container without a disk to write to has as well."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else gettempdir()


@contextmanager
def shared_measures(folder: Path | None) -> Iterator[None]:
    """Write down what this process counts, once a second while the block runs and once at its end.

    Nothing is written without a folder.
    """
    if folder is None:
        yield
        return
    own = folder / f"{os.getpid()}-{random_bytes(4).hex()}"
    threading.Thread(target=_keep_writing, args=(own,), daemon=True, name="measures").start()
    try:
        yield
    finally:
        _write_last(own)


def _keep_writing(own: Path) -> None:
    """Write until the folder is gone; the parent is then, too."""
    while True:
        try:
            write_standing(own)
        except OSError as error:
            if not own.parent.exists():
                return
            _log.error("measures_not_written", reason=error.strerror)
        threading.Event().wait(_EVERY)


def _write_last(own: Path) -> None:
    """Write once more, where somebody still reads it; what can't be is told, and is no reason to end otherwise."""
    try:
        if own.parent.exists():
            write_standing(own)
    except OSError as error:
        _log.error("measures_not_written", reason=error.strerror)


def write_standing(own: Path) -> None:
    """Write down how this process stands; whoever reads sees the old or the new, never a part."""
    with _writing:
        content = {name: [[labels, found] for labels, found in each.items()] for name, each in own_standing().items()}
        part = own.with_suffix(".part")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(own)


class Workers:
    """What the workers of a folder have written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gone: Standing = {}
        self._reading = threading.Lock()

    def standing(self) -> Standing:
        """Return what all come to; those that have died are counted up once and their files removed."""
        with self._reading:
            return self._read_all()

    def _read_all(self) -> Standing:
        living: list[Standing] = []
        silent: list[Standing] = []
        dead: list[Standing] = []
        for path in self._folder.iterdir():
            if path.suffix:
                continue
            is_there = _is_there(int(path.name.partition("-")[0]))  # before the look: its last words count
            silent_for = Clock().now().timestamp() - path.stat().st_mtime
            standing = _read(path)
            if not is_there:
                dead.append(standing)
                path.unlink()
            else:  # one that is silent hangs, or another process has got its number
                (living if silent_for < _SILENCE else silent).append(standing)
        self._gone = measures.ALL.joined([], [self._gone, *dead])
        return measures.ALL.joined(living, [self._gone, *silent])


def own_standing() -> Standing:
    """Return how this very process stands, where it has no workers."""
    measures.note_process()
    return measures.ALL.standing()


def _read(path: Path) -> Standing:
    content: dict[str, list[tuple[list[str], object]]] = json.loads(path.read_text("utf-8"))
    return {name: _cells(rows) for name, rows in content.items()}


def _cells(rows: list[tuple[list[str], object]]) -> Cells:
    return {tuple(labels): found for labels, found in rows}


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a stranger's, who has got the number
        return False
    return True
