"""What processes have used, as Linux tells below /proc."""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1024  # in the kibibytes that /proc tells


def pid_of(*arguments: str) -> int:
    """Return the one process that was started with exactly these arguments."""
    wanted = "\0".join(arguments).encode() + b"\0"
    [found] = [pid for pid in _all() if _read(pid, "cmdline") == wanted]
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
