"""What processes have used, as Linux tells below /proc."""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1024  # in the kibibytes that /proc tells


def pid_of(*arguments: str) -> int:
    """Return the one process that was started with these arguments, not whoever started it with them as its own."""
    wanted = "\0".join(arguments).encode() + b"\0"
    named = {pid for pid in _all() if _read(pid, "cmdline").endswith(wanted)}
    [found] = named - {int(parent) for pid in named for parent in _stat(pid)[1:2]}
    return found


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    return [pid, *(each for each in _all() if _stat(each)[1:2] == [str(pid)])]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children, also of those that have ended, in seconds."""
    fields = [_stat(each)[11:15] for each in family(pid)]
    return sum(int(ticks) for each in fields for ticks in each) / _TICKS


def resident(pid: int) -> float:
    """Return what of a process is in memory, in MiB."""
    return _told(pid, "status", "VmRSS")


def resident_at_most(pid: int) -> float:
    """Return the most that ever was."""
    return _told(pid, "status", "VmHWM")


def proportional(pid: int) -> float:
    """Return the same where a page that several share counts for each in part."""
    return _told(pid, "smaps_rollup", "Pss")


def connections_to(pid: int, port: int) -> int:
    """Return how many connections a process has to a port of 127.0.0.1."""
    own = {_link(each) for each in (_PROC / str(pid) / "fd").iterdir()}
    lines = [line.split() for line in _read(pid, "net/tcp").decode().splitlines()[1:]]
    return sum(f"socket:[{each[9]}]" in own for each in lines if each[2] == f"0100007F:{port:04X}" and each[3] == "01")


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # it has been closed meanwhile
        return ""


def _told(pid: int, name: str, field: str) -> float:
    [line] = [line for line in _read(pid, name).decode().splitlines() if line.startswith(f"{field}:")]
    return round(int(line.split()[1]) / _MIB, 1)


def _stat(pid: int) -> list[str]:
    """Return the fields of a process behind its name: state, parent, …; none where it has ended."""
    return _read(pid, "stat").decode().rpartition(")")[2].split()


def _all() -> list[int]:
    return [int(each.name) for each in _PROC.iterdir() if each.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return b""
