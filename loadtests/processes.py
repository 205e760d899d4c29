"""CPU seconds of a server and all it started, read from /proc (Linux); None where unreadable.

A server's processes are those that carry its mark in their environment (inherited by whatever it
starts, such as Ray's workers and HAProxy), or, for a server somebody else started, those that
listen on its port with their whole tree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

MARK = "LOADTESTS_TARGET"
_PROC = Path("/proc")
_LISTEN = "0A"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Pids = Callable[[], set[int]]


class CpuMeter:
    """Sums CPU time over a set of processes that may change."""

    def __init__(self, pids: Pids) -> None:
        """Start at zero.

        Args:
            pids: Gives the processes of the moment.
        """
        self._pids = pids
        self._before = self._read()

    def seconds(self) -> float | None:
        """CPU seconds since the start; None if there is no process to be seen.

        Processes that ended meanwhile are missing from it.
        """
        after = self._read()
        if not after:
            return None
        return sum(used - self._before.get(pid, 0.0) for pid, used in after.items())

    def _read(self) -> dict[int, float]:
        used = {pid: _cpu_s(pid) for pid in self._pids()}
        return {pid: seconds for pid, seconds in used.items() if seconds is not None}


def marked(mark: str) -> set[int]:
    """Pids whose environment holds the mark."""
    wanted = f"{MARK}={mark}".encode()
    return {pid for pid in _all_pids() if wanted in _read_bytes(pid, "environ").split(b"\0")}


def behind_port(port: int) -> set[int]:
    """Pids that listen on a TCP port, their trees, and the whole Ray if one is under a raylet."""
    roots = {_root_of(pid) for pid in listening(port)}
    return tree(roots)


def listening(port: int) -> set[int]:
    """Pids that listen on a TCP port of this machine."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        lines = (_PROC / table).read_text().splitlines()[1:] if (_PROC / table).exists() else []
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return {pid for pid in _all_pids() if inodes & _open_files(pid)} if inodes else set()


def tree(roots: Iterable[int]) -> set[int]:
    """Those processes with all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        children.setdefault(parent(pid), []).append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def parent(pid: int) -> int:
    """Pid of the parent; 0 if there is none to be seen."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def name_of(pid: int) -> str:
    """The command line, as the process shows it."""
    return _read_bytes(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _root_of(pid: int) -> int:
    """The process that a listener belongs to: the driver of its Ray, or the listener itself."""
    above = pid
    while above > 1:
        if "raylet" in name_of(above).split(" ")[0]:
            # The driver's other children (GCS, dashboard) belong to the server as well.
            driver = parent(above)
            return driver if driver > 1 else above
        above = parent(above)
    return pid


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    # The name stands in brackets and may hold blanks.
    return _read_bytes(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _cpu_s(pid: int) -> float | None:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else None


def _read_bytes(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:  # it ended, or is another user's
        return b""


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # the process ended, or is another user's
        for entry in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):  # the file was closed meanwhile
                found.add(str(entry.readlink()))
    return found
